import { generateKeyPairSync, sign } from 'node:crypto';
import { readdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { canonicalJson } from '../../src/canonical-json.ts';
import { openDatabase } from '../../src/db/database.ts';
import { execute, queryOne, queryRows } from '../../src/db/query.ts';
import { openRehearsal } from '../../src/db/rehearsal.ts';
import { certificateSha256, parseCertificates, selfSign } from '../../src/keys/certificate.ts';
import { openKeyring } from '../../src/keys/open-keyring.ts';
import type { SealKey } from '../../src/keys/seal-key.ts';
import { makeBundle } from '../../src/reports/bundle/bundle.ts';
import { checkBundleFile } from '../../src/reports/bundle/distribute.ts';
import { verifyBundle } from '../../src/reports/bundle/verify-bundle.ts';
import { generateReport } from '../../src/reports/generate/generate.ts';
import { sha256Of, unpackBundle } from '../../src/reports/parts/bundle-format.ts';
import { sealReason } from '../../src/reports/seal/seal-text.ts';
import { sealPdf, unsealedPart } from '../../src/reports/seal/sealed-pdf.ts';
import { readSealFacts } from '../../src/reports/seal/store.ts';
import { approveReport, archiveReport, reviewReport, submitReport } from '../../src/reports/workflow/workflow.ts';
import { APPLICATION_ROLES } from '../../src/schema/roles.ts';
import type { Roster } from '../persons/roster.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { approveBundle, knownSeal, partText, repackBundle, reportJson, reportShape } from './approved-bundle.ts';

const db = useDatabase();
let ctx: TestContext;
let roster: Roster;
let folder: string;
let reportId: string;
let zip: Buffer;

beforeAll(async () => {
  ({ ctx, roster, folder, reportId, zip } = await approveBundle(db));
});

const textOf = (name: string) => partText(zip, name);
const finalPdf = () => Buffer.from(unpackBundle(zip).get('final.pdf') ?? '');
const count = async (what: string) =>
  (
    await db.admin.withClient((client) =>
      queryOne(client, z.object({ n: z.int() }), `select count(*)::int as n from ${what}`),
    )
  ).n;

/** As another process: nothing in memory. */
async function freshContext(): Promise<TestContext> {
  return testContext(db);
}

async function approved(framework: string): Promise<string> {
  const id = (await generateReport(ctx, { framework, period: '2026-02' })).id;
  await submitReport(roster.as(ctx, 'preparer'), { reportId: id });
  await reviewReport(roster.as(ctx, 'reviewer'), { reportId: id });
  await approveReport(roster.as(ctx, 'approver'), { reportId: id });
  return id;
}

describe('sealing', () => {
  test('is done once, by whoever comes first, and all get the same bytes', async () => {
    const id = await approved('gdpr');
    const contexts = await Promise.all([freshContext(), freshContext(), freshContext()]);
    const bundles = await Promise.all(contexts.map((each) => makeBundle(each, id)));
    expect(new Set(bundles.map(({ sha256 }) => sha256)).size).toBe(1);
    expect(await count(`compliance.report_seal where report_id = '${id}'`)).toBe(1);
    const facts = await db.engine.withClient((client) => readSealFacts(client, id));
    expect(facts?.sealedPdfSha256).toBe(
      sha256Of(unpackBundle(bundles[0]?.zip ?? Buffer.alloc(0)).get('final.pdf') ?? ''),
    );
    const events = await db.admin.withClient((client) =>
      queryRows(
        client,
        z.object({ type: z.string(), id: z.string().nullable(), details: z.json() }),
        `select event_type as type, resource_id as id, additional_data as details from audit.audit_log_all
          where event_type in ('report.sealed', 'report.seal_certificate') order by event_timestamp`,
      ),
    );
    const [certificate] = parseCertificates(textOf('seal-certificate.pem')) ?? [];
    const certificateHash = certificate === undefined ? '' : certificateSha256(certificate);
    expect(events.map(({ type }) => type).sort()).toEqual([
      'report.seal_certificate',
      'report.sealed',
      'report.sealed',
    ]);
    expect(events.find((event) => event.id === id)?.details).toMatchObject({ certificateSha256: certificateHash });
    expect(events.find((event) => event.type === 'report.seal_certificate')).toMatchObject({ id: certificateHash });
  });

  test('a dry run seals nothing and makes no key', async () => {
    const id = await approved('hipaa');
    const keys = join(ctx.config.home, 'keys');
    const rehearse = async () => {
      const rehearsal = openRehearsal(openDatabase({ url: db.url('auditkeep_engine'), applicationName: 'test' }));
      const { clock, actor } = ctx;
      const seal = { organization: 'Dry', files: null, writes: false };
      const keyring = openKeyring({ db: rehearsal, clock, home: ctx.config.home, actor, seal });
      await makeBundle({ db: rehearsal, keys: keyring, clock, actor }, id);
      await rehearsal.end();
    };
    const before = await readdir(keys);
    await rehearse();
    expect(await count(`compliance.report_seal where report_id = '${id}'`)).toBe(0);
    expect(await readdir(keys)).toEqual(before);
    // A report that was closed before anybody asked for its bundle is sealed all the same.
    await archiveReport(roster.as(ctx, 'records'), { reportId: id, reason: 'withdrawn' });
    const { zip: archived } = await makeBundle(ctx, id);
    expect(await verifyBundle(archived, partText(archived, 'allowed_signers'), knownSeal(zip))).toMatchObject({
      valid: true,
    });
  });

  test('a lost key stops the next seal and no bundle that was sealed', async () => {
    const [file, aside] = ['seal.pem', 'aside'].map((name) => join(ctx.config.home, 'keys', name));
    const id = await approved('gdpr');
    await rename(file ?? '', aside ?? '');
    expect((await makeBundle(await freshContext(), reportId)).sha256).toBe(sha256Of(zip));
    await expect(makeBundle(await freshContext(), id)).rejects.toMatchObject({ code: 'SEAL_KEY_MISSING' });
    // Another home that never knew of the first certificate.
    const strange = { ...ctx, keys: { ...ctx.keys, sealKey: () => Promise.resolve(keyOf('Strange')) } };
    await expect(makeBundle(strange, id)).rejects.toMatchObject({ code: 'SEAL_KEY_MISSING' });
    await rename(aside ?? '', file ?? '');
    const given = { ...ctx, keys: { ...ctx.keys, sealKey: () => Promise.resolve({ ...keyOf('Given'), made: false }) } };
    const { zip: other } = await makeBundle(given, id);
    expect(partText(other, 'seal-certificate.pem')).not.toBe(textOf('seal-certificate.pem'));
    const signers = partText(other, 'allowed_signers');
    expect(await verifyBundle(other, signers, knownSeal(other))).toMatchObject({ valid: true });
    expect((await verifyBundle(other, signers, knownSeal(zip))).findings).toEqual([
      { part: 'seal-certificate.pem', what: 'is not the certificate that reached you another way' },
    ]);
  });

  test('a connection lost at the commit leaves no half of a seal', async () => {
    const id = await approved('gdpr');
    const sealed = await count(`audit.audit_log_all where event_type = 'report.sealed'`);
    await db.admin.withClient((client) =>
      client.query(`create function compliance.cut() returns trigger language plpgsql security definer as
        'begin perform pg_terminate_backend(pg_backend_pid()); return null; end';
        create constraint trigger cut after insert on compliance.report_seal deferrable initially deferred
          for each row execute function compliance.cut()`),
    );
    await expect(makeBundle(ctx, id)).rejects.toThrow();
    await db.admin.withClient((client) => client.query('drop function compliance.cut() cascade'));
    expect(await count(`compliance.report_seal where report_id = '${id}'`)).toBe(0);
    expect(await count(`audit.audit_log_all where event_type = 'report.sealed'`)).toBe(sealed);
    await makeBundle(ctx, id);
    expect(await count(`audit.audit_log_all where event_type = 'report.sealed'`)).toBe(sealed + 1);
  });
});

describe('the database', () => {
  const seal = (id: string) => `select compliance.seal_report('${id}', repeat('0', 64), repeat('1', 64),
    (select sha256 from compliance.seal_certificate limit 1), '2026-03-15T12:00:00Z', 'ak1.x', 'ak1.y')`;

  test('refuses a report that is not approved, a second seal, and a change of one', async () => {
    const engine = (text: string) => db.engine.withClient((client) => execute(client, text, []));
    const draft = (await generateReport(ctx, { framework: 'sox', period: '2026-02' })).id;
    await expect(engine(seal(draft))).rejects.toMatchObject({ code: 'AK015' });
    await expect(engine(seal('11111111-1111-4111-8111-111111111111'))).rejects.toMatchObject({ code: 'AK001' });
    await expect(engine(seal(reportId))).rejects.toMatchObject({ code: 'AK137' });
    for (const table of ['report_seal', 'seal_certificate']) {
      await expect(engine(`insert into compliance.${table} select * from compliance.${table}`)).rejects.toMatchObject({
        code: 'DB_PRIVILEGE',
      });
      const owner = (text: string) => db.as('auditkeep_owner').withClient((client) => execute(client, text, []));
      await expect(owner(`delete from compliance.${table}`)).rejects.toThrow(/append-only|never changed|refuse/);
      await expect(owner(`truncate compliance.${table} cascade`)).rejects.toThrow(/append-only|never changed|refuse/);
    }
    for (const role of ['auditkeep_report', ...APPLICATION_ROLES]) {
      const other = db.as(role).withClient((client) => execute(client, seal(reportId), []));
      await expect(other, role).rejects.toMatchObject({ code: 'DB_PRIVILEGE' });
    }
  });

  test('changed by its owner is found before anything is packed', async () => {
    const change = (set: string) => `update compliance.report_seal set ${set} where report_id = '${reportId}'`;
    for (const set of [
      `sealed_pdf_sha256 = repeat('0', 64)`,
      `final_pdf_sha256 = repeat('0', 64)`,
      `sealed_at = sealed_at + interval '1 second'`,
    ]) {
      await asOwnerWithoutTriggers(change(set), async () => {
        await expect(makeBundle(ctx, reportId), set).rejects.toMatchObject({ code: 'REPORT_TAMPERED' });
      });
    }
    expect((await makeBundle(ctx, reportId)).sha256).toBe(sha256Of(zip));
  });

  /** Makes a change, runs fn and puts the old row back. */
  async function asOwnerWithoutTriggers(text: string, fn: () => Promise<void>): Promise<void> {
    const run = (sql: string) =>
      db.admin.withClient(async (client) => {
        await client.query(`begin; set local session_replication_role = replica;
          alter table compliance.report_seal disable trigger append_only; ${sql};
          alter table compliance.report_seal enable always trigger append_only; commit`);
      });
    await run(`create table public.kept as select * from compliance.report_seal; ${text}`);
    await fn();
    await run(`delete from compliance.report_seal; insert into compliance.report_seal select * from public.kept;
      drop table public.kept`);
  }
});

describe('a reader', () => {
  const verify = (changed: Buffer) => verifyBundle(changed, textOf('allowed_signers'), knownSeal(zip));
  const withPdf = (pdf: Buffer) => repackBundle(zip, (parts) => parts.set('final.pdf', pdf));
  /** Another digit, so that what was hexadecimal stays so. */
  const changed = (at: number) => {
    const pdf = finalPdf();
    pdf.write(pdf[at] === 0x30 ? '1' : '0', at, 'latin1');
    return pdf;
  };
  const at = (text: string, offset = 0) => finalPdf().lastIndexOf(text, -1, 'latin1') + offset;
  const reportWith = (seal: object, more: object = {}) => {
    const report = reportShape.parse(JSON.parse(textOf('report.json')));
    const sealed = z.looseObject({}).parse(report['seal']);
    return Buffer.from(canonicalJson(reportJson.parse({ ...report, ...more, seal: { ...sealed, ...seal } })));
  };

  test('finds a changed byte in every region of final.pdf, packed anew or not, and says where', async () => {
    const update = 'holds something else after its pages than one seal over all of them';
    const unsealed = unsealedPart(finalPdf())?.length ?? 0;
    const regions: readonly (readonly [number, string])[] = [
      [9, 'has other pages than those that were sealed'],
      [unsealed - 10, 'has other pages than those that were sealed'],
      [unsealed, update],
      [at('/ByteRange [', 13), update],
      [at('/Contents <', 12), update],
      [at('/Contents <', 700), update],
      [at('>\n>>\nendobj', -1), 'has a seal whose signature does not verify with seal-certificate.pem'],
      [at('/Rect [0', 7), update],
      [at('startxref', 12), update],
      [finalPdf().length - 1, 'bears no seal'],
    ];
    for (const [place, what] of regions) {
      const { findings } = await verify(withPdf(changed(place)));
      expect(findings, `byte ${place}`).toEqual([{ part: 'final.pdf', what }]);
    }
  });

  test('finds anything after the seal, a second one too, and a final.pdf without', async () => {
    const {
      certificates: [own],
    } = keyOf('Second');
    const text = { reason: 'x', sealedAt: '2026-03-15T12:00:00.000Z' };
    const parts: readonly (readonly [Buffer, string])[] = [
      [
        Buffer.concat([finalPdf(), Buffer.from('\n')]),
        'holds something else after its pages than one seal over all of them',
      ],
      [Buffer.concat([finalPdf(), Buffer.from('%%EOF\n')]), 'has other pages than those that were sealed'],
      [unsealedPart(finalPdf()) ?? Buffer.alloc(0), 'bears no seal'],
      [Buffer.alloc(0), 'bears no seal'],
      [Buffer.from('%%EOF\n%%EOF\n'), 'has other pages than those that were sealed'],
    ];
    expect(own.subject).toContain('Second');
    expect(() => sealPdf(finalPdf(), text, keyOf('Second'))).toThrow(/not laid out|cannot be sealed/);
    for (const [pdf, what] of parts) {
      expect((await verify(withPdf(pdf))).findings).toEqual([{ part: 'final.pdf', what }]);
    }
  });

  test('is not taken in by a seal of another key: the certificate that came another way is not this one', async () => {
    const key = keyOf('auditkeep');
    const pdf = unsealedPart(finalPdf()) ?? Buffer.alloc(0);
    const report = z
      .object({ version: z.number(), decisionsSha256: z.string(), seal: z.object({ sealedAt: z.string() }) })
      .parse(JSON.parse(textOf('report.json')));
    const subject = { reportId, reportHash: sha256Of(textOf('model.json')), ...report };
    const sealed = sealPdf(pdf, { reason: sealReason(subject), sealedAt: report.seal.sealedAt }, key);
    const [own] = key.certificates;
    const forged = repackBundle(zip, (parts) => {
      parts.set('final.pdf', sealed).set('seal-certificate.pem', Buffer.from(own.toString()));
      const hashes = { sealedPdfSha256: sha256Of(sealed), certificateSha256: certificateSha256(own) };
      parts.set('report.json', reportWith(hashes));
      parts.set(
        'README.txt',
        Buffer.from(textOf('README.txt').replace(knownSeal(zip).sealCertificate ?? '', hashes.certificateSha256)),
      );
    });
    expect(await verifyBundle(forged, textOf('allowed_signers'))).toMatchObject({
      outcome: 'incomplete',
      findings: [],
      unchecked: ['the certificate of the seal comes from the bundle itself and may be anybody’s'],
    });
    expect((await verify(forged)).findings).toEqual([
      { part: 'seal-certificate.pem', what: 'is not the certificate that reached you another way' },
    ]);
    const swapped = repackBundle(zip, (parts) => parts.set('seal-certificate.pem', Buffer.from(own.toString())));
    expect((await verify(swapped)).findings.map(({ part }) => part)).toEqual([
      'seal-certificate.pem',
      'seal-certificate.pem',
      'final.pdf',
    ]);
  });

  test.each([
    ['finalPdfSha256', '0'.repeat(64), 'report.json'],
    ['sealedPdfSha256', '0'.repeat(64), 'report.json'],
    ['certificateSha256', '0'.repeat(64), 'seal-certificate.pem'],
    ['sealedAt', '2026-03-15T12:00:01.000Z', 'final.pdf'],
    ['sealedAt', '2025-03-15T12:00:00.000Z', 'seal-certificate.pem'],
  ])('finds another %s in report.json', async (field, value, part) => {
    const { findings } = await verify(
      repackBundle(zip, (parts) => parts.set('report.json', reportWith({ [field]: value }))),
    );
    expect(findings.map((finding) => finding.part)).toContain(part);
  });

  test('finds another hash of the decisions, and a certificate with more than itself', async () => {
    const decisionsSha256 = '0'.repeat(64);
    const other = repackBundle(zip, (parts) => parts.set('report.json', reportWith({}, { decisionsSha256 })));
    expect((await verify(other)).findings).toContainEqual({
      part: 'report.json',
      what: 'names another hash of the decisions than they have',
    });
    for (const text of [`${textOf('seal-certificate.pem')}trust me\n`, '']) {
      const longer = repackBundle(zip, (parts) => parts.set('seal-certificate.pem', Buffer.from(text)));
      expect((await verify(longer)).findings).toEqual([
        { part: 'seal-certificate.pem', what: 'is not the certificate of a seal' },
      ]);
    }
  });

  test('takes the certificate as a fingerprint, with colons too, or as a file', async () => {
    const [file, pem] = ['report.zip', 'seal.pem'].map((name) => join(folder, name));
    await writeFile(file ?? '', zip);
    await writeFile(pem ?? '', textOf('seal-certificate.pem'));
    const check = (sealCertificate: string) =>
      checkBundleFile({ file: file ?? '', identityFile: null, signersFile: null, sealCertificate });
    const hex = knownSeal(zip).sealCertificate ?? '';
    for (const given of [hex, hex.toUpperCase().replace(/(..)(?=.)/g, '$1:'), pem ?? '']) {
      expect(await check(given)).toMatchObject({ sealCertificate: 'given', findings: [] });
    }
    expect((await check('0'.repeat(64))).findings.map(({ part }) => part)).toEqual(['seal-certificate.pem']);
    await expect(check(file ?? '')).rejects.toMatchObject({ code: 'INPUT_INVALID' });
    await expect(check('nothing.pem')).rejects.toMatchObject({ code: 'INPUT_FILE' });
  });
});

/** A key that the installation does not know. */
function keyOf(organization: string): SealKey {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const validity = { from: '2026-01-01T00:00:00.000Z', to: '2027-01-01T00:00:00.000Z' };
  const certificates = [selfSign(privateKey, organization, validity)] as const;
  return { certificates, made: true, sign: (text) => sign('sha256', text, privateKey) };
}
