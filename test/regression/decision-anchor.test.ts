/** A key that was reported compromised decides nothing afterwards, however the row is dated. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { execute, queryOne } from '../../src/db/query.ts';
import { inTransaction } from '../../src/db/transaction.ts';
import { readSshKeyFile } from '../../src/keys/ssh-key.ts';
import { NAMESPACES, signSshsig } from '../../src/keys/sshsig.ts';
import { changeRegister } from '../../src/persons/change.ts';
import { decisionText } from '../../src/persons/decision.ts';
import { beginDecision } from '../../src/reports/workflow/store-workflow.ts';
import { approveReport, readDecisions, reviewReport, submitReport } from '../../src/reports/workflow/workflow.ts';
import { emailOf, foundRegister, type Roster } from '../persons/roster.ts';
import { insertDraft } from '../reports/draft.ts';
import { TestClock, type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();
let ctx: TestContext;
let roster: Roster;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'auditkeep-anchor-'));
  ctx = await testContext(db, { clock: new TestClock(new Date().toISOString()) });
  roster = await foundRegister(ctx, folder);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function reviewed(): Promise<string> {
  const id = await insertDraft(ctx);
  await submitReport(roster.as(ctx, 'preparer'), { reportId: id });
  await reviewReport(roster.as(ctx, 'reviewer'), { reportId: id });
  return id;
}

test('what was decided and linked before the end stays and is marked; what is dated back is void', async () => {
  const honest = await reviewed();
  await approveReport(roster.as(ctx, 'approver'), { reportId: honest });
  const stolen = await reviewed();
  const { head } = await readDecisions(ctx, stolen);
  const request = await db.engine.withClient((client) =>
    beginDecision(client, stolen, 'approve', { email: emailOf('approver'), previous: head }),
  );
  await sealChain(ctx);
  const key = await readSshKeyFile(roster.keyFile('approver'));
  const { fingerprint } = key.publicKey;
  await changeRegister(ctx, {
    changes: [{ kind: 'key-end', email: emailOf('approver'), fingerprint, reason: 'compromised' }],
    officerKeyFiles: ['officer1', 'officer2'].map(roster.keyFile),
  });

  // The owner stores a decision by the stolen key, dated before its end, with an audit event to go with it.
  const payload = decisionText(request, fingerprint, null);
  const signature = await signSshsig(key, NAMESPACES.reportDecision, Buffer.from(payload));
  await inTransaction(db.as('auditkeep_owner'), async (client) => {
    const { sha } = await queryOne(
      client,
      z.object({ sha: z.string() }),
      `insert into compliance.decision (id, object_kind, object_id, object_root, meaning, from_status, to_status, person_id,
         part, key_fingerprint, payload, payload_sha256, previous_decision_sha256, signature, decided_at)
       select q.id, 'report', q.object_id, q.object_id, 'approve', 'reviewed', 'approved', q.person_id, 'approver', $2::text,
              $3::text, encode(sha256(convert_to($3::text, 'UTF8')), 'hex'), q.previous_decision_sha256, $4::text, q.issued_at
         from compliance.decision_request q where q.id = $1::uuid returning payload_sha256 as sha`,
      [request.decision_id, fingerprint, payload, signature],
    );
    await execute(
      client,
      `update audit.compliance_reports r set status = s.status, approved_by = s.approved_by, approved_at = s.approved_at
         from compliance.report_state($1::uuid, $2::text) s where r.id = $1::uuid`,
      [stolen, sha],
    );
  });
  const voidBecause = async () => (await readDecisions(ctx, stolen)).findings.find((finding) => finding.void)?.what;
  expect(await voidBecause()).toBe('no audit event records it');
  await db.admin.withClient((client) =>
    execute(
      client,
      `insert into audit.audit_log (event_type, event_category, event_action, event_timestamp, resource_type, resource_id, additional_data)
       select 'report.approve', 'authorization', 'DECIDE', now(), 'compliance_report', object_id::text,
              jsonb_build_object('decisionId', id, 'payloadSha256', payload_sha256)
         from compliance.decision where id = $1::uuid`,
      [request.decision_id],
    ),
  );
  expect(await voidBecause()).toBe('the chain does not show it before the end of its key');
  await sealChain(ctx);
  expect(await voidBecause()).toBe('the chain does not show it before the end of its key');
  expect((await readDecisions(ctx, stolen)).valid).toBe(false);

  const { valid, decisions } = await readDecisions(ctx, honest);
  expect(valid).toBe(true);
  expect(decisions.map((decision) => decision.keyCompromisedLater)).toEqual([false, false, true]);
});
