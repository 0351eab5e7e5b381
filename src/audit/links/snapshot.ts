/** pg_snapshot as data: which transactions a snapshot saw (PostgreSQL documentation, "pg_snapshot"). */

export interface Snapshot {
  /** `xmin:xmax:xip,...`, as PostgreSQL writes it. */
  readonly text: string;
  readonly xmax: bigint;
  /** Those below xmax that were still running. */
  readonly running: readonly bigint[];
}

/** What saw nothing at all: the snapshot before the first seal. */
export const NOTHING_SEEN: Snapshot = { text: '1:1:', xmax: 1n, running: [] };

/** Reads the text form. @throws RangeError when it is not one */
export function parseSnapshot(text: string): Snapshot {
  const match = /^(\d+):(\d+):((?:\d+(?:,\d+)*)?)$/.exec(text);
  const [, , xmax, running] = match ?? [];
  if (xmax === undefined || running === undefined) throw new RangeError(`not a pg_snapshot: ${text}`);
  return { text, xmax: BigInt(xmax), running: running === '' ? [] : running.split(',').map(BigInt) };
}

/** Whether a transaction had ended when the snapshot was taken. */
export function isVisibleIn(txid: bigint, snapshot: Snapshot): boolean {
  return txid < snapshot.xmax && !snapshot.running.includes(txid);
}

/** Every transaction below it had ended when the snapshot was taken. */
export function xminOf({ text }: Pick<Snapshot, 'text'>): bigint {
  const [xmin = ''] = text.split(':');
  return BigInt(xmin);
}
