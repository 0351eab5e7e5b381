/** Certificates of destruction: on the command line, in verification, and in a bundle that the verifier reads alone. */
import { generateKeyPairSync, randomUUID, sign } from 'node:crypto';
import { cp, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { exportChain } from '../../src/audit/export/export.ts';
import { signCheckpoint } from '../../src/audit/publish/sign.ts';
import { readChainStatus } from '../../src/audit/publish/status.ts';
import { openLogKey, readLogPublicKey } from '../../src/audit/signer/signer-store.ts';
import { verifyChain } from '../../src/audit/verify/verify.ts';
import { canonicalJson, type JsonValue } from '../../src/canonical-json.ts';
import { main } from '../../src/cli/main.ts';
import { isCertificateSigned } from '../../src/retention/certificate.ts';
import { readCertificates } from '../../src/retention/purge-store.ts';
import { readChecked } from '../../src/retention/read-certificate.ts';
import { emailOf, type Roster } from '../persons/roster.ts';
import { type TestContext, temporaryHome } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { forge } from '../verifier/changed-bundle.ts';
import { verifier } from '../verifier/verifier.ts';
import { arrange, destroy } from './purge-setting.ts';
import { instant, scalar } from './rows.ts';

const containing = (part: string): unknown => expect.stringContaining(part);
const db = useDatabase();
let ctx: TestContext;
let roster: Roster;

beforeAll(async () => {
  ({ ctx, roster } = await arrange(db, ['2015-01', '2015-02', '2015-03']));
  ctx = { ...ctx, config: { ...ctx.config, backupRetentionDays: 35 } };
  await destroy(db, ctx, roster, { before: instant('2015-03-01T00:00:00Z') });
}, 60_000);

test('say when backups age out; purge list names them; purge certificate --out writes what the log signed, and refuses what it did not', async () => {
  const out = await temporaryHome();
  const [stored] = await db.engine.withClient(readCertificates);
  const id = stored?.certificate_id ?? '';
  const command = async (...argv: string[]) => {
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    const at = ['--config', join(out, 'auditkeep.yaml')];
    const exit = await main(['purge', ...argv, ...at], { stdout, stderr });
    stdout.end();
    stderr.end();
    return { exit, stdout: await text(stdout), stderr: await text(stderr) };
  };
  const configure = (home: string) =>
    writeFile(join(out, 'auditkeep.yaml'), JSON.stringify({ home, logLevel: 'silent', databaseUrl: db.url() }));
  await configure(ctx.config.home);
  const said = z
    .object({ purged_at: z.string(), backups_age_out_at: z.string() })
    .parse(JSON.parse(stored?.document ?? ''));
  expect(Date.parse(said.backups_age_out_at) - Date.parse(said.purged_at)).toBe(35 * 86_400_000);
  const listed = (await command('list')).stdout.split('\n');
  expect(listed.slice(1)).toEqual([
    `  purged audit_log_y2015m01  ${id}`,
    expect.stringMatching(/^ {2}purged audit_log_y2015m02 {2}[0-9a-f-]{36}$/),
    '',
  ]);
  const [folder, paths] = [join(out, 'deep', 'er'), ['json', 'sig', 'pdf']];
  const written = await command('certificate', id.slice(0, 8), '--out', folder, '--json');
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
  expect((await command('certificate', 'ffffffff')).stderr).toMatch(/^error PLAN_UNKNOWN: /);
  await configure(await temporaryHome());
  const stranger = await command('certificate', id, '--out', join(out, 'none'));
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
  expect(await changed(onFirst((line) => line.replace('records schedule', 'x').replace('7 years', '1 years')))).toEqual(
    invalid,
  );
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
