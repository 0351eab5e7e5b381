/** Slices of time that events and links are summed up in. Pure. */

/** The high word of int64 microseconds, without its lowest 7 bits: a slice is 2^39 us, about 6.4 days. */
const SLICE_SHIFT = 7;

/** A range of microseconds since 2000-01-01 UTC, half-open. */
export interface TimeRange {
  readonly from: bigint;
  readonly to: bigint;
}

/** The slice of the int64 big-endian time at a place. */
export function sliceAt(bytes: Buffer, timeAt: number): number {
  return bytes.readInt32BE(timeAt) >> SLICE_SHIFT;
}

/** The times of slices, neighbours joined. */
export function rangesOf(slices: ReadonlySet<number>): TimeRange[] {
  const ranges: { from: bigint; to: bigint }[] = [];
  for (const at of [...slices].sort((a, b) => a - b)) {
    const [from, to] = [startOf(at), startOf(at + 1)];
    const last = ranges.at(-1);
    if (last?.to === from) last.to = to;
    else ranges.push({ from, to });
  }
  return ranges;
}

function startOf(slice: number): bigint {
  return BigInt(slice) << BigInt(32 + SLICE_SHIFT);
}
