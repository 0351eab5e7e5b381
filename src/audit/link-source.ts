/** Links of the chain as COPY ... BINARY gives them. Bounds are our own numbers: COPY takes no parameters. */
import type { TupleSource } from './tuples.ts';

/** One row of audit.chain_link without its commitments. */
export interface LinkRow {
  readonly seq: bigint;
  /** int64 big-endian microseconds since 2000-01-01 UTC. */
  readonly timestamp: Buffer;
  /** 16 bytes. */
  readonly eventId: Buffer;
  readonly leaf: Buffer;
  readonly chainHash: Buffer;
}

/** Leaves from seq `from` up to, without, `to`, in order. */
export function leafSource(from: bigint, to: bigint): TupleSource<Buffer> {
  return {
    statement: `copy (select leaf from audit.chain_link where seq >= ${from}::bigint and seq < ${to}::bigint order by seq)
                to stdout (format binary)`,
    fieldCount: 1,
    decode: (tuple) => tuple.bytes(0),
  };
}

/** Every link, in order. */
export const linkSource: TupleSource<LinkRow> = {
  statement: `copy (select seq, event_timestamp, event_id, leaf, chain_hash from audit.chain_link order by seq)
              to stdout (format binary)`,
  fieldCount: 5,
  decode: (tuple) => ({
    seq: tuple.bytes(0).readBigInt64BE(),
    timestamp: tuple.bytes(1),
    eventId: tuple.bytes(2),
    leaf: tuple.bytes(3),
    chainHash: tuple.bytes(4),
  }),
};
