/** Destruction from plan to certificate: two persons, a window, drift, holds, limits, and what the database refuses. */
import { generateKeyPairSync, randomUUID, sign } from 'node:crypto';
import { cp, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { exportChain } from '../../src/audit/export/export.ts';
import { signCheckpoint } from '../../src/audit/publish/sign.ts';
import { readChainStatus } from '../../src/audit/publish/status.ts';
import { openLogKey, readLogPublicKey } from '../../src/audit/signer/signer-store.ts';
import { verifyChain } from '../../src/audit/verify/verify.ts';
import { canonicalJson, type JsonValue } from '../../src/canonical-json.ts';
import { main } from '../../src/cli/main.ts';
import { objectDecisionText, objectRequestSchema } from '../../src/persons/object-decision.ts';
import { runArchive } from '../../src/retention/archive.ts';
import { isCertificateSigned, parseCertificate } from '../../src/retention/certificate.ts';
import { appendJournal, readJournal } from '../../src/retention/destruction-journal.ts';
import { placeHold } from '../../src/retention/hold-place.ts';
import { approvePurge, listPlans, planDestruction, requestPurge } from '../../src/retention/purge-request.ts';
import { runPurge } from '../../src/retention/purge-run.ts';
import { readCertificates } from '../../src/retention/purge-store.ts';
import { readChecked } from '../../src/retention/read-certificate.ts';
import { emailOf, foundRegister, type Roster } from '../persons/roster.ts';
import { type TestContext, temporaryHome, testContext } from '../support/context.ts';
import { type TestDatabase, useDatabase } from '../support/database.ts';
import { forge } from '../verifier/changed-bundle.ts';
import { verifier } from '../verifier/verifier.ts';
import { guardsLater, waitInQuarantine } from './later.ts';
import { countByOrigin, ensureMonths, failureOf, insertEvents, instant, linkAll, scalar, stateOf } from './rows.ts';

const containing = (part: string): unknown => expect.stringContaining(part);

/** Months of 2015 in the archive, ten events each, eight more years hot, and everybody in the register. */
async function arrange(db: TestDatabase, months: readonly string[]): Promise<{ ctx: TestContext; roster: Roster }> {
  const ctx = await testContext(db, {});
  const roster = await foundRegister(ctx, await temporaryHome());
  await ensureMonths(db.engine, [...months, '2025-12']);
  await db.engine.withClient(async (client) => {
    for (const month of months) await insertEvents(client, `${month}-10T00:00:00Z`, 10);
    await insertEvents(client, '2025-12-10T00:00:00Z', 100);
  });
  await linkAll(db.engine);
  const archived = await runArchive(ctx, {
    table: 'audit_log',
    before: instant('2016-01-01T00:00:00Z'),
    reason: 'test',
  });
  expect(archived.units.map(({ outcome }) => outcome.kind)).toEqual(months.map(() => 'archived'));
  return { ctx, roster };
}
const scope = { table: 'audit_log', reason: 'records schedule' } as const;

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
    const config = join(ctx.config.home, 'auditkeep.yaml');
    await writeFile(config, JSON.stringify({ home: '.', databaseUrl: db.url(), logLevel: 'silent' }));
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    expect(await main(['purge', 'run', planId, '--config', config], { stdout, stderr })).toBe(0);
    stdout.end();
    expect((await text(stdout)).split('\n')).toEqual([
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

  test('cut off between journal and database, is gone on with under the same certificate', async () => {
    await waitInQuarantine(db);
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

  test('purge certificate --out writes what the log signed, and refuses what it did not', async () => {
    const out = await temporaryHome();
    const [stored] = await db.engine.withClient(readCertificates);
    const id = stored?.certificate_id ?? '';
    const command = async (...argv: string[]) => {
      const [stdout, stderr] = [new PassThrough(), new PassThrough()];
      const at = ['--config', join(out, 'auditkeep.yaml')];
      const exit = await main(['purge', 'certificate', ...argv, ...at], { stdout, stderr });
      stdout.end();
      stderr.end();
      return { exit, stdout: await text(stdout), stderr: await text(stderr) };
    };
    const configure = (home: string) =>
      writeFile(join(out, 'auditkeep.yaml'), JSON.stringify({ home, logLevel: 'silent', databaseUrl: db.url() }));
    await configure(ctx.config.home);
    const [folder, paths] = [join(out, 'deep', 'er'), ['json', 'sig', 'pdf']];
    const written = await command(id.slice(0, 8), '--out', folder, '--json');
    expect([written.exit, written.stderr]).toEqual([0, '']);
    const files = paths.map((ending) => join(folder, `${id}.${ending}`));
    expect(JSON.parse(written.stdout)).toMatchObject({ certificate: { certificate_id: id }, files });
    const [json, signature, page] = await Promise.all(files.map((file) => readFile(file)));
    expect(json?.toString()).toBe(stored?.document);
    const key = await readLogPublicKey(ctx.config.home);
    expect(key !== null && isCertificateSigned(json?.toString() ?? '', signature?.toString().trim() ?? '', key)).toBe(
      true,
    );
    expect(page?.subarray(0, 5).toString()).toBe('%PDF-');
    for (const file of files) expect((await stat(file)).mode & 0o077).toBe(0);
    expect((await command('ffffffff')).stderr).toMatch(/^error PLAN_UNKNOWN: /);
    await configure(await temporaryHome());
    const stranger = await command(id, '--out', join(out, 'none'));
    expect([stranger.exit, stranger.stderr]).toMatchObject([
      expect.any(Number),
      containing('error CERTIFICATE_INVALID: '),
    ]);
    await expect(stat(join(out, 'none'))).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('verification counts it as purged, and a certificate that the log did not sign counts for nothing', async () => {
    await signCheckpoint(ctx);
    const found = await verifyChain(ctx, { level: 'full' });
    expect([found.purged, found.findings.map(({ class: kind }) => kind)]).toEqual([20, []]);
    expect(await verifyChain(ctx, { level: 'incremental' })).toMatchObject({ purged: 20, intact: true });
    const tamper = (to: string) =>
      db.admin.withClient(async (client) => {
        await client.query('alter table retention.certificate disable trigger append_only');
        await client.query(`update retention.certificate set signature = ${to} where document like '%y2015m01%'`);
        await client.query('alter table retention.certificate enable always trigger append_only');
      });
    await tamper(`reverse(left(signature, 86)) || '=='`);
    const forgedId = `select certificate_id as value from retention.certificate where document like '%y2015m01%'`;
    await expect(readChecked(ctx, await scalar(db.admin, z.string(), forgedId))).rejects.toMatchObject({
      code: 'CERTIFICATE_INVALID',
    });
    const forged = await verifyChain(ctx, { level: 'full' });
    expect(forged.purged).toBe(10);
    expect(new Set(forged.findings.map(({ class: kind }) => kind))).toEqual(new Set(['purged-without-certificate']));
    await tamper(`reverse(left(signature, 86)) || '=='`);
  });

  test('a bundle explains what is not there by certificates alone, which the verifier checks', async () => {
    const folder = join(await temporaryHome(), 'bundle');
    await exportChain(ctx, { out: folder });
    const keep = async (name: string) => `${emailOf(name)} ${await readFile(`${roster.keyFile(name)}.pub`, 'utf8')}`;
    const names = ['records', 'records2', 'everything'];
    const signers = verifier.parseSigners((await Promise.all(names.map(keep))).join(''));
    const key = verifier.parseVerifierKey((await readChainStatus(ctx)).verifierKey ?? '');
    const check = (path = folder, given: typeof signers | null = signers) =>
      verifier.verifyBundle(path, { key, signers: given });
    expect(check()).toMatchObject({ verdict: 'intact', checked: { certificates: 2, purged: 20 }, findings: [] });
    expect(check(folder, null)).toMatchObject({ verdict: 'undecided', findings: [] });
    for (const name of ['counsel', 'records']) {
      const { findings } = check(folder, verifier.parseSigners(await keep(name)));
      expect(findings.map((found) => found.class)).toContain('certificate-invalid');
    }

    type Lines = { certificates: string[]; manifests: string[] };
    const listed = async () => ({
      certificates: (await readFile(join(folder, 'certificates.ndjson'), 'utf8')).split('\n').slice(0, -1),
      manifests: (await readFile(join(folder, 'manifests.ndjson'), 'utf8')).split('\n').slice(0, -1),
    });
    const changed = async (change: (lines: Lines) => Lines) => {
      const copy = join(await temporaryHome(), 'copy');
      await cp(folder, copy, { recursive: true });
      const { certificates, manifests } = change(await listed());
      for (const [name, lines] of Object.entries({ certificates, manifests })) {
        await forge(copy, `${name}.ndjson`, lines.map((line) => `${line}\n`).join(''));
      }
      const { verdict, findings } = check(copy);
      return {
        verdict,
        classes: [...new Set(findings.map((found) => found.class))],
        gone: findings.filter((found) => found.class === 'deleted').length,
      };
    };
    const invalid = { verdict: 'tampered', classes: ['certificate-invalid', 'deleted'], gone: 10 };
    const onFirst = (edit: (line: string) => string) => (lines: Lines) => ({
      ...lines,
      certificates: lines.certificates.map((line, at) => (at === 0 ? edit(line) : line)),
    });
    const logKey = await openLogKey(ctx.config.home);
    /** Signed by the log's own key: whatever is still accepted is the verifier's doing. */
    const resigned = (edit: (document: Record<string, JsonValue>) => object) =>
      changed(
        onFirst((line) => {
          const { document } = JSON.parse(line) as { document: string };
          const text = canonicalJson(edit(JSON.parse(document) as Record<string, JsonValue>) as JsonValue);
          const signature = sign(null, Buffer.from(`auditkeep-certificate/v1\n${text}`), logKey).toString('base64');
          return canonicalJson({ document: text, signature });
        }),
      );
    expect(await changed((lines) => lines)).toEqual({ verdict: 'intact', classes: [], gone: 0 });
    expect(await resigned((document) => document)).toEqual({ verdict: 'intact', classes: [], gone: 0 });
    expect(
      await changed(onFirst((line) => line.replace('records schedule', 'x').replace('7 years', '1 years'))),
    ).toEqual(invalid);
    expect(await changed((lines) => ({ ...lines, certificates: lines.certificates.slice(1) }))).toEqual({
      ...invalid,
      classes: ['deleted'],
    });
    const seqs = (by: number) => (document: Record<string, JsonValue>) => ({
      ...document,
      seqs: (document['seqs'] as number[][]).map(([from = 0, to = 0]) => [from + by, to + by]),
    });
    for (const edit of [
      seqs(1),
      seqs(1_000_000),
      (document: object) => ({ ...document, merkle_root: 'ab'.repeat(32) }),
      (document: object) => ({ ...document, origin: 'other.example/log' }),
      (document: Record<string, JsonValue>) => ({
        ...document,
        plan: { ...(document['plan'] as object), id: randomUUID() },
      }),
      (document: Record<string, JsonValue>) => ({
        ...document,
        plan: { ...(document['plan'] as object), hash: 'ab'.repeat(32) },
      }),
      (document: Record<string, JsonValue>) => ({ ...document, unit: { ...(document['unit'] as object), rows: 11 } }),
      (document: Record<string, JsonValue>) => ({
        ...document,
        unit: { ...(document['unit'] as object), fingerprint: 'ab'.repeat(32) },
      }),
      (document: Record<string, JsonValue>) => {
        const [request] = document['decisions'] as JsonValue[];
        return { ...document, decisions: [request, request] };
      },
      (document: object) => ({ ...document, purged_at: '2000-01-01T00:00:00.000Z' }),
    ]) {
      expect(await resigned(edit)).toEqual(invalid);
    }
    const other = generateKeyPairSync('ed25519').privateKey;
    const stranger = onFirst((line) => {
      const { document } = JSON.parse(line) as { document: string };
      const signature = sign(null, Buffer.from(`auditkeep-certificate/v1\n${document}`), other).toString('base64');
      return canonicalJson({ document, signature });
    });
    expect(await changed(stranger)).toEqual(invalid);
    const manifest = (from: string, to: string) =>
      changed((lines) => ({
        ...lines,
        manifests: lines.manifests.map((line, at) => (at === 0 ? line.replace(from, to) : line)),
      }));
    const noManifest = { ...invalid, classes: ['manifest-invalid', 'certificate-invalid', 'deleted'] };
    expect(await manifest('"rows":"10"', '"rows":"11"')).toEqual(noManifest);
    expect(await manifest('"fingerprint":"', '"fingerprint":"x')).toEqual(noManifest);
    expect(await changed((lines) => ({ ...lines, manifests: lines.manifests.slice(1) }))).toEqual(invalid);
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
    const placed = await placeHold(counsel, { ...hold, beyondDestroyed: true });
    expect(placed.units).toContain('audit_log_y2015m03');
    expect(placed.units).not.toContain('audit_log_y2015m01');
  });
});

describe('what was approved', () => {
  const db = useDatabase();
  let ctx: TestContext;
  let roster: Roster;

  beforeAll(async () => {
    ({ ctx, roster } = await arrange(db, ['2015-01', '2015-02', '2015-03']));
  });

  async function approved(): Promise<string> {
    const { planId } = await requestPurge(roster.as(ctx, 'records'), scope);
    await approvePurge(roster.as(ctx, 'records2'), planId);
    return planId;
  }

  test('and changed since needs a new approval', async () => {
    await guardsLater(db, 0);
    const planId = await approved();
    await guardsLater(db, 73);
    const refused = () => runPurge(ctx, { plan: planId, reason: 'test' });
    const counsel = roster.as(ctx, 'counsel');
    await placeHold(counsel, {
      ...{ table: 'audit_log', matter: 'M-1', reason: 'r', custodian: 'c' },
      ...{ from: instant('2015-02-10T00:00:00Z'), to: instant('2015-02-11T00:00:00Z') },
    });
    await expect(refused()).rejects.toMatchObject({ code: 'PLAN_DRIFT', message: containing('audit_log_y2015m02') });
    expect(await stateOf(db.engine, 'audit_log_y2015m01')).toBe('archived');
    const plan = await planDestruction(ctx, { table: 'audit_log' });
    expect(plan.units.map((unit) => unit.blockers)).toEqual([[], ['held'], []]);
    // The database says so too, whoever asks.
    const start = `select retention.start_plan('${planId}')`;
    expect(await failureOf(db.engine, start)).toMatchObject({ code: 'AK126' });
  });

  test('and not started in time has expired', async () => {
    await guardsLater(db, 0);
    const planId = await approved();
    await guardsLater(db, 97);
    await expect(runPurge(ctx, { plan: planId, reason: 'test' })).rejects.toMatchObject({ code: 'PLAN_WINDOW' });
    await guardsLater(db, 71);
    await expect(runPurge(ctx, { plan: planId, reason: 'test' })).rejects.toMatchObject({ code: 'PLAN_WINDOW' });
  });
});

describe('raw SQL as the engine', () => {
  const db = useDatabase();
  let ctx: TestContext;
  let roster: Roster;
  let planId = '';
  let unit = '';

  beforeAll(async () => {
    ({ ctx, roster } = await arrange(db, ['2015-01']));
    ({ planId } = await requestPurge(roster.as(ctx, 'records'), scope));
    unit = await scalar(
      db.engine,
      z.string(),
      `select unit_id::text as value from retention.unit where relation_name = 'audit_log_y2015m01'`,
    );
  });

  test('cannot approve what the same person requested, start without an approval, or take a unit further', async () => {
    const refused = async (sql: string) => {
      const failure = await failureOf(db.engine, sql);
      return failure instanceof Error && 'code' in failure ? failure.code : failure;
    };
    expect(
      await refused(`select compliance.begin_object_decision('plan', '${planId}', 'approve', 'records@example.org')`),
    ).toBe('AK003');
    expect(
      await refused(
        `select compliance.begin_object_decision('plan', '${planId}', 'approve', 'engine@auditkeep.invalid')`,
      ),
    ).toBe('AK004');
    expect(
      await refused(`select compliance.begin_object_decision('plan', '${planId}', 'withdraw', 'records2@example.org')`),
    ).toBe('AK121');
    expect(
      await refused(
        `select compliance.begin_object_decision('plan', gen_random_uuid(), 'approve', 'records2@example.org')`,
      ),
    ).toBe('AK120');
    expect(await refused(`select retention.start_plan('${planId}')`)).toBe('AK109');
    expect(await refused(`select retention.quarantine_unit(${unit})`)).toBe('AK104');
    expect(await refused(`select retention.drop_unit(${unit}, '${planId}')`)).toBe('AK104');
    expect(await refused(`update retention.unit set state = 'purge_due'`)).toBe('42501');
    expect(await refused(`insert into retention.plan_start (plan_id) values ('${planId}')`)).toBe('42501');
    expect(await refused(`select retention.finish_purge(${unit})`)).toBe('42501');
    expect(await refused(`insert into retention.certificate default values`)).toBe('42501');
  });

  test('an approval without NOT NULL, distinct persons and order is refused even to a superuser', async () => {
    const insert = (person: string, meaning: string, previous: string) => `
      with q as (insert into compliance.object_decision_request (object_kind, object_id, object_hash, meaning, person_id, issued_at, expires_at)
        select 'plan', plan_id, plan_hash, '${meaning}', (select id from compliance.person where kind = 'human' limit 1), now(), now() + interval '15 minutes'
          from retention.plan returning *)
      insert into compliance.object_decision (id, object_kind, object_id, object_hash, meaning, person_id, key_fingerprint, payload,
        payload_sha256, previous_decision_sha256, signature, decided_at)
      select q.id, q.object_kind, q.object_id, q.object_hash, q.meaning, ${person}, 'k', '{}', encode(sha256('{}'), 'hex'), ${previous},
        '-----BEGIN SSH SIGNATURE-----', now() from q`;
    const requester = `(select person_id from compliance.object_decision)`;
    const request = `(select payload_sha256 from compliance.object_decision)`;
    expect(await failureOf(db.admin, insert(requester, 'approve', request))).toMatchObject({
      constraint: 'separate_duties',
    });
    expect(await failureOf(db.admin, insert('null', 'approve', request))).toMatchObject({ code: '23502' });
    expect(await failureOf(db.admin, insert('gen_random_uuid()', 'approve', 'null'))).toMatchObject({ code: '23514' });
  });

  test('an approval that nobody signed opens nothing', async () => {
    // The database cannot check a signature; whoever executes does.
    const begin = `select compliance.begin_object_decision('plan', $1::uuid, 'approve', 'records2@example.org') as value`;
    const request = await scalar(db.engine, objectRequestSchema, begin, [planId]);
    const fingerprint = await scalar(
      db.engine,
      z.string(),
      `select k.fingerprint as value from compliance.person_key k join compliance.person p on p.id = k.person_id
        where p.email = 'records2@example.org'`,
    );
    await db.engine.withClient((client) =>
      client.query(`select compliance.record_object_decision($1, '-----BEGIN SSH SIGNATURE-----')`, [
        objectDecisionText(request, fingerprint),
      ]),
    );
    await guardsLater(db, 73);
    await expect(runPurge(ctx, { plan: planId, reason: 'test' })).rejects.toMatchObject({
      code: 'RETENTION_NOT_APPROVED',
      message: containing('approve of the plan'),
    });
    expect((await listPlans(ctx))[0]?.decisions.findings).toHaveLength(1);
    expect(await stateOf(db.engine, 'audit_log_y2015m01')).toBe('archived');
  });
});
