/** What the database refuses by raw SQL of the engine and of every other role but the owner's. */
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { canonicalJson } from '../../src/canonical-json.ts';
import type { SqlClient } from '../../src/db/database.ts';
import { sqlStateOf } from '../../src/db/errors.ts';
import { execute, queryOne } from '../../src/db/query.ts';
import { inTransaction } from '../../src/db/transaction.ts';
import { readSshKeyFile } from '../../src/keys/ssh-key.ts';
import { approveReport, readDecisions, reviewReport, submitReport } from '../../src/reports/workflow/workflow.ts';
import { emailOf } from '../persons/roster.ts';
import { jsonOf, useDesk } from './desk.ts';
import { insertDraft } from './draft.ts';
import { FIRST_COLUMN, ROLES, TABLES } from './workflow-tables.ts';

const { office, reportThat } = useDesk();

describe('every role but the owner', () => {
  test.each(ROLES)('%s writes to none of the tables', async (role) => {
    await office.db.as(role).withClient(async (client) => {
      for (const table of TABLES) {
        const column = FIRST_COLUMN[table] ?? 'id';
        for (const statement of [
          `insert into ${table} default values`,
          `update ${table} set ${column} = ${column}`,
          `delete from ${table}`,
          `truncate ${table} cascade`,
        ]) {
          const refusal = execute(client, statement);
          await expect(refusal, statement).rejects.toMatchObject({ code: '42501' });
        }
      }
    });
  });

  test.each(ROLES.filter((role) => role !== 'auditkeep_engine'))('%s runs none of the functions', async (role) => {
    await office.db.as(role).withClient(async (client) => {
      for (const call of [
        `compliance.begin_decision(gen_random_uuid(), 'submit', 'a@b.c', null)`,
        `compliance.record_decision('{}', null, 'x')`,
        `compliance.record_person_act('{}', '[]')`,
        `compliance.record_distribution(gen_random_uuid(), 'a', 'b', 'c', 'full', 'd', 'e', 'f')`,
        'compliance.set_report_quorum(gen_random_uuid(), 2)',
        `compliance.keep_templates('{x}')`,
      ]) {
        await expect(execute(client, `select ${call}`), call).rejects.toMatchObject({ code: '42501' });
      }
    });
  });

  test('the engine does not call the parts that the functions are made of', async () => {
    await office.db.engine.withClient(async (client) => {
      for (const call of [
        `compliance.apply_person_change('{}', 1, now())`,
        `compliance.check_officer('{}', now())`,
        `compliance.has_role(gen_random_uuid(), 'preparer', now())`,
        'compliance.reaches_quorum(gen_random_uuid(), gen_random_uuid(), null)',
      ]) {
        await expect(execute(client, `select ${call}`), call).rejects.toMatchObject({ code: '42501' });
      }
    });
  });
});

describe('the engine by raw SQL', () => {
  const begin = (client: SqlClient, id: string, meaning: string, who: string, previous: string | null = null) =>
    queryOne(
      client,
      z.object({ request: z.record(z.string(), z.unknown()) }),
      'select compliance.begin_decision($1::uuid, $2::text, $3::text, $4::text) as request',
      [id, meaning, emailOf(who), previous],
    );
  const record = (client: SqlClient, payload: unknown, comment: string | null, signature: string | null) =>
    execute(client, 'select compliance.record_decision($1::text, $2::text, $3::text)', [
      typeof payload === 'string' ? payload : canonicalJson(jsonOf(payload)),
      comment,
      signature,
    ]);
  const SIGNATURE = '-----BEGIN SSH SIGNATURE-----\n';

  async function signedBy(who: string, id: string, meaning: string): Promise<Record<string, unknown>> {
    const key = await readSshKeyFile(office.roster.keyFile(who));
    const { request } = await office.db.engine.withClient((client) => begin(client, id, meaning, who));
    return { ...request, key_fingerprint: key.publicKey.fingerprint, comment_sha256: null };
  }

  test('a decision without a signature is refused', async () => {
    const id = await insertDraft(office.ctx);
    const payload = await signedBy('preparer', id, 'submit');
    for (const signature of [null, '', 'signed']) {
      const refusal = office.db.engine.withClient((client) => record(client, payload, null, signature));
      await expect(refusal).rejects.toSatisfy(isMissingSignature);
    }
  });

  test('a nonce is used once, by its person, for what it was issued for', async () => {
    const id = await insertDraft(office.ctx);
    const payload = await signedBy('preparer', id, 'submit');
    await office.db.engine.withClient((client) => record(client, payload, null, SIGNATURE));
    const again = office.db.engine.withClient((client) => record(client, payload, null, SIGNATURE));
    await expect(again).rejects.toMatchObject({ code: 'AK007' });
    const made = { ...payload, decision_id: '00000000-0000-4000-8000-00000000beef' };
    const invented = office.db.engine.withClient((client) => record(client, made, null, SIGNATURE));
    await expect(invented).rejects.toMatchObject({ code: 'AK007' });
  });

  test('a nonce is of no use after 15 minutes', async () => {
    const id = await insertDraft(office.ctx);
    const payload = await signedBy('preparer', id, 'submit');
    const expired = await office.db.admin.withClient((client) =>
      queryOne(
        client,
        z.object({ id: z.string() }),
        `insert into compliance.decision_request (object_kind, object_id, meaning, person_id, issued_at, expires_at)
         select object_kind, object_id, meaning, person_id, now() - interval '16 minutes', now() - interval '1 minute'
           from compliance.decision_request where object_id = $1::uuid returning id`,
        [id],
      ),
    );
    const late = { ...payload, decision_id: expired.id };
    const refusal = office.db.engine.withClient((client) => record(client, late, null, SIGNATURE));
    await expect(refusal).rejects.toMatchObject({ code: 'AK007' });
  });

  test.each([
    ['report_hash', 'f'.repeat(64)],
    ['interim', true],
    ['generated_by', emailOf('approver')],
    ['person_name', 'Somebody Else, CPA'],
    ['review_pdf_sha256', 'f'.repeat(64)],
    ['version', 2],
    ['meaning', 'approve'],
    ['person', emailOf('approver')],
    ['installation_id', '00000000-0000-4000-8000-00000000beef'],
    ['incarnation', 2],
    ['time', '2020-01-01T00:00:00.000Z'],
    ['comment_sha256', 'f'.repeat(64)],
    ['object', { kind: 'report', id: '00000000-0000-4000-8000-00000000beef' }],
    ['extra', true],
  ])('a signed text whose %s is another is refused', async (field, value) => {
    const id = await insertDraft(office.ctx);
    const payload = await signedBy('preparer', id, 'submit');
    const changed = { ...payload, [field]: value };
    const refusal = office.db.engine.withClient((client) => record(client, changed, null, SIGNATURE));
    await expect(refusal).rejects.toMatchObject({ code: 'AK009' });
  });

  test('a quorum is stored with its report, once, and with no other number later', async () => {
    const id = await insertDraft(office.ctx, { approvers: 2 });
    const later = await insertDraft(office.ctx);
    for (const [report, code] of [
      [id, 'AK002'],
      [later, 'AK002'],
      ['00000000-0000-4000-8000-00000000beef', 'AK001'],
    ] as const) {
      const refusal = office.db.engine.withClient((client) =>
        execute(client, 'select compliance.set_report_quorum($1::uuid, 3)', [report]),
      );
      await expect(refusal).rejects.toMatchObject({ code });
    }
  });

  test('a key that is not the person’s is refused', async () => {
    const id = await insertDraft(office.ctx);
    const payload = await signedBy('preparer', id, 'submit');
    const other = await readSshKeyFile(office.roster.keyFile('reviewer'));
    const changed = { ...payload, key_fingerprint: other.publicKey.fingerprint };
    const refusal = office.db.engine.withClient((client) => record(client, changed, null, SIGNATURE));
    await expect(refusal).rejects.toMatchObject({ code: 'AK006' });
  });

  const AS_SERVICE = `select compliance.begin_decision($1::uuid, $2, 'engine@auditkeep.invalid', $3)`;

  test('a service person neither submits nor decides', async () => {
    const id = await insertDraft(office.ctx);
    for (const meaning of ['submit', 'archive-withdrawn']) {
      const refusal = office.db.engine.withClient((client) => execute(client, AS_SERVICE, [id, meaning, null]));
      await expect(refusal, meaning).rejects.toMatchObject({ code: 'AK004' });
    }
  });

  test('a service person decides nothing with all roles either, whatever state the report is in', async () => {
    const steps = [
      ['submit', await insertDraft(office.ctx)],
      ['review', await reportThat('pending_review')],
      ['reject', await reportThat('pending_review')],
      ['recall', await reportThat('reviewed')],
      ['approve', await reportThat('reviewed')],
      ['archive-withdrawn', await reportThat('approved')],
    ] as const;
    for (const [meaning, id] of steps) {
      const { head } = await readDecisions(office.ctx, id);
      const refusal = inTransaction(office.db.admin, async (client) => {
        await execute(client, 'alter table compliance.person_role disable trigger all');
        await execute(
          client,
          `insert into compliance.person_role (person_id, role, act_sequence, effective_at)
           select p.id, r.role, r.act_sequence, r.effective_at from compliance.person_role r, compliance.person p
            where p.email = 'engine@auditkeep.invalid'`,
        );
        await execute(client, 'set local role auditkeep_engine');
        await execute(client, AS_SERVICE, [id, meaning, head]);
      });
      await expect(refusal, meaning).rejects.toMatchObject({ code: 'AK004' });
    }
  });

  test.each([
    ['generator', { generatedBy: emailOf('approver') }, { generatedBy: null }],
    ['interim', { interim: true }, { interim: false }],
  ])('a row that hides the %s of its model is not decided on', async (_, model, claim) => {
    const id = await insertDraft(office.ctx, { ...model, claim });
    const submitted = submitReport(office.roster.as(office.ctx, 'preparer'), { reportId: id });
    await expect(submitted).rejects.toMatchObject({ code: 'REPORT_TAMPERED' });
  });

  test('a decision that nobody signed is void, and the next signed one puts the report right', async () => {
    const id = await insertDraft(office.ctx);
    const payload = await signedBy('preparer', id, 'submit');
    await office.db.engine.withClient((client) => record(client, payload, null, SIGNATURE));
    const checked = await readDecisions(office.ctx, id);
    expect(checked).toMatchObject({ valid: false, decisions: [] });
    expect(checked.findings).toContainEqual({
      kind: 'signature',
      decisionId: payload['decision_id'],
      what: 'the signature does not verify (malformed)',
      void: true,
      payloadSha256: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
      acknowledged: false,
    });
    // The part that the void decision took is free, and so is the status that it led to.
    const { status } = await submitReport(office.roster.as(office.ctx, 'everything'), { reportId: id });
    expect(status).toBe('pending_review');
    await reviewReport(office.roster.as(office.ctx, 'reviewer'), { reportId: id });
    await approveReport(office.roster.as(office.ctx, 'approver'), { reportId: id });
    const after = await readDecisions(office.ctx, id);
    expect(after.valid).toBe(true);
    expect(after.decisions.map(({ meaning }) => meaning)).toEqual(['submit', 'review', 'approve']);
    expect(after.findings.map((finding) => finding.void)).toEqual([true]);
  });
});

/** NOT NULL or the CHECK on its form. */
function isMissingSignature(error: unknown): boolean {
  return /^23(502|514)$/.test(sqlStateOf(error) ?? '');
}
