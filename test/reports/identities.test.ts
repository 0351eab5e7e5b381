/** Who the pseudonyms of a report are: kept under each person's own key, given away in full bundles only. */
import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { generateIdentity, identityToRecipient } from 'age-encryption';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { inclusionProof, verifyInclusion } from '../../src/audit/tree/merkle.ts';
import { canonicalJson } from '../../src/canonical-json.ts';
import { main } from '../../src/cli/main.ts';
import { queryRows } from '../../src/db/query.ts';
import { type BundleInput, bundleReport, makeBundle } from '../../src/reports/bundle/bundle.ts';
import { distributeReport } from '../../src/reports/bundle/distribute.ts';
import { verifyBundle } from '../../src/reports/bundle/verify-bundle.ts';
import { readStoredFile } from '../../src/reports/evidence/evidence-file.ts';
import { type GeneratedReport, generateReport } from '../../src/reports/generate/generate.ts';
import { openIdentities } from '../../src/reports/identity/seal-identities.ts';
import { commitmentOf, type Identity, identityLeaf, identityLineSchema } from '../../src/reports/model/identity.ts';
import { packBundle, unpackBundle } from '../../src/reports/parts/bundle-format.ts';
import { approveReport, reviewReport, submitReport } from '../../src/reports/workflow/workflow.ts';
import { foundRegister, type Roster } from '../persons/roster.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { knownSeal, repackBundle } from './approved-bundle.ts';
import { runAll } from './control-fixtures.ts';
import {
  ADA,
  BOB,
  formOf,
  identitiesOf,
  insertNamed,
  KNOWN_VALUES,
  linesOf,
  partOf,
  TRANSACTION,
  tellingOf,
} from './named-people.ts';
import { textOfPdf } from './pdf-text.ts';

const db = useDatabase();
let ctx: TestContext;
let roster: Roster;
let folder: string;
let report: GeneratedReport;
let full: Buffer;
let redacted: Buffer;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'auditkeep-identities-'));
  ctx = await testContext(db);
  roster = await foundRegister(ctx, folder);
  await insertNamed(db);
  report = await approved();
  [full, redacted] = [(await makeBundle(ctx, report.id, 'full')).zip, (await makeBundle(ctx, report.id)).zip];
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function approved(): Promise<GeneratedReport> {
  const made = await generateReport(ctx, { framework: 'sox', period: '2026-02' });
  await submitReport(roster.as(ctx, 'preparer'), { reportId: made.id });
  await reviewReport(roster.as(ctx, 'reviewer'), { reportId: made.id });
  await approveReport(roster.as(ctx, 'approver'), { reportId: made.id });
  return made;
}

const given = (zip: Buffer) => partOf(zip, 'allowed_signers').toString('utf8');

/** A full bundle with other lines, packed again as an insider with our code would. */
function repack(change: (lines: readonly string[]) => readonly string[], end = '\n'): Buffer {
  const ended = (line: string, at: number, all: readonly string[]) => line + (at === all.length - 1 ? end : '\n');
  return repackBundle(full, (parts) => {
    const lines = partOf(full, 'identities.ndjson').toString('utf8').split('\n').slice(0, -1);
    parts.set('identities.ndjson', Buffer.from(change(lines).map(ended).join('')));
  });
}

describe('a full bundle', () => {
  test('names everybody that the report shows, in the order of their pseudonyms', () => {
    const found = identitiesOf(full);
    const known = (name: string, email: string, account: string) => ({ name, email, account });
    const ada = known('adalovelace', 'Ada.Lovelace@example.org', ADA);
    const bob = known('bobhoover', 'hoover@example.org', BOB);
    const nobody = { account: null, name: null, email: null };
    expect(found).toHaveLength(report.model.identities.count);
    // Of ids that the database made and of keys of addresses only the form is known.
    const formed = found.map(({ value, ...rest }) => ({
      ...rest,
      value: KNOWN_VALUES.has(value) ? value : formOf(value),
    }));
    const expected = [
      { kind: 'account', value: ADA, ...ada },
      { kind: 'account', value: BOB, ...bob },
      { kind: 'token', value: 'id', ...ada },
      { kind: 'transaction', value: `transaction ${TRANSACTION}`, ...nobody },
      { kind: 'token', value: 'id', ...bob },
      { kind: 'address', value: 'key', ...ada },
      { kind: 'address', value: 'key', ...nobody, email: 'guest@example.net' },
      { kind: 'address', value: 'key', ...nobody, name: 'night-dba' },
      { kind: 'transaction', value: TRANSACTION, ...nobody },
    ];
    expect(formed).toEqual(expect.arrayContaining(expected));
    const pseudonyms = linesOf(full).map((line) => line.pseudonym);
    expect(pseudonyms).toEqual([...new Set(pseudonyms)].sort());
    const shown = new Set(JSON.stringify(report.model.controls).match(/P-[0-9A-Z]{16}/g));
    expect([...shown].sort()).toEqual(pseudonyms);
  });

  test('and the redacted one hold, against the same hash, and say which they are', async () => {
    const [whole, part] = [
      await verifyBundle(full, given(full), knownSeal(full)),
      await verifyBundle(redacted, given(redacted), knownSeal(redacted)),
    ];
    const { count } = report.model.identities;
    expect(whole).toMatchObject({
      valid: true,
      variant: 'full',
      identities: { count, erased: 0 },
      reportHash: report.hash,
    });
    expect(part).toMatchObject({ valid: true, variant: 'redacted', identities: null, reportHash: report.hash });
    expect(partOf(full, 'final.pdf')).toEqual(partOf(redacted, 'final.pdf'));
    expect((await makeBundle(ctx, report.id, 'full')).zip.equals(full)).toBe(true);
  });

  test('proves one person without the others, and its README shows how', () => {
    const lines = linesOf(full);
    const at = lines.findIndex((line) => 'identity' in line && line.identity.value === ADA);
    const line = lines[at];
    if (line === undefined || 'erased' in line) throw new Error('Ada is not there');
    const { root, count } = report.model.identities;
    const leaves = lines.map(identityLeaf);
    const claim = { index: BigInt(at), size: BigInt(count), root: Buffer.from(root, 'hex') };
    expect(verifyInclusion({ ...claim, leaf: identityLeaf(line), proof: inclusionProof(leaves, at) })).toBe(true);
    const readme = partOf(full, 'README.txt').toString();
    const [command] = readme.split('\n').filter((text) => text.includes('openssl dgst'));
    const script = (command ?? '').replace('IDENTITY', '"$IDENTITY"').replace('SALT', line.salt);
    const env = { ...process.env, IDENTITY: canonicalJson(line.identity) };
    const run = spawnSync('sh', ['-c', script], { env, encoding: 'utf8' });
    expect(run.stdout, run.stderr).toContain(line.commitment);
    expect(partOf(redacted, 'README.txt').toString()).not.toContain('identities.ndjson');
  });
});

test('nothing of an identity is anywhere in the redacted bundle', async () => {
  const secrets = linesOf(full).flatMap((line) =>
    'erased' in line ? [] : [line.salt, line.commitment, ...tellingOf(line.identity)],
  );
  expect(secrets.length).toBeGreaterThan(20);
  for (const [name, bytes] of unpackBundle(redacted)) {
    const text = Buffer.from(bytes).toString('latin1') + (name.endsWith('.pdf') ? await textOfPdf(bytes, folder) : '');
    if (name.endsWith('.pdf')) expect(text).toContain('P-');
    const lower = text.toLowerCase();
    expect(
      secrets.filter((secret) => lower.includes(secret.toLowerCase())),
      name,
    ).toEqual([]);
  }
  expect([...unpackBundle(redacted).keys()]).not.toContain('identities.ndjson');
});

describe('tampering', () => {
  const what = async (zip: Buffer) => {
    const { outcome, findings } = await verifyBundle(zip, given(full), knownSeal(zip));
    expect(outcome).toBe('invalid');
    return findings
      .filter(({ part }) => part === 'identities.ndjson')
      .map((finding) => finding.what)
      .join('\n');
  };
  const edit = (
    change: (line: { identity: Identity; salt: string; commitment: string; pseudonym: string }) => object,
  ) =>
    repack(([first = '', ...rest]) => {
      const line = identityLineSchema.parse(JSON.parse(first));
      if ('erased' in line) throw new Error('the first is erased');
      return [canonicalJson(z.record(z.string(), z.json()).parse(change(line))), ...rest];
    });

  test('another name, salt or commitment is told by its pseudonym', async () => {
    const first = linesOf(full)[0]?.pseudonym;
    for (const change of [
      edit((line) => ({ ...line, identity: { ...line.identity, name: 'mallory' } })),
      edit((line) => ({ ...line, salt: '0'.repeat(64) })),
      edit((line) => ({ ...line, commitment: '0'.repeat(64) })),
    ]) {
      expect(await what(change)).toContain(`says of ${first} in line 1 what its commitment does not hold`);
    }
  });

  test('a name with a commitment of its own does not have the root', async () => {
    const forged = edit((line) => {
      const identity = { ...line.identity, name: 'mallory' };
      return { ...line, identity, commitment: commitmentOf(identity, Buffer.from(line.salt, 'hex')) };
    });
    expect(await what(forged)).toBe('does not have the root that the model states');
  });

  test('a missing line, a foreign one and two that changed places are told', async () => {
    const [first, second] = linesOf(full).map((line) => line.pseudonym);
    expect(await what(repack(([, ...rest]) => rest))).toContain(`lacks ${first}, which the report shows`);
    const foreign = `{"commitment":"${'0'.repeat(64)}","erased":true,"pseudonym":"P-ZZZZZZZZZZZZZZZZ"}`;
    const longer = await what(repack((lines) => [...lines, foreign]));
    expect(longer).toContain('has P-ZZZZZZZZZZZZZZZZ, which the report does not show');
    const { count } = report.model.identities;
    expect(longer).toContain(`has ${count + 1} lines, and the model counts ${count} pseudonyms`);
    const swapped = await what(repack(([a = '', b = '', ...rest]) => [b, a, ...rest]));
    expect(swapped).toContain(`has ${first} in line 2 out of order`);
    expect(swapped).toContain('does not have the root');
    const doubled = await what(repack((lines) => [...lines.slice(0, 2), ...lines.slice(1)]));
    expect(doubled).toContain(`has ${second} in line 3 out of order`);
  });

  test('a line of another form, an empty part and a part without its end are told', async () => {
    expect(await what(repack(([first = '', ...rest]) => [first.replace(':', ': '), ...rest]))).toContain(
      'has a line 1 that is not one of identities',
    );
    expect(await what(edit((line) => ({ ...line, note: 'x' })))).toContain(
      'has a line 1 that is not one of identities',
    );
    expect(await what(repack(() => []))).toContain('has 0 lines');
    expect(await what(repack((lines) => lines, ''))).toContain('that is not one of identities');
  });

  test('a redacted bundle does not become a full one, nor the other way round, without its README', async () => {
    const parts = new Map(unpackBundle(full));
    parts.delete('identities.ndjson');
    parts.delete('manifest.json');
    parts.delete('digest.txt');
    const { installationId } = z
      .looseObject({ installationId: z.string() })
      .parse(JSON.parse(partOf(full, 'report.json').toString()));
    const cut = packBundle({ reportId: report.id, version: 1, reportHash: report.hash, installationId }, parts);
    expect((await verifyBundle(cut, null)).findings).toEqual([
      { part: 'README.txt', what: 'is not the page of a bundle' },
    ]);
  });
});

describe('a person who was erased', () => {
  async function destroyKeyOf(account: string): Promise<void> {
    // Whose a key is, only the key ring knows: it is the one that seals for them.
    const cell = { table: 't', column: 'c', rowId: 'r', dataClass: 'confidential' as const };
    const envelope = (await ctx.keys.subjectSealer('confidential', [account]))(account, cell, Buffer.of(1)) ?? '';
    const keyId = Buffer.from(envelope.slice(4), 'base64url').toString('hex', 10, 18);
    await runAll(db.admin, [
      `delete from security_secret.key_wrap where key_id = '${keyId}'`,
      `update security_secret.encryption_keys set status = 'destroyed' where key_id = '${keyId}'`,
    ]);
  }

  test('is named no more; the hash holds, everybody else is still proven', async () => {
    await destroyKeyOf(BOB);
    const after = (await makeBundle(ctx, report.id, 'full')).zip;
    const { count } = report.model.identities;
    // The account and its token.
    expect(await verifyBundle(after, given(after), knownSeal(after))).toMatchObject({
      valid: true,
      reportHash: report.hash,
      identities: { count, erased: 2 },
      findings: [],
    });
    expect(identitiesOf(after)).toEqual(identitiesOf(full).filter(({ account }) => account !== BOB));
    expect(after.toString('latin1')).not.toContain('hoover');
    expect((await makeBundle(ctx, report.id)).zip.equals(redacted)).toBe(true);
  });

  test('stays unnamed in later reports, where the tables still have them; pseudonyms are others', async () => {
    const later = await approved();
    const zip = (await makeBundle(ctx, later.id, 'full')).zip;
    expect(await verifyBundle(zip, given(zip), knownSeal(zip))).toMatchObject({
      valid: true,
      identities: { erased: 2 },
    });
    const before = new Set(linesOf(full).map((line) => line.pseudonym));
    expect(linesOf(zip).filter((line) => before.has(line.pseudonym))).toEqual([]);
    expect(later.model.identities.root).not.toBe(report.model.identities.root);
  });
});

describe('what is stored', () => {
  test('is envelopes in envelopes: who reads the file has no name', async () => {
    let stored = '';
    for await (const bytes of readStoredFile(ctx, { reportId: report.id, path: 'identities.ndjson' }))
      stored += Buffer.from(bytes).toString('utf8');
    expect(stored.split('\n')).toHaveLength(report.model.identities.count + 1);
    for (const identity of identitiesOf(full)) {
      for (const secret of tellingOf(identity)) expect(stored.includes(secret), secret).toBe(false);
    }
    const persons = await db.admin.withClient((client) =>
      queryRows(client, z.object({ n: z.bigint() }), 'select count(*) as n from security_secret.subject_key'),
    );
    // Ada, Bob, the guest and the night DBA; tokens are their owners', and the transaction is nobody's.
    expect(persons[0]?.n).toBe(4n);
  });

  test('is not bundled when it is not what the model has the root of', async () => {
    const other = await generateReport(ctx, { framework: 'sox', period: '2026-02' });
    const read = async (id: string, model = report.model.identities) => {
      for await (const lines of openIdentities(ctx, id, model)) void lines;
    };
    await read(report.id);
    await expect(read(other.id)).rejects.toMatchObject({ code: 'REPORT_TAMPERED' });
    await expect(read(randomUUID())).rejects.toMatchObject({ code: 'REPORT_TAMPERED' });
    const count = report.model.identities.count + 1;
    await expect(read(report.id, { ...report.model.identities, count })).rejects.toMatchObject({
      code: 'REPORT_TAMPERED',
    });
  });

  test('a control cannot ask who somebody is', async () => {
    for (const call of [`privacy.owners_of('{}')`, `privacy.names_of('{}', now(), now())`]) {
      await expect(db.report.withClient((client) => client.query(`select * from ${call}`))).rejects.toMatchObject({
        code: 'DB_PRIVILEGE',
      });
    }
  });
});

describe('giving a full bundle away', () => {
  const outDir = () => join(folder, 'out');
  const disclosures = () =>
    db.admin.withClient((client) =>
      queryRows(
        client,
        z.object({ by: z.string(), details: z.looseObject({ variant: z.string() }) }),
        `select user_email as by, additional_data as details from audit.audit_log_all
          where event_type in ('report.bundled', 'report.distributed') order by event_type`,
      ),
    );
  const bundle = (who: string | null, input: Partial<BundleInput> = {}) =>
    bundleReport(who === null ? ctx : roster.as(ctx, who), {
      reportId: report.id,
      outDir: outDir(),
      variant: 'full',
      purpose: 'internal audit',
      ...input,
    });

  test('takes a person with a key, a role that may, and a purpose; nothing is written or logged otherwise', async () => {
    await expect(bundle(null)).rejects.toMatchObject({ code: 'USAGE' });
    for (const purpose of [null, '  ']) {
      await expect(bundle('approver', { purpose })).rejects.toMatchObject({ code: 'USAGE' });
    }
    for (const who of ['preparer', 'reviewer', 'owner']) {
      await expect(bundle(who), who).rejects.toMatchObject({ code: 'ROLE_MISSING' });
    }
    const borrowed = {
      ...ctx,
      actor: { kind: 'person', email: 'approver@example.org', keyFile: roster.keyFile('preparer') } as const,
    };
    const input = { reportId: report.id, outDir: outDir(), variant: 'full', purpose: 'x' } as const;
    await expect(bundleReport(borrowed, input)).rejects.toMatchObject({ code: 'PERSON_KEY_INVALID' });
    const ageRecipient = await identityToRecipient(await generateIdentity());
    const sending = { ...input, recipient: 'auditor@example.com', ageRecipient };
    await expect(distributeReport(roster.as(ctx, 'preparer'), sending)).rejects.toMatchObject({ code: 'ROLE_MISSING' });
    expect(await disclosures()).toEqual([]);
    await expect(readdir(outDir())).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('is logged with variant, purpose and key, and report verify says which variant it is', async () => {
    const written = await bundle('counsel');
    expect(written).toMatchObject({ variant: 'full', path: join(outDir(), `report-${report.id}-full.zip`) });
    expect((await stat(written.path)).mode & 0o077).toBe(0);
    const plain = await bundle(null, { variant: 'redacted', purpose: null });
    expect(plain.path).toBe(join(outDir(), `report-${report.id}.zip`));
    const identity = await generateIdentity();
    const sent = await distributeReport(roster.as(ctx, 'records'), {
      ...{
        reportId: report.id,
        recipient: 'auditor@example.com',
        purpose: 'annual audit',
        variant: 'full',
        outDir: outDir(),
      },
      ageRecipient: await identityToRecipient(identity),
    });
    expect(sent.bundleSha256).toBe(written.sha256);
    const logged = await disclosures();
    expect(logged.map(({ by, details }) => [by, details.variant])).toEqual([
      ['counsel@example.org', 'full'],
      ['records@example.org', 'full'],
    ]);
    expect(logged[0]?.details).toMatchObject({ purpose: 'internal audit', bundleSha256: written.sha256 });
    const variants = await db.admin.withClient((client) =>
      queryRows(
        client,
        z.object({ variant: z.string(), purpose: z.string() }),
        'select variant, purpose from compliance.distribution',
      ),
    );
    expect(variants).toEqual([{ variant: 'full', purpose: 'annual audit' }]);
    await writeFile(join(folder, 'age.txt'), `${identity}\n`);
    const { count } = report.model.identities;
    expect(await verified(sent.path, '--identity', join(folder, 'age.txt'))).toContain(
      `full variant: says whose ${count} pseudonyms are; of 2 it says that the person was erased`,
    );
    expect(await verified(plain.path)).toContain('redacted variant');
  });

  async function verified(...args: string[]): Promise<string> {
    const streams = { stdout: new PassThrough(), stderr: new PassThrough() };
    const written = text(streams.stdout);
    await main(['report', 'verify', ...args, '--database-url', 'postgres://127.0.0.1:1/none'], streams);
    streams.stdout.end();
    return written;
  }
});
