/** The signed checkpoints of one log, as proofs and bundles lead to them. */
import { z } from 'zod';
import type { SqlClient } from '../../db/database.ts';
import { queryMaybe, queryRows } from '../../db/query.ts';
import { streamRows } from '../../db/stream.ts';
import { AuditkeepError } from '../../errors.ts';

export interface SignedHead {
  readonly size: bigint;
  readonly root: Buffer;
  /** As signed by the log, and cosigned by its witnesses so far. */
  readonly note: string;
}

/** The note of a checkpoint k with the cosignatures of its witnesses below it, in a fixed order. */
const COSIGNED_NOTE = `k.note || coalesce((select string_agg(rtrim(c.line, E'\\n') || E'\\n', '' order by c.witness, c.key_id)
  from audit.cosignature c where c.origin = k.origin and c.size = k.size), '') as note`;

const headShape = z.object({ size: z.bigint(), root: z.instanceof(Buffer), note: z.string() });

/**
 * The largest kept checkpoint of an origin, or null. Its signature is for the receiver to check, who has the key by
 * another way; here the note and its row must agree.
 * @throws CHECKPOINT_FORMAT when they do not
 */
export async function readSignedHead(client: SqlClient, origin: string): Promise<SignedHead | null> {
  const stored = await queryMaybe(
    client,
    headShape,
    `select k.size, k.root, ${COSIGNED_NOTE} from audit.checkpoint k where k.origin = $1::text order by k.size desc limit 1`,
    [origin],
  );
  if (stored === null) return null;
  const text = `${origin}\n${stored.size}\n${stored.root.toString('base64')}\n`;
  if (stored.note.startsWith(text)) return stored;
  throw new AuditkeepError('CHECKPOINT_FORMAT', {
    message: `the kept checkpoint of ${stored.size} links is not what its note says`,
    hint: 'run auditkeep chain verify: somebody changed audit.checkpoint',
  });
}

/** The origins that checkpoints are kept of: a probe of the index an origin, however many checkpoints there are. */
export async function readOrigins(client: SqlClient): Promise<string[]> {
  const rows = await queryRows(
    client,
    z.object({ origin: z.string() }),
    `with recursive o as (
       (select k.origin from audit.checkpoint k order by k.origin limit 1)
       union all
       select (select k.origin from audit.checkpoint k where k.origin > o.origin order by k.origin limit 1)
         from o where o.origin is not null)
     select o.origin from o where o.origin is not null`,
  );
  return rows.map(({ origin }) => origin);
}

/** The notes of an origin, by size, in batches; those below a size unless it is null. */
export async function* readEarlierNotes(
  client: SqlClient,
  origin: string,
  below: bigint | null,
): AsyncGenerator<string[], void, undefined> {
  const batches = streamRows(client, {
    shape: z.object({ note: z.string() }),
    text: `select ${COSIGNED_NOTE} from audit.checkpoint k
            where k.origin = $1::text and ($2::bigint is null or k.size < $2::bigint) order by k.size`,
    values: [origin, below],
  });
  for await (const batch of batches) yield batch.map(({ note }) => note);
}
