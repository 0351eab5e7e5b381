/** The queries of a replay: one function each. */
import { z } from 'zod';
import type { SqlClient } from '../db/database.ts';
import { queryMaybe, queryOne } from '../db/query.ts';

/** Where a unit is, and whether a hold reaches it; null where there is none of that id. */
export function readUnitPlace(
  client: SqlClient,
  unitId: number,
): Promise<{ readonly state: string; readonly held: boolean } | null> {
  return queryMaybe(
    client,
    z.object({ state: z.string(), held: z.boolean() }),
    'select u.state, retention.is_held(u.unit_id) as held from retention.unit u where u.unit_id = $1::bigint',
    [unitId],
  );
}

const replayedShape = z.object({ relation: z.string().nullable(), copies: z.array(z.string()) });

/** Destroys a unit once more under its certificate. As the owner. */
export async function replayDestruction(
  client: SqlClient,
  {
    entry,
    plan,
  }: {
    readonly entry: { readonly document: string; readonly signature: string };
    readonly plan: { readonly document: string; readonly actor: string; readonly reason: string };
  },
): Promise<z.infer<typeof replayedShape>> {
  const { replayed } = await queryOne(
    client,
    z.object({ replayed: replayedShape }),
    'select retention.replay_destruction($1::text, $2::text, $3::text, $4::text, $5::text) as replayed',
    [entry.document, entry.signature, plan.document, plan.actor, plan.reason],
  );
  return replayed;
}
