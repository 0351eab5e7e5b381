/** The persons' queries: one function each. */
import { z } from 'zod';
import type { SqlClient } from '../db/database.ts';
import { execute, queryMaybe, queryOne, queryRows } from '../db/query.ts';
import type { StoredAct } from './register.ts';

const dueActSchema = z.object({
  installation_id: z.string(),
  incarnation: z.number(),
  sequence: z.number(),
  issued_at: z.string(),
});

/** What the next act has to say about itself besides what it follows; issued_at is the database's now. */
export function beginAct(client: SqlClient): Promise<z.infer<typeof dueActSchema>> {
  return queryOne(client, dueActSchema, 'select * from compliance.begin_person_act()');
}

/** Stores an act; the database refuses with an AK... SQLSTATE. */
export async function insertAct(
  client: SqlClient,
  payload: string,
  signatures: StoredAct['signatures'],
): Promise<number> {
  const row = await queryOne(
    client,
    z.object({ sequence: z.number() }),
    'select compliance.record_person_act($1::text, $2::jsonb) as sequence',
    [payload, JSON.stringify(signatures)],
  );
  return row.sequence;
}

export async function readInstallationId(client: SqlClient): Promise<string> {
  const row = await queryOne(
    client,
    z.object({ installation_id: z.string() }),
    'select installation_id from compliance.installation order by incarnation desc limit 1',
  );
  return row.installation_id;
}

/** The hash of a stored act's or decision's text; null where there is none of that id. */
export async function readPayloadHash(
  client: SqlClient,
  subject: 'act' | 'decision',
  id: string,
): Promise<string | null> {
  const row = await queryMaybe(
    client,
    z.object({ sha256: z.string() }),
    `select a.payload_sha256 as sha256 from compliance.person_act a where $1::text = 'act' and a.sequence::text = $2::text
     union all
     select d.payload_sha256 from compliance.decision d where $1::text = 'decision' and d.id::text = $2::text`,
    [subject, id],
  );
  return row?.sha256 ?? null;
}

const actRowSchema = z.object({
  sequence: z.number(),
  payload: z.string(),
  signatures: z.array(z.object({ email: z.string(), fingerprint: z.string(), signature: z.string() })),
});

export function readActs(client: SqlClient): Promise<StoredAct[]> {
  return queryRows(
    client,
    actRowSchema,
    `select a.sequence, a.payload, coalesce(
              (select json_agg(json_build_object('email', p.email, 'fingerprint', s.key_fingerprint,
                                                 'signature', s.signature) order by p.email)
                 from compliance.person_act_signature s join compliance.person p on p.id = s.person_id
                where s.act_sequence = a.sequence), '[]'::json) as signatures
       from compliance.person_act a order by a.sequence`,
  );
}

/**
 * The rows that the database checks against, each as the line that register rows are compared by. Rows of void acts are
 * left out: the acts are findings themselves.
 */
export async function readRegisterLines(client: SqlClient, voided: readonly number[]): Promise<string[]> {
  const rows = await queryRows(
    client,
    z.object({ line: z.string() }),
    `select concat_ws('|', 'person', p.email, p.name) as line from compliance.person p where p.kind = 'human' and p.act_sequence <> all ($1::int[])
     union all
     select concat_ws('|', 'role', p.email, r.role, to_char(r.effective_at, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
                      coalesce(to_char(e.effective_at, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), '-'))
       from compliance.person_role r join compliance.person p on p.id = r.person_id
       left join compliance.person_role_end e on e.person_role_id = r.id and e.act_sequence <> all ($1::int[])
      where r.act_sequence <> all ($1::int[])
     union all
     select concat_ws('|', 'key', p.email, k.fingerprint, k.public_key,
                      to_char(k.effective_at, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
                      coalesce(to_char(e.effective_at, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), '-'))
       from compliance.person_key k join compliance.person p on p.id = k.person_id
       left join compliance.person_key_end e on e.fingerprint = k.fingerprint and e.act_sequence <> all ($1::int[])
      where k.act_sequence <> all ($1::int[])`,
    [voided],
  );
  return rows.map((row) => row.line);
}

/** Stores a signed waiver or attestation; the database refuses with an AK... SQLSTATE. */
export async function insertStatement(client: SqlClient, payload: string, signature: string): Promise<void> {
  await execute(client, 'select compliance.record_statement($1::text, $2::text)', [payload, signature]);
}

export type StatementKind = 'waiver' | 'waiver_approval' | 'attestation';

/** All statements of a kind, oldest first. */
export function readStatements(
  client: SqlClient,
  kind: StatementKind,
): Promise<{ payload: string; signature: string }[]> {
  return queryRows(
    client,
    z.object({ payload: z.string(), signature: z.string() }),
    `select s.payload, s.signature from (
       select w.payload, w.signature, w.recorded_at, w.id from compliance.waiver w where $1::text = 'waiver'
       union all
       select w.payload, w.signature, w.recorded_at, w.id from compliance.waiver_approval w where $1::text = 'waiver_approval'
       union all
       select a.payload, a.signature, a.recorded_at, a.id from compliance.attestation a where $1::text = 'attestation') s
      order by s.recorded_at, s.id`,
    [kind],
  );
}
