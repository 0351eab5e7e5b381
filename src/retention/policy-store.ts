/** The queries on policy versions: one function each. */
import { z } from 'zod';
import type { SqlClient } from '../db/database.ts';
import { queryOne, queryRows } from '../db/query.ts';
import type { RetentionPolicy } from './policy.ts';
import { parsePolicyText } from './policy-document.ts';

/** One version of the policy. */
export interface PolicyVersion {
  readonly version: number;
  readonly policyId: string;
  readonly sha256: string;
  readonly shortens: boolean;
  readonly actor: string;
  readonly reason: string;
  readonly createdAt: string;
  /** From when on it counts; null while it waits for its second person. */
  readonly effectiveAt: string | null;
  readonly policy: RetentionPolicy;
}

const versionShape = z
  .object({
    version: z.number(),
    policy_id: z.string(),
    document: z.string(),
    sha256: z.string(),
    shortens: z.boolean(),
    actor: z.string(),
    reason: z.string(),
    created_at: z.string(),
    effective_at: z.string().nullable(),
  })
  .transform(
    (row): PolicyVersion => ({
      version: row.version,
      policyId: row.policy_id,
      sha256: row.sha256,
      shortens: row.shortens,
      actor: row.actor,
      reason: row.reason,
      createdAt: row.created_at,
      effectiveAt: row.effective_at,
      policy: parsePolicyText(row.document),
    }),
  );

const COLUMNS = `v.version, v.policy_id, v.document, v.sha256, v.shortens, v.actor, v.reason,
  to_char(v.created_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as created_at,
  to_char(retention.policy_effective_at(v) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as effective_at`;

/** The version that counts now: what jobs go by. */
export function readPolicyInForce(client: SqlClient): Promise<PolicyVersion> {
  return queryOne(
    client,
    versionShape,
    `select ${COLUMNS} from retention.policy_version v
      where v.version = (select f.version from retention.policy_in_force() f)`,
  );
}

/** Every version, the newest first. */
export function readPolicyVersions(client: SqlClient): Promise<readonly PolicyVersion[]> {
  return queryRows(client, versionShape, `select ${COLUMNS} from retention.policy_version v order by v.version desc`);
}

const proposedShape = z.object({ version: z.number(), policy_id: z.string(), shortens: z.boolean() });

/** Adds a version; the database refuses with AK122 or AK123. */
export function proposePolicy(
  client: SqlClient,
  input: { readonly document: string; readonly after: number; readonly actor: string; readonly reason: string },
): Promise<z.infer<typeof proposedShape>> {
  return queryOne(
    client,
    proposedShape,
    'select * from retention.propose_policy($1::text, $2::int, $3::text, $4::text)',
    [input.document, input.after, input.actor, input.reason],
  );
}
