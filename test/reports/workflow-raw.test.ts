/** What the database refuses by itself, by raw SQL, and what it cannot refuse but every reader finds. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { canonicalJson, type JsonValue } from '../../src/canonical-json.ts';
import type { SqlClient } from '../../src/db/database.ts';
import { sqlStateOf } from '../../src/db/errors.ts';
import { execute, queryOne } from '../../src/db/query.ts';
import { inTransaction } from '../../src/db/transaction.ts';
import { readSshKeyFile } from '../../src/keys/ssh-key.ts';
import { NAMESPACES, signSshsig } from '../../src/keys/sshsig.ts';
import { approveReport, readDecisions, reviewReport, submitReport } from '../../src/reports/workflow/workflow.ts';
import { emailOf, foundRegister, type Roster } from '../persons/roster.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { insertDraft } from './draft.ts';

const db = useDatabase();
let ctx: TestContext;
let roster: Roster;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'auditkeep-raw-'));
  ctx = await testContext(db);
  roster = await foundRegister(ctx, folder);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function submitted(): Promise<string> {
  const id = await insertDraft(ctx);
  await submitReport(roster.as(ctx, 'preparer'), { reportId: id });
  return id;
}

async function reviewed(): Promise<string> {
  const id = await submitted();
  await reviewReport(roster.as(ctx, 'reviewer'), { reportId: id });
  return id;
}

async function approved(): Promise<string> {
  const id = await reviewed();
  await approveReport(roster.as(ctx, 'approver'), { reportId: id });
  return id;
}

const TABLES = [
  'audit.compliance_reports',
  'compliance.installation',
  'compliance.person',
  'compliance.person_act',
  'compliance.person_act_signature',
  'compliance.person_role',
  'compliance.person_role_end',
  'compliance.person_key',
  'compliance.person_key_end',
  'compliance.report_transition',
  'compliance.decision_request',
  'compliance.decision',
  'compliance.distribution',
  'compliance.report_quorum',
  'compliance.template_text',
] as const;
const ROLES = [
  'auditkeep_engine',
  'auditkeep_report',
  'app_readonly_role',
  'app_readwrite_role',
  'app_admin_role',
  'audit_role',
  'security_analyst_role',
  'authenticated_users',
  'admin_role',
] as const;
const FIRST_COLUMN: Readonly<Record<string, string>> = {
  'compliance.installation': 'incarnation',
  'compliance.person_act': 'payload',
  'compliance.person_act_signature': 'signature',
  'compliance.person_role_end': 'effective_at',
  'compliance.person_key': 'public_key',
  'compliance.person_key_end': 'reason',
  'compliance.report_transition': 'role',
  'compliance.report_quorum': 'approvers',
  'compliance.template_text': 'content',
};

describe('every role but the owner', () => {
  test.each(ROLES)('%s writes to none of the tables', async (role) => {
    await db.as(role).withClient(async (client) => {
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
    await db.as(role).withClient(async (client) => {
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
    await db.engine.withClient(async (client) => {
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
    const key = await readSshKeyFile(roster.keyFile(who));
    const { request } = await db.engine.withClient((client) => begin(client, id, meaning, who));
    return { ...request, key_fingerprint: key.publicKey.fingerprint, comment_sha256: null };
  }

  test('a decision without a signature is refused', async () => {
    const id = await insertDraft(ctx);
    const payload = await signedBy('preparer', id, 'submit');
    for (const signature of [null, '', 'signed']) {
      const refusal = db.engine.withClient((client) => record(client, payload, null, signature));
      await expect(refusal).rejects.toSatisfy(isMissingSignature);
    }
  });

  test('a nonce is used once, by its person, for what it was issued for', async () => {
    const id = await insertDraft(ctx);
    const payload = await signedBy('preparer', id, 'submit');
    await db.engine.withClient((client) => record(client, payload, null, SIGNATURE));
    const again = db.engine.withClient((client) => record(client, payload, null, SIGNATURE));
    await expect(again).rejects.toMatchObject({ code: 'AK007' });
    const made = { ...payload, decision_id: '00000000-0000-4000-8000-00000000beef' };
    const invented = db.engine.withClient((client) => record(client, made, null, SIGNATURE));
    await expect(invented).rejects.toMatchObject({ code: 'AK007' });
  });

  test('a nonce is of no use after 15 minutes', async () => {
    const id = await insertDraft(ctx);
    const payload = await signedBy('preparer', id, 'submit');
    const expired = await db.admin.withClient((client) =>
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
    const refusal = db.engine.withClient((client) => record(client, late, null, SIGNATURE));
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
    const id = await insertDraft(ctx);
    const payload = await signedBy('preparer', id, 'submit');
    const changed = { ...payload, [field]: value };
    const refusal = db.engine.withClient((client) => record(client, changed, null, SIGNATURE));
    await expect(refusal).rejects.toMatchObject({ code: 'AK009' });
  });

  test('a quorum is stored with its report, once, and with no other number later', async () => {
    const id = await insertDraft(ctx, { approvers: 2 });
    const later = await insertDraft(ctx);
    for (const [report, code] of [
      [id, 'AK002'],
      [later, 'AK002'],
      ['00000000-0000-4000-8000-00000000beef', 'AK001'],
    ] as const) {
      const refusal = db.engine.withClient((client) =>
        execute(client, 'select compliance.set_report_quorum($1::uuid, 3)', [report]),
      );
      await expect(refusal).rejects.toMatchObject({ code });
    }
  });

  test('a key that is not the person’s is refused', async () => {
    const id = await insertDraft(ctx);
    const payload = await signedBy('preparer', id, 'submit');
    const other = await readSshKeyFile(roster.keyFile('reviewer'));
    const changed = { ...payload, key_fingerprint: other.publicKey.fingerprint };
    const refusal = db.engine.withClient((client) => record(client, changed, null, SIGNATURE));
    await expect(refusal).rejects.toMatchObject({ code: 'AK006' });
  });

  const AS_SERVICE = `select compliance.begin_decision($1::uuid, $2, 'engine@auditkeep.invalid', $3)`;

  test('a service person neither submits nor decides', async () => {
    const id = await insertDraft(ctx);
    for (const meaning of ['submit', 'archive-withdrawn']) {
      const refusal = db.engine.withClient((client) => execute(client, AS_SERVICE, [id, meaning, null]));
      await expect(refusal, meaning).rejects.toMatchObject({ code: 'AK004' });
    }
  });

  test('a service person decides nothing with all roles either, whatever state the report is in', async () => {
    const steps = [
      ['submit', await insertDraft(ctx)],
      ['review', await submitted()],
      ['reject', await submitted()],
      ['recall', await reviewed()],
      ['approve', await reviewed()],
      ['archive-withdrawn', await approved()],
    ] as const;
    for (const [meaning, id] of steps) {
      const { head } = await readDecisions(ctx, id);
      const refusal = inTransaction(db.admin, async (client) => {
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
    const id = await insertDraft(ctx, { ...model, claim });
    const submitted = submitReport(roster.as(ctx, 'preparer'), { reportId: id });
    await expect(submitted).rejects.toMatchObject({ code: 'REPORT_TAMPERED' });
  });

  test('a decision that nobody signed is void, and the next signed one puts the report right', async () => {
    const id = await insertDraft(ctx);
    const payload = await signedBy('preparer', id, 'submit');
    await db.engine.withClient((client) => record(client, payload, null, SIGNATURE));
    const checked = await readDecisions(ctx, id);
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
    const { status } = await submitReport(roster.as(ctx, 'everything'), { reportId: id });
    expect(status).toBe('pending_review');
    await reviewReport(roster.as(ctx, 'reviewer'), { reportId: id });
    await approveReport(roster.as(ctx, 'approver'), { reportId: id });
    const after = await readDecisions(ctx, id);
    expect(after.valid).toBe(true);
    expect(after.decisions.map(({ meaning }) => meaning)).toEqual(['submit', 'review', 'approve']);
    expect(after.findings.map((finding) => finding.void)).toEqual([true]);
  });
});

describe('the owner', () => {
  const asOwner = (sql: string, values: readonly string[] = []) =>
    db.as('auditkeep_owner').withClient((client) => execute(client, sql, values));

  test('is stopped by mistake: no change, no removal, no jump', async () => {
    const id = await reviewed();
    for (const table of TABLES) {
      const rows = await db.admin.withClient((client) =>
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
    const id = await approved();
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
    await inTransaction(db.as('auditkeep_owner'), async (client) => {
      await execute(client, `alter table ${table} disable trigger user`);
      expect(await execute(client, sql, values)).toBeGreaterThan(0);
      await execute(
        client,
        `alter table ${table} enable always trigger ${table.startsWith('audit') ? 'follow_decision' : 'append_only'}`,
      );
    });
  }

  test('who forces an approval is found', async () => {
    const id = await reviewed();
    await forge(
      'audit.compliance_reports',
      `update audit.compliance_reports set status = 'approved', approved_at = now(),
         approved_by = (select id from compliance.person where email = 'approver@example.org') where id = $1::uuid`,
      [id],
    );
    const { valid, findings } = await readDecisions(ctx, id);
    expect(valid).toBe(false);
    expect(findings.map((finding) => finding.what)).toEqual([
      'version 1: it is approved, but signed decisions lead to reviewed',
      'version 1: its approver is not the one who signed',
    ]);
  });

  test('who lowers a quorum is found, and nobody signs on', async () => {
    const id = await insertDraft(ctx, { approvers: 2 });
    await submitReport(roster.as(ctx, 'preparer'), { reportId: id });
    await reviewReport(roster.as(ctx, 'reviewer'), { reportId: id });
    await forge('compliance.report_quorum', 'delete from compliance.report_quorum where report_id = $1::uuid', [id]);
    await expect(approveReport(roster.as(ctx, 'approver'), { reportId: id })).rejects.toMatchObject({
      code: 'REPORT_TAMPERED',
    });
  });

  test('who changes the hash of an approved report is found', async () => {
    const id = await approved();
    await forge(
      'audit.compliance_reports',
      `update audit.compliance_reports set report_hash = repeat('0', 64) where id = $1::uuid`,
      [id],
    );
    const { valid, findings } = await readDecisions(ctx, id);
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
    const id = await approved();
    await forge(
      'compliance.decision',
      `update compliance.decision set ${change} where object_id = $1::uuid and meaning = 'review'`,
      [id],
    );
    const { valid, findings } = await readDecisions(ctx, id);
    expect(valid).toBe(false);
    expect(findings[0]).toMatchObject({ what });
    expect(findings[0]?.decisionId).not.toBeNull();
  });

  test('who removes a decision is found', async () => {
    const id = await approved();
    await forge(
      'compliance.decision',
      `delete from compliance.decision where object_id = $1::uuid and meaning = 'approve'`,
      [id],
    );
    expect(await readDecisions(ctx, id)).toMatchObject({ valid: false });
  });

  test('who enters a key of their own into the register and signs with it is found twice', async () => {
    const id = await reviewed();
    const { writeSshKeyPair } = await import('../../src/keys/ssh-key.ts');
    const path = join(folder, 'forged');
    const key = await writeSshKeyPair(path, 'forged');
    await forge(
      'compliance.person_key',
      `insert into compliance.person_key (fingerprint, person_id, public_key, act_sequence, effective_at)
       select $1::text, id, $2::text, 1, now() from compliance.person where email = 'approver@example.org'`,
      [key.fingerprint, key.text],
    );
    const engine = { ...ctx, actor: { kind: 'person', email: emailOf('approver'), keyFile: path } as const };
    await expect(approveReport(engine, { reportId: id })).rejects.toMatchObject({ code: 'DECISION_INVALID' });
    const { head } = await readDecisions(ctx, id);
    // Without our code in between, straight through the function.
    await db.engine.withClient(async (client) => {
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
    const { valid, findings } = await readDecisions(ctx, id);
    expect(valid).toBe(false);
    expect(findings.map(({ kind }) => kind)).toEqual(expect.arrayContaining(['signer', 'status', 'register']));
    expect(findings.map(({ what }) => what)).toContain(`register of persons: row-unsigned (key ${key.fingerprint})`);
  });
});

function jsonOf(value: unknown): JsonValue {
  return JSON.parse(JSON.stringify(value)) as JsonValue;
}

/** NOT NULL or the CHECK on its form. */
function isMissingSignature(error: unknown): boolean {
  return /^23(502|514)$/.test(sqlStateOf(error) ?? '');
}
