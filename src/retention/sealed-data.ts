/**
 * Sealed enclave data, judged in place: whether the blob is the one that was hashed, has expired, says who may unseal it,
 * and belongs to an enclave whose attestation stands. Findings go where analysts look for them.
 */
import { z } from 'zod';
import { recordEvent } from '../audit/record/record.ts';
import type { Context } from '../context.ts';
import type { SqlClient } from '../db/database.ts';
import { execute, queryRows } from '../db/query.ts';
import { inTransaction } from '../db/transaction.ts';
import { isoOf } from '../time/clock.ts';

const problemShape = z.enum(['integrity', 'expired', 'access-policy', 'enclave']);
const judgedShape = z.object({ id: z.string(), problems: z.array(problemShape) });

/** One piece of sealed data with something wrong. */
type SealedDataFinding = z.infer<typeof judgedShape>;

export interface SealedDataCheck {
  readonly checked: number;
  readonly findings: readonly SealedDataFinding[];
}

const BATCH_SIZE = 500;
const SEVERITY = { integrity: 'critical', expired: 'low', 'access-policy': 'medium', enclave: 'medium' } as const;

/**
 * Checks every piece. Each finding is one security event with ids only; the check itself is an audit event in the last
 * transaction. Running it again reports what is still wrong again.
 */
export async function checkSealedData(
  ctx: Pick<Context, 'db' | 'clock' | 'actor'>,
  signal?: AbortSignal,
): Promise<SealedDataCheck> {
  const findings: SealedDataFinding[] = [];
  const now = isoOf(ctx.clock.now());
  let checked = 0;
  let after: string | null = null;
  while (signal?.aborted !== true) {
    const from: string | null = after;
    const batch = await inTransaction(ctx.db, async (client) => {
      const judged = await judge(client, now, from);
      await report(client, now, judged);
      return judged;
    });
    checked += batch.length;
    findings.push(...batch.filter((item) => item.problems.length > 0));
    after = batch.at(-1)?.id ?? null;
    if (batch.length < BATCH_SIZE) break;
  }
  await inTransaction(ctx.db, (client) =>
    recordEvent(ctx, client, {
      type: 'sealed-data.checked',
      category: 'security',
      action: 'VERIFY',
      resourceType: 'table',
      resourceId: 'sgx_sealed_data',
      result: findings.length === 0 ? 'success' : 'failure',
      details: { checked, findings: findings.length },
    }),
  );
  return { checked, findings };
}

function judge(client: SqlClient, now: string, after: string | null): Promise<SealedDataFinding[]> {
  return queryRows(
    client,
    judgedShape,
    'select id::text, problems from retention.judge_sealed_data($1::timestamptz, $2::uuid, $3::int)',
    [now, after, BATCH_SIZE],
  );
}

async function report(client: SqlClient, now: string, judged: readonly SealedDataFinding[]): Promise<void> {
  const rows = judged.flatMap(({ id, problems }) => problems.map((problem) => ({ id, problem })));
  if (rows.length === 0) return;
  await execute(
    client,
    `insert into audit.security_events_log (event_type, severity, category, event_description, source_service,
        source_component, event_timestamp, additional_context)
     select 'sealed_data_finding', f.severity, 'policy_violation', 'sealed enclave data: ' || f.problem, 'auditkeep',
            'sealed-data', $1::timestamptz, jsonb_build_object('id', f.id, 'problem', f.problem)
       from jsonb_to_recordset($2::jsonb) as f(id text, problem text, severity text)`,
    [now, JSON.stringify(rows.map((row) => ({ ...row, severity: SEVERITY[row.problem] })))],
  );
}
