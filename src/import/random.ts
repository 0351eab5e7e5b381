/** A small seeded random generator: for made-up data that is the same every time, never for keys or ids of real things. */

export interface Random {
  /** In [0, 1). */
  fraction(): number;
  /** An integer in [0, below). */
  below(below: number): number;
  pick<T>(items: readonly [T, ...T[]]): T;
}

/** Starts at a state that depends on both numbers, so that item n of a series can be made without those before it. */
export function seededRandom(seed: number, item: number): Random {
  let state = (Math.imul(seed | 0, 0x9e3779b1) ^ Math.imul(item | 0, 0x85ebca77)) | 0;
  // mulberry32, public domain, Tommy Ettinger
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
  const fraction = () => next() / 2 ** 32;
  return {
    fraction,
    below: (below) => Math.floor(fraction() * below),
    pick: (items) => items[Math.floor(fraction() * items.length)] ?? items[0],
  };
}
