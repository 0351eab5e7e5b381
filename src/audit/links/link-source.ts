/** Links of the chain as COPY ... BINARY gives them. Bounds are our own numbers: COPY takes no parameters. */
import type { TupleShape, TupleSource } from '../copy/tuples.ts';

/** One row of audit.chain_link. */
export interface LinkRow {
  readonly seq: bigint;
  /** int64 big-endian microseconds since 2000-01-01 UTC. */
  readonly timestamp: Buffer;
  /** 16 bytes. */
  readonly eventId: Buffer;
  readonly txid: bigint;
  readonly leaf: Buffer;
  readonly chainHash: Buffer;
  readonly actorCommitment: Buffer | null;
  readonly payloadCommitment: Buffer | null;
}

/** The columns of linkTuples, in its order. */
export const LINK_COLUMNS =
  'seq, event_timestamp, event_id, txid, leaf, chain_hash, actor_commitment, payload_commitment';

/** Fields of a tuple of LINK_COLUMNS, by number. */
export const LINK = { seq: 0, time: 1, id: 2, txid: 3, leaf: 4, chainHash: 5, actor: 6, payload: 7 } as const;

/** How a tuple of LINK_COLUMNS is read. */
export const linkTuples: TupleShape<LinkRow> = {
  fieldCount: 8,
  decode: (tuple) => ({
    seq: tuple.bytes(LINK.seq).readBigInt64BE(),
    timestamp: tuple.bytes(LINK.time),
    eventId: tuple.bytes(LINK.id),
    txid: tuple.bytes(LINK.txid).readBigInt64BE(),
    leaf: tuple.bytes(LINK.leaf),
    chainHash: tuple.bytes(LINK.chainHash),
    actorCommitment: tuple.maybe(LINK.actor),
    payloadCommitment: tuple.maybe(LINK.payload),
  }),
};

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
  statement: `copy (select ${LINK_COLUMNS} from audit.chain_link order by seq) to stdout (format binary)`,
  ...linkTuples,
};
