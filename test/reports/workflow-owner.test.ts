/** What the owner of the tables cannot do by mistake, and what every reader finds when it was done. */
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { canonicalJson } from '../../src/canonical-json.ts';
import { execute, queryOne } from '../../src/db/query.ts';
import { inTransaction } from '../../src/db/transaction.ts';
import { readSshKeyFile } from '../../src/keys/ssh-key.ts';
import { NAMESPACES, signSshsig } from '../../src/keys/sshsig.ts';
import { approveReport, readDecisions, reviewReport, submitReport } from '../../src/reports/workflow/workflow.ts';
import { emailOf } from '../persons/roster.ts';
import { jsonOf, useDesk } from './desk.ts';
import { insertDraft } from './draft.ts';
import { FIRST_COLUMN, TABLES } from './workflow-tables.ts';

const { office, reportThat } = useDesk();

describe('the owner', () => {
  const asOwner = (sql: string, values: readonly string[] = []) =>
    office.db.as('auditkeep_owner').withClient((client) => execute(client, sql, values));

  test('is stopped by mistake: no change, no removal, no jump', async () => {
    const id = await reportThat('reviewed');
    for (const table of TABLES) {
      const rows = await office.db.admin.withClient((client) =>
        queryOne(client, z.object({ n: z.bigint() }), `select count(*) as n from ${table}`),
      );
      const hasRows = rows.n > 0n;
      if (hasRows) await expect(asOwner(`delete from ${table}`), table).rejects.toMatchObject({ code: 'AK013' });
      await expect(asOwner(`truncate ${table} cascade`), table).rejects.toMatchObject({ code: 'AK013' });
      const column = FIRST_COLUMN[table] ?? 'id';
      if (hasRows && table !== 'audit.compliance_reports') {
        await expect(asOwner(`update ${table} set ${column} = ${column}`), table).rejects.toMatchObject({
          code: 'AK013',
        });
      }
    }
    for (const change of [
      `status = 'approved', approved_by = (select id from compliance.person where email = 'approver@example.org'), approved_at = now()`,
      `status = 'pending_review', reviewed_by = null, reviewed_at = null`,
      `status = 'archived', archive_reason = 'withdrawn'`,
      `report_hash = repeat('0', 64)`,
      `review_pdf_sha256 = repeat('0', 64)`,
      `report_data_encrypted = 'x'`,
      `report_period_end = report_period_end + 1`,
      `recipients = array['x']`,
      `distributed_at = now()`,
      `reviewed_by = (select id from compliance.person where email = 'everything@example.org')`,
      `generated_at = now()`,
    ]) {
      const refusal = asOwner(`update audit.compliance_reports set ${change} where id = $1::uuid`, [id]);
      await expect(refusal, change).rejects.toMatchObject({ code: 'AK013' });
    }
  });

  test('inserts no report that is more than a draft', async () => {
    const id = await reportThat('approved');
    const refusal = asOwner(
      `insert into audit.compliance_reports
       select (jsonb_populate_record(r, jsonb_build_object('id', n.id, 'report_root', n.id))).*
         from audit.compliance_reports r, (select gen_random_uuid() as id) n where r.id = $1::uuid`,
      [id],
    );
    await expect(refusal).rejects.toMatchObject({ code: 'AK013' });
  });

  /** What the owner can do who means it: the guards off, a row forged, the guards on again. */
  async function forge(table: string, sql: string, values: readonly string[] = []): Promise<void> {
    await inTransaction(office.db.as('auditkeep_owner'), async (client) => {
      await execute(client, `alter table ${table} disable trigger user`);
      expect(await execute(client, sql, values)).toBeGreaterThan(0);
      await execute(
        client,
        `alter table ${table} enable always trigger ${table.startsWith('audit') ? 'follow_decision' : 'append_only'}`,
      );
    });
  }

  test('who forces an approval is found', async () => {
    const id = await reportThat('reviewed');
    await forge(
      'audit.compliance_reports',
      `update audit.compliance_reports set status = 'approved', approved_at = now(),
         approved_by = (select id from compliance.person where email = 'approver@example.org') where id = $1::uuid`,
      [id],
    );
    const { valid, findings } = await readDecisions(office.ctx, id);
    expect(valid).toBe(false);
    expect(findings.map((finding) => finding.what)).toEqual([
      'version 1: it is approved, but signed decisions lead to reviewed',
      'version 1: its approver is not the one who signed',
    ]);
  });

  test('who lowers a quorum is found, and nobody signs on', async () => {
    const id = await insertDraft(office.ctx, { approvers: 2 });
    await submitReport(office.roster.as(office.ctx, 'preparer'), { reportId: id });
    await reviewReport(office.roster.as(office.ctx, 'reviewer'), { reportId: id });
    await forge('compliance.report_quorum', 'delete from compliance.report_quorum where report_id = $1::uuid', [id]);
    await expect(approveReport(office.roster.as(office.ctx, 'approver'), { reportId: id })).rejects.toMatchObject({
      code: 'REPORT_TAMPERED',
    });
  });

  test('who changes the hash of an approved report is found', async () => {
    const id = await reportThat('approved');
    await forge(
      'audit.compliance_reports',
      `update audit.compliance_reports set report_hash = repeat('0', 64) where id = $1::uuid`,
      [id],
    );
    const { valid, findings } = await readDecisions(office.ctx, id);
    expect(valid).toBe(false);
    expect(findings[0]?.what).toBe('it was signed for another report or version');
  });

  test.each([
    ['comment', `comment = 'another'`, 'its comment is not the one that was signed'],
    [
      'signature',
      `signature = replace(signature, 'U1NIU0lH', 'U1NIU0lI')`,
      'the signature does not verify (malformed)',
    ],
  ])('who changes the %s of a decision is found', async (_, change, what) => {
    const id = await reportThat('approved');
    await forge(
      'compliance.decision',
      `update compliance.decision set ${change} where object_id = $1::uuid and meaning = 'review'`,
      [id],
    );
    const { valid, findings } = await readDecisions(office.ctx, id);
    expect(valid).toBe(false);
    expect(findings[0]).toMatchObject({ what });
    expect(findings[0]?.decisionId).not.toBeNull();
  });

  test('who removes a decision is found', async () => {
    const id = await reportThat('approved');
    await forge(
      'compliance.decision',
      `delete from compliance.decision where object_id = $1::uuid and meaning = 'approve'`,
      [id],
    );
    expect(await readDecisions(office.ctx, id)).toMatchObject({ valid: false });
  });

  test('who enters a key of their own into the register and signs with it is found twice', async () => {
    const id = await reportThat('reviewed');
    const { writeSshKeyPair } = await import('../../src/keys/ssh-key.ts');
    const path = join(office.folder, 'forged');
    const key = await writeSshKeyPair(path, 'forged');
    await forge(
      'compliance.person_key',
      `insert into compliance.person_key (fingerprint, person_id, public_key, act_sequence, effective_at)
       select $1::text, id, $2::text, 1, now() from compliance.person where email = 'approver@example.org'`,
      [key.fingerprint, key.text],
    );
    const engine = { ...office.ctx, actor: { kind: 'person', email: emailOf('approver'), keyFile: path } as const };
    await expect(approveReport(engine, { reportId: id })).rejects.toMatchObject({ code: 'DECISION_INVALID' });
    const { head } = await readDecisions(office.ctx, id);
    // Without our code in between, straight through the function.
    await office.db.engine.withClient(async (client) => {
      const { request } = await queryOne(
        client,
        z.object({ request: z.record(z.string(), z.unknown()) }),
        `select compliance.begin_decision($1::uuid, 'approve', 'approver@example.org', $2::text) as request`,
        [id, head],
      );
      const text = canonicalJson(jsonOf({ ...request, key_fingerprint: key.fingerprint, comment_sha256: null }));
      const signature = await signSshsig(await readSshKeyFile(path), NAMESPACES.reportDecision, Buffer.from(text));
      await execute(client, 'select compliance.record_decision($1::text, null, $2::text)', [text, signature]);
    });
    const { valid, findings } = await readDecisions(office.ctx, id);
    expect(valid).toBe(false);
    expect(findings.map(({ kind }) => kind)).toEqual(expect.arrayContaining(['signer', 'status', 'register']));
    expect(findings.map(({ what }) => what)).toContain(`register of persons: row-unsigned (key ${key.fingerprint})`);
  });
});
