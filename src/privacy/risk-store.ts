/**
 * Measures what is left of processed transactions, in the database, whatever their number. Two rows are in one class
 * when nothing that is left tells them apart: their own columns, and the shape of the graph around their pseudonyms
 * (colour refinement: a pseudonym's colour is the multiset of its rows' colours, a row's colour takes in its
 * pseudonyms', and so on). An attacker who has exactly these transactions from the public chain computes the same
 * classes from the originals, so a class of one row is a row linked with certainty.
 */
import { z } from 'zod';
import type { SqlClient } from '../db/database.ts';
import { queryOne, queryRows } from '../db/query.ts';

/** Rounds of refinement: an address, its counterparties, theirs. More rounds split further only in longer chains. */
const ROUNDS = 3;

function classesQuery(): string {
  let text = `
    with c0 as (
      select id, anonymization_level as level, anonymized, pseudonym_from as f, pseudonym_to as t,
             md5(concat_ws('/', network_id, status, created_at, confirmed_at, anonymization_level,
                           coalesce(value_bucket::text, 'none'), pseudonym_from is null, pseudonym_to is null)) as colour
        from security_confidential.transactions
       where anonymization_level is not null
    )`;
  for (let round = 1; round <= ROUNDS; round += 1) {
    const before = `c${round - 1}`;
    text += `,
    a${round} as (
      select address, md5(string_agg(mark, ',' order by mark)) as colour
        from (select f as address, 'from ' || colour as mark from ${before} where f is not null
              union all select t, 'to ' || colour from ${before} where t is not null) as side
       group by address
    ),
    c${round} as (
      select c.id, c.level, c.anonymized, c.f, c.t,
             md5(concat_ws('/', c.colour, coalesce(af.colour, 'none'), coalesce(at.colour, 'none'), c.f = c.t)) as colour
        from ${before} c
        left join a${round} af on af.address = c.f
        left join a${round} at on at.address = c.t
    )`;
  }
  return `${text},
    classes as (select id, level, anonymized, count(*) over (partition by colour) as size from c${ROUNDS})`;
}

const CLASSES = classesQuery();

export interface ClassSummary {
  readonly rows: number;
  /** Size of the smallest class; 0 without rows. */
  readonly k: number;
  /** Rows alone in their class. */
  readonly uniquelyLinked: number;
  /** Rows in a class smaller than the asked one. */
  readonly belowK: number;
  /** Classes, for the marketer's average. */
  readonly classes: number;
  /** Rows per anonymization level, 1 to 5. */
  readonly levels: readonly number[];
}

/** Measures all processed rows. */
export async function measureClasses(client: SqlClient, k: number): Promise<ClassSummary> {
  const row = await queryOne(
    client,
    z.object({
      rows: z.bigint(),
      k: z.bigint(),
      alone: z.bigint(),
      below: z.bigint(),
      classes: z.number(),
      levels: z.array(z.number()),
    }),
    `${CLASSES}
    select count(*) as rows, coalesce(min(size), 0) as k, count(*) filter (where size = 1) as alone,
           count(*) filter (where size < $1::bigint) as below, coalesce(sum(1.0 / size), 0)::float8 as classes,
           array[count(*) filter (where level = 1), count(*) filter (where level = 2), count(*) filter (where level = 3),
                 count(*) filter (where level = 4), count(*) filter (where level = 5)]::int[] as levels
      from classes`,
    [k],
  );
  return {
    rows: Number(row.rows),
    k: Number(row.k),
    uniquelyLinked: Number(row.alone),
    belowK: Number(row.below),
    classes: Math.round(row.classes),
    levels: row.levels,
  };
}

/** Ids of rows in classes smaller than k of which something can still be taken away. */
export function readTooRare(client: SqlClient, k: number, limit: number): IdChunks {
  return readIds(
    client,
    `${CLASSES} select id from classes where size < $1::bigint and level < 5 order by id`,
    [k],
    limit,
  );
}

/** Ids of rows that are called anonymous and may not be any more. */
export function readToClear(client: SqlClient, k: number, gatePassed: boolean, limit: number): IdChunks {
  return readIds(
    client,
    `${CLASSES} select id from classes where anonymized and (size < $1::bigint or not $2::boolean) order by id`,
    [k, gatePassed],
    limit,
  );
}

/** Ids of rows that may be called anonymous, the gate having passed, and are not yet. */
export function readToSet(client: SqlClient, k: number, limit: number): IdChunks {
  return readIds(
    client,
    `${CLASSES} select id from classes where size >= $1::bigint and anonymized is not true order by id`,
    [k],
    limit,
  );
}

export type IdChunks = AsyncGenerator<string[], void, undefined>;

/**
 * At most `limit` ids at a time, all as of the first: the server keeps them (in a file when they are many) in a cursor
 * that outlives the transactions in between. Needs a client that is in no transaction; when the consumer fails, the
 * connection has to be thrown away, and the cursor goes with it.
 */
async function* readIds(
  client: SqlClient,
  text: string,
  values: readonly (number | boolean)[],
  limit: number,
): IdChunks {
  await client.query(`declare anonymize_ids cursor with hold for ${text}`, [...values]);
  for (;;) {
    const rows = await queryRows(client, z.object({ id: z.string() }), `fetch ${limit} from anonymize_ids`);
    if (rows.length > 0) yield rows.map((row) => row.id);
    if (rows.length < limit) break;
  }
  await client.query('close anonymize_ids');
}
