/** Counted nouns for people. */

/** `1 unit`, `2 units`, `0 entries`: the plural is the noun with an s, unless given. */
export function countOf(count: number | bigint, noun: string, plural = `${noun}s`): string {
  return `${count} ${Number(count) === 1 ? noun : plural}`;
}
