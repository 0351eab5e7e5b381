import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { readLogPublicKey } from '../../src/audit/signer/signer-store.ts';
import { isCertificateSigned, parseCertificate } from '../../src/retention/certificate.ts';
import { appendJournal, readJournal } from '../../src/retention/destruction-journal.ts';
import { listHolds, placeHold } from '../../src/retention/hold-place.ts';
import { approvePurge, listPlans, planDestruction, requestPurge } from '../../src/retention/purge-request.ts';
import { runPurge } from '../../src/retention/purge-run.ts';
import { readCertificates } from '../../src/retention/purge-store.ts';
import type { Roster } from '../persons/roster.ts';
import { type TestContext, temporaryHome } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { runCommand } from './command.ts';
import { guardsLater, waitInQuarantine } from './later.ts';
import { arrange, scope } from './purge-setting.ts';
import { countByOrigin, failureOf, instant, scalar, stateOf } from './rows.ts';

const containing = (part: string): unknown => expect.stringContaining(part);
describe('a purge', () => {
  const db = useDatabase();
  let ctx: TestContext;
  let roster: Roster;
  let planId = '';
  const run = (as: TestContext = ctx) => runPurge(as, { plan: planId, reason: 'test' });

  beforeAll(async () => {
    ({ ctx, roster } = await arrange(db, ['2015-01', '2015-02', '2015-03']));
  });

  test('is planned from what is past its whole period', async () => {
    const plan = await planDestruction(ctx, { table: 'audit_log', before: instant('2015-03-01T00:00:00Z') });
    expect(plan.units.map((unit) => [unit.partition, unit.rows, unit.action, unit.blockers])).toEqual([
      ['audit_log_y2015m01', 10n, 'purge', []],
      ['audit_log_y2015m02', 10n, 'purge', []],
    ]);
    expect(plan.units[0]?.policy).toContain('destroyed after 7 years');
  });

  test('is requested by a records manager who signs, and by nobody else', async () => {
    await expect(requestPurge(ctx, scope)).rejects.toMatchObject({ code: 'USAGE' });
    await expect(requestPurge(roster.as(ctx, 'approver'), scope)).rejects.toMatchObject({ code: 'ROLE_MISSING' });
    const before = instant('2015-03-01T00:00:00Z');
    ({ planId } = await requestPurge(roster.as(ctx, 'records'), { ...scope, before }));
    await expect(run()).rejects.toMatchObject({ code: 'RETENTION_NOT_APPROVED' });
  });

  test('is shown to people unit by unit before it is run', async () => {
    const place = { home: ctx.config.home, databaseUrl: db.url() };
    const { code, stdout } = await runCommand(place, 'purge', 'run', planId);
    expect(code).toBe(0);
    expect(stdout.split('\n')).toEqual([
      `plan ${planId}`,
      'purge   audit_log_y2015m01  2015-01-01 to 2015-02-01  10 rows',
      'purge   audit_log_y2015m02  2015-02-01 to 2015-03-01  10 rows',
      'Nothing was changed. Give --apply.',
      '',
    ]);
  });

  test('is approved by another records manager, once', async () => {
    await expect(approvePurge(roster.as(ctx, 'records'), planId)).rejects.toMatchObject({ code: 'DUTY_SEPARATION' });
    await expect(approvePurge(roster.as(ctx, 'approver'), planId)).rejects.toMatchObject({ code: 'ROLE_MISSING' });
    await expect(approvePurge(roster.as(ctx, 'records2'), 'ffff')).rejects.toMatchObject({ code: 'PLAN_UNKNOWN' });
    expect((await approvePurge(roster.as(ctx, 'records2'), planId)).starts_at).not.toBeNull();
    await expect(approvePurge(roster.as(ctx, 'everything'), planId)).rejects.toMatchObject({ code: 'DECISION_STATE' });
  });

  test('waits for its cooling-off', async () => {
    await expect(run()).rejects.toMatchObject({ code: 'PLAN_WINDOW' });
    expect(await stateOf(db.engine, 'audit_log_y2015m01')).toBe('archived');
  });

  test('then goes through quarantine, where everything is still read', async () => {
    await guardsLater(db, 73);
    const first = await run();
    expect(first.units.map(({ partition, outcome }) => [partition, outcome.kind])).toEqual([
      ['audit_log_y2015m01', 'waiting'],
      ['audit_log_y2015m02', 'waiting'],
    ]);
    expect(await stateOf(db.engine, 'audit_log_y2015m01')).toBe('quarantined');
    expect(await scalar(db.engine, z.bigint(), 'select count(*) as value from quarantine.audit_log')).toBe(20n);
  });

  test('of which somebody took rows meanwhile is a finding, and not destroyed', async () => {
    await waitInQuarantine(db);
    const each = (change: (leaf: string, kept: string) => string) =>
      db.admin.withClient(async (client) => {
        for (const month of ['01', '02']) {
          await client.query(change(`quarantine.audit_log_y2015m${month}`, `public.kept_${month}`));
        }
      });
    await each(
      (leaf, kept) => `alter table ${leaf} disable trigger user; create table ${kept} as select * from ${leaf} limit 1;
        delete from ${leaf} where id in (select id from ${kept})`,
    );
    const place = { home: ctx.config.home, databaseUrl: db.url() };
    const { code, stdout } = await runCommand(place, 'purge', 'run', planId, '--apply');
    expect([code, stdout.split('\n').map((line) => line.slice(0, 26))]).toEqual([
      3,
      ['failed  audit_log_y2015m01', 'failed  audit_log_y2015m02', ''],
    ]);
    await each(
      (leaf, kept) => `insert into ${leaf} select * from ${kept}; drop table ${kept};
        alter table ${leaf} enable always trigger ak_child_immutable, enable always trigger ak_child_truncate,
          enable always trigger zz_seal_divert`,
    );
  });

  test('cut off between journal and database, is gone on with under the same certificate', async () => {
    const recording = (change: string) =>
      db.admin.withClient((client) =>
        client.query(`${change} execute on function retention.record_certificate(text, text)
          ${change === 'grant' ? 'to' : 'from'} auditkeep_engine`),
      );
    await recording('revoke');
    expect((await run()).units.map(({ outcome }) => outcome.kind)).toEqual(['failed', 'failed']);
    expect(await stateOf(db.engine, 'audit_log_y2015m01')).toBe('purging');
    const journal = await readJournal(ctx.config.home);
    expect(journal).toHaveLength(2);
    await recording('grant');
    expect((await run()).units.map(({ outcome }) => outcome.kind)).toEqual(['purged', 'purged']);
    const stored = await db.engine.withClient(readCertificates);
    expect(stored.map(({ document }) => document).sort()).toEqual(journal.map(({ document }) => document).sort());
    expect(await readJournal(ctx.config.home)).toHaveLength(2);
  });

  test('a database that does not know a destruction of the journal is recognised, and destroys nothing else', async () => {
    const elsewhere = { ...ctx, config: { ...ctx.config, home: await temporaryHome() } };
    const [entry] = await readJournal(ctx.config.home);
    // Of something that this database does not hold as destroyed, under whatever certificate.
    const text =
      entry?.document
        .replace(entry.certificate.certificate_id, '00000000-0000-8000-8000-000000000001')
        .replace(entry.certificate.unit.fingerprint, '0'.repeat(64)) ?? '';
    const plan = { document: '{}', actor: 'x', reason: 'x' };
    await appendJournal(elsewhere.config.home, { document: text, signature: 'x', plan });
    await expect(run(elsewhere)).rejects.toMatchObject({ code: 'PURGE_REPLAY' });
  });

  test('and ends with a certificate that says what, why, by whom and which places in the chain', async () => {
    const done = await run();
    expect(done.units.map(({ outcome }) => outcome.kind)).toEqual(['purged', 'purged']);
    expect(await countByOrigin(db.engine)).toEqual({ archive: 10, hot: 100 });
    const [stored] = await db.engine.withClient(readCertificates);
    const certificate = parseCertificate(stored?.document ?? '');
    expect(certificate).toMatchObject({
      unit: { partition: 'audit_log_y2015m01', rows: 10, from: '2015-01-01T00:00:00.000Z' },
      plan: { id: planId },
      policy: { version: 1, whole: '7 years', citation: containing('45 CFR 164.316') },
      seqs: [[expect.any(Number), expect.any(Number)]],
      backups_age_out_at: null,
    });
    const people = certificate?.decisions.map(
      ({ payload }) => z.object({ person: z.string() }).parse(JSON.parse(payload)).person,
    );
    expect(people).toEqual(['records@example.org', 'records2@example.org']);
    const key = await readLogPublicKey(ctx.config.home);
    expect(key !== null && isCertificateSigned(stored?.document ?? '', stored?.signature ?? '', key)).toBe(true);
    const journal = await readJournal(ctx.config.home);
    expect(journal.map((entry) => entry.document)).toContain(stored?.document);
    const ids = await db.engine.withClient(readCertificates);
    expect(done.units.flatMap(({ outcome }) => (outcome.kind === 'purged' ? [outcome.certificateId] : []))).toEqual(
      ids.map((entry) => entry.certificate_id),
    );
    const events = `select count(*) as value from audit.audit_log_all where event_type = 'purge.certified'`;
    expect(await scalar(db.engine, z.bigint(), events)).toBe(2n);
  });

  test('is not run twice, and keeps its certificates', async () => {
    expect((await run()).units.map(({ outcome }) => outcome.kind)).toEqual(['purged', 'purged']);
    expect(await readJournal(ctx.config.home)).toHaveLength(2);
    for (const statement of ['delete from retention.certificate', 'truncate retention.certificate']) {
      expect(await failureOf(db.admin, statement)).toMatchObject({ code: 'AK013' });
    }
    expect((await listPlans(ctx)).map(({ states }) => states)).toEqual([{ purged: 2 }]);
  });

  test('a hold on what is destroyed is refused with its certificate', async () => {
    const counsel = roster.as(ctx, 'counsel');
    const hold = { table: 'audit_log', matter: 'M-1', reason: 'r', custodian: 'c' } as const;
    const [certificate] = await db.engine.withClient(readCertificates);
    await expect(placeHold(counsel, { ...hold, to: instant('2015-02-01T00:00:00Z') })).rejects.toMatchObject({
      code: 'HOLD_DESTROYED',
      message: `audit_log_y2015m01 is destroyed under certificate ${certificate?.certificate_id}`,
    });
    expect(await listHolds(ctx)).toEqual([]);
    const placed = await placeHold(counsel, { ...hold, beyondDestroyed: true });
    expect(placed.units).toContain('audit_log_y2015m03');
    expect(placed.units).not.toContain('audit_log_y2015m01');
  });
});
