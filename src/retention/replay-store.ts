/** The queries of a replay: one function each. */
import { z } from 'zod';
import type { SqlClient } from '../db/database.ts';
import { execute, queryMaybe, queryOne, queryRows } from '../db/query.ts';

const placeShape = z.object({ state: z.string(), held: z.boolean(), same: z.boolean() });

/** The unit that lies where a certificate says, whether a hold reaches it, and whether it holds what the certificate says. */
export type CertifiedPlace = z.infer<typeof placeShape>;

/** Where the unit of a certificate is, under whatever id; null where there is none. @param document the certificate's text */
export function readCertifiedPlace(client: SqlClient, document: string): Promise<CertifiedPlace | null> {
  return queryMaybe(
    client,
    placeShape,
    `select u.state, retention.is_held(u.unit_id) as held, p.same
       from retention.certified_place($1::jsonb) p join retention.unit u using (unit_id)`,
    [document],
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

const remainsShape = z
  .object({ relation: z.string(), state: z.string(), row_count: z.bigint().nullable() })
  .transform(({ relation, state, row_count }) => ({ relation, state, rows: row_count ?? 0n }));

/** A unit that lies in the range of a certificate, or the late rows there that are in no unit yet (state late). */
export type Remains = z.output<typeof remainsShape>;

/** What lies in the range of a certificate and is not destroyed. @param document the certificate's text */
export function readRemains(client: SqlClient, document: string): Promise<Remains[]> {
  const text = 'select relation, state, row_count from retention.certified_remains($1::jsonb)';
  return queryRows(client, remainsShape, text, [document]);
}

/** Whether somebody left a destruction, and nothing that is what was destroyed lies there. */
export async function isLeft(client: SqlClient, document: string): Promise<boolean> {
  const text = 'select retention.is_left($1::jsonb) as left';
  return (await queryOne(client, z.object({ left: z.boolean() }), text, [document])).left;
}

/** Leaves a destruction as it is. As the owner. */
export async function leaveDestruction(
  client: SqlClient,
  { document, signature, reason }: { readonly document: string; readonly signature: string; readonly reason: string },
): Promise<void> {
  const values = [document, signature, reason];
  await execute(client, 'select retention.leave_destruction($1::text, $2::text, $3::text)', values);
}
