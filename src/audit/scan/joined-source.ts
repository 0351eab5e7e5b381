/**
 * Events and links side by side in the order of their ids, as one COPY: a join that holds one id at a time, however much
 * differs. The server sorts.
 */
import { z } from 'zod';
import type { SqlClient } from '../../db/database.ts';
import { queryRows } from '../../db/query.ts';
import { microsText } from '../copy/pg-time.ts';
import type { Tuple, TupleSource } from '../copy/tuples.ts';
import { EVENT_TABLES } from '../event/event-origin.ts';
import { type EventRow, eventStatement, eventTuples, NO_EVENT, RAW_EVENT_COLUMNS } from '../event/event-source.ts';
import type { Differing, YoungEvents } from './event-sums.ts';
import type { JudgedLink } from './judge.ts';
import type { TimeRange } from './time-slice.ts';

/** One of both, whose id is that of its neighbours where they belong together. */
export type Joined =
  | { readonly row: EventRow; readonly link: null }
  | { readonly row: null; readonly link: JudgedLink };

const YEAR_1 = -63_082_281_600_000_000n;
const YEAR_10000 = 252_455_616_000_000_000n;

/** The fields of a link after those of an event. */
const FIRST = eventTuples.fieldCount;
const [SEQ, TIME, ID, TXID] = [FIRST, FIRST + 1, FIRST + 2, FIRST + 3];
const [LEAF, ACTOR, PAYLOAD] = [FIRST + 4, FIRST + 5, FIRST + 6];
const LINK_FIELDS = [
  ['seq', 'bigint'],
  ['event_timestamp', 'timestamptz'],
  ['event_id', 'uuid'],
  ['txid', 'bigint'],
  ['leaf', 'bytea'],
  ['actor_commitment', 'bytea'],
  ['payload_commitment', 'bytea'],
] as const;
const NAMES = LINK_FIELDS.map(([field]) => `link_${field}`);

/** Whatever lies where events and links differ. Bounds are our own numbers: COPY takes no parameters. */
export function joinedSource({ ranges, young }: Differing): TupleSource<Joined> {
  const noLink = LINK_FIELDS.map(([field, type]) => `null::${type} as link_${field}`).join(', ');
  const link = LINK_FIELDS.map(([field]) => `l.${field}`).join(', ');
  const rest = ranges.length === 0 ? 'true' : `not ${within(ranges)}`;
  const events = ranges.length === 0 ? [] : [within(ranges)];
  const links = ranges.length === 0 ? [] : [within(ranges)];
  if (young !== null) {
    if (young.ranges.length > 0) events.push(`txid >= ${young.since}::bigint and ${within(young.ranges)} and ${rest}`);
    if (young.seq !== null) links.push(`seq >= ${young.seq}::bigint and txid >= ${young.since}::bigint and ${rest}`);
  }
  const parts = [
    ...EVENT_TABLES.flatMap((table) =>
      events.map((where) => `select ${RAW_EVENT_COLUMNS}, ${noLink} from ${table} e where ${where}`),
    ),
    ...links.map((where) => `select ${NO_EVENT}, ${link} from audit.chain_link l where ${where}`),
  ];
  const order = 'coalesce(id, link_event_id), link_seq, event_timestamp';
  // The first part gives the columns their names and types.
  const typed = `select ${RAW_EVENT_COLUMNS}, ${noLink} from ${EVENT_TABLES[0]} e where false`;
  return {
    statement: eventStatement(`select * from (${[typed, ...parts].join(' union all ')}) u order by ${order}`, NAMES),
    fieldCount: FIRST + NAMES.length,
    decode: decodeJoined,
  };
}

/**
 * The times of links of older transactions that have the id of a young event, int64 big-endian: such an event is a copy of
 * one that was sealed long ago, and both have to be judged together.
 */
export async function readLinksElsewhere(client: SqlClient, { since, ranges }: YoungEvents): Promise<Buffer[]> {
  if (ranges.length === 0) return [];
  const times = within(ranges);
  const ids = EVENT_TABLES.map((table) => `select id from ${table} where txid >= $1::bigint and ${times}`);
  const rows = await queryRows(
    client,
    z.object({ at: z.instanceof(Buffer) }),
    `select distinct pg_catalog.timestamptz_send(l.event_timestamp) as at
       from (select distinct id from (${ids.join(' union all ')}) i offset 0) k
      cross join lateral (select event_timestamp, txid from audit.chain_link where event_id = k.id offset 0) l
      where l.txid < $1::bigint`,
    [since],
  );
  return rows.map(({ at }) => at);
}

function decodeJoined(tuple: Tuple): Joined {
  if (tuple.isNull(SEQ)) return { row: eventTuples.decode(tuple), link: null };
  const link = {
    seq: tuple.bytes(SEQ).readBigInt64BE(),
    timestamp: tuple.bytes(TIME),
    eventId: tuple.bytes(ID),
    txid: tuple.bytes(TXID).readBigInt64BE(),
    leaf: tuple.bytes(LEAF),
    actorCommitment: tuple.maybe(ACTOR),
    payloadCommitment: tuple.maybe(PAYLOAD),
  };
  return { row: null, link };
}

/** Timestamps are ours: computed from int64, written by microsText, cut to what it can write. */
function within(ranges: readonly TimeRange[]): string {
  const bound = (micros: bigint) => {
    if (micros <= YEAR_1) return "'-infinity'::timestamptz";
    return micros >= YEAR_10000 ? "'infinity'::timestamptz" : `'${microsText(micros)}'::timestamptz`;
  };
  const conditions = ranges.map(
    ({ from, to }) => `(event_timestamp >= ${bound(from)} and event_timestamp < ${bound(to)})`,
  );
  return `(${conditions.join(' or ')})`;
}
