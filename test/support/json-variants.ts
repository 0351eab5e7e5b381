/** JSON texts that differ from a good one in one value: what a reader of files from outside has to survive. */

/** JSON that stands where something else should: also what only JavaScript trips over, and what is no JSON. */
const FRAGMENTS = [
  ...['null', '{}', '[]', '-1', '1e308', '1e999', 'NaN', '""', '9007199254740993', '{"toString":null}'],
  `${'['.repeat(9999)}${']'.repeat(9999)}`,
];
const MARK = '0c6cf6b1-marked-value';

/** Every text that has another value in one place; down to `depth` levels. */
export function* jsonVariants(text: string, depth = Infinity): Generator<string> {
  yield* FRAGMENTS;
  for (const value of marked(JSON.parse(text), depth)) {
    for (const fragment of FRAGMENTS) {
      const variant = JSON.stringify(value).replace(`"${MARK}"`, () => fragment);
      if (variant !== text) yield variant;
    }
  }
}

function* marked(value: unknown, depth: number): Generator<unknown> {
  if (value === null || typeof value !== 'object' || depth === 0) return;
  for (const [name, inner] of Object.entries(value)) {
    const put = (other: unknown): unknown =>
      Array.isArray(value)
        ? value.map((item: unknown, at) => (String(at) === name ? other : item))
        : { ...value, [name]: other };
    yield put(MARK);
    for (const below of marked(inner, depth - 1)) yield put(below);
  }
}
