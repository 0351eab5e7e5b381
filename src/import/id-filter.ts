/**
 * A set of event ids in fixed memory that may answer "perhaps" for an id it never got, but never "no" for one it has
 * (B. H. Bloom, "Space/time trade-offs in hash coding with allowable errors", CACM 13(7), 1970).
 */

/** 32 MiB: with 5 million ids one answer in 40,000 is a wrong "perhaps", with 20 million one in 200. */
const WORDS = 2 ** 23;
const BIT_MASK = WORDS * 32 - 1;
const PROBES = 4;

export class IdFilter {
  readonly #words = new Uint32Array(WORDS);

  /** Takes a UUID in lower case. */
  add(id: string): void {
    for (const bit of bitsOf(id)) this.#words[bit >>> 5] = (this.#words[bit >>> 5] ?? 0) | (1 << (bit & 31));
  }

  /** False only for an id that was never added. */
  mayHave(id: string): boolean {
    return bitsOf(id).every((bit) => ((this.#words[bit >>> 5] ?? 0) & (1 << (bit & 31))) !== 0);
  }
}

/** Double hashing (Kirsch and Mitzenmacher, 2006) over the UUID's four words: ids may count up or begin with the time. */
function bitsOf(id: string): readonly number[] {
  let first = 0x9e3779b9;
  let second = 0x85ebca6b;
  for (const [start, end] of [
    [0, 8],
    [9, 18],
    [19, 28],
    [28, 36],
  ] as const) {
    const word = Number.parseInt(id.slice(start, end).replace('-', ''), 16);
    first = mix(first ^ word);
    second = mix(second + word);
  }
  return Array.from({ length: PROBES }, (_, n) => ((first + Math.imul(n, second | 1)) & BIT_MASK) >>> 0);
}

/** The finalizer of MurmurHash3: every bit of the word changes half of the bits. */
function mix(word: number): number {
  let hash = word;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
