/** Bundles of a real database: accepted as exported, and refused by name after any change to any part. */
import { execFile } from 'node:child_process';
import { createHash, generateKeyPairSync } from 'node:crypto';
import { cp, mkdir, readdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { exportChain } from '../../src/audit/export/export.ts';
import { proveEvent } from '../../src/audit/export/proof.ts';
import { verifyChain } from '../../src/audit/verify/verify.ts';
import { cosign } from '../../src/audit/witness/cosignature.ts';
import { canonicalJson, type JsonValue } from '../../src/canonical-json.ts';
import { temporaryHome, testContext } from '../support/context.ts';
import { tamper } from '../tamper/tampering.ts';
import { editManifest, forge } from './changed-bundle.ts';
import { allowedSigners, ERASED, flip, LEAVES, useRealBundle } from './real-bundle.ts';
import { NODES, runVerifier, verifier } from './verifier.ts';

const real = useRealBundle();
const { check, checkChanged, partChanger } = real;

async function partsOf(bundle: string): Promise<string[]> {
  const entries = await readdir(bundle, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(bundle.length + 1))
    .sort();
}

describe('an untouched bundle', () => {
  it('is intact, as a real.folder and as a zip, and tells what was checked', () => {
    for (const path of [real.folder, `${real.folder}.zip`]) {
      expect(check(path)).toMatchObject({
        verdict: 'intact',
        exitCode: 0,
        findings: [],
        checked: { leaves: LEAVES, tiles: 4, checkpoints: 3, entries: LEAVES, erased: 2, records: 1 },
      });
    }
  });

  it.each(NODES)('is intact under %s, and prints it', async (node) => {
    const file = join(await temporaryHome(), 'signers');
    await writeFile(file, real.signers);
    const told = await runVerifier(node, real.folder, '--key', real.vkey, '--signers', file);
    expect(told.code).toBe(0);
    expect(told.stdout).toMatch(/600 entries.*\nINTACT\n$/);
    const json = await runVerifier(node, `${real.folder}.zip`, '--key', real.vkey, '--signers', file, '--json');
    expect(JSON.parse(json.stdout)).toMatchObject({ verdict: 'intact', exitCode: 0, findings: [] });
  });

  it('without a key is at most internally consistent', async () => {
    expect(verifier.verifyBundle(real.folder)).toMatchObject({ verdict: 'internally-consistent', exitCode: 2 });
    const told = await runVerifier('node', real.folder);
    expect(told.code).toBe(2);
    expect(told.stdout).toContain('CANNOT DECIDE');
  });

  it('begins with the checkpoint that the auditor kept, and with no other', () => {
    const key = verifier.parseVerifierKey(real.vkey);
    const kept = (text: string) =>
      verifier.verifyBundle(real.folder, {
        key,
        signers: verifier.parseSigners(real.signers),
        checkpoints: [{ where: 'kept', text }],
      });
    expect(kept(real.firstNote)).toMatchObject({ exitCode: 0, checked: { checkpoints: 4 } });
    expect(kept(real.firstNote.replace(/\n\d+\n/, '\n299\n'))).toMatchObject({
      exitCode: 1,
      findings: [{ where: 'kept' }],
    });
  });

  it('is not decided when a witness that the auditor counts on has not cosigned', () => {
    const witness = verifier.parseVerifierKey('PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW');
    const report = verifier.verifyBundle(real.folder, {
      key: verifier.parseVerifierKey(real.vkey),
      witnesses: [witness],
    });
    expect(report).toMatchObject({ verdict: 'undecided', exitCode: 2 });
  });

  it('carries the cosignatures of witnesses, which an auditor can ask for', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519');
    const name = 'witness.example/w';
    const raw = Buffer.concat([Buffer.from([4]), publicKey.export({ format: 'der', type: 'spki' }).subarray(12)]);
    const id = createHash('sha256').update(`${name}\n`).update(raw).digest().subarray(0, 4);
    const witness = verifier.parseVerifierKey(`${name}+${id.toString('hex')}+${raw.toString('base64')}`);
    const note = await readFile(join(real.folder, 'checkpoint'), 'utf8');
    const line = cosign(note.slice(0, note.indexOf('\n\n') + 1), 1_700_000_000n, { name, privateKey });
    await real.db.engine.withClient((client) =>
      client.query('select audit.publish_cosignature($1, 600, $2, $3, $4, now())', [
        real.ctx.config.origin,
        name,
        id,
        line,
      ]),
    );
    const out = join(await temporaryHome(), 'cosigned');
    await exportChain(real.ctx, { out });
    const options = {
      key: verifier.parseVerifierKey(real.vkey),
      witnesses: [witness],
      signers: verifier.parseSigners(real.signers),
    };
    expect(verifier.verifyBundle(out, options)).toMatchObject({ verdict: 'intact', exitCode: 0, doubts: [] });
    const cosigned = await readFile(join(out, 'checkpoint'), 'utf8');
    expect(cosigned).toBe(note + line);
    const { proof } = await proveEvent(real.ctx, { event: real.ids[3] ?? '', open: false });
    expect(verifier.verifyProof(proof, options)).toMatchObject({ exitCode: 0 });
    const [again] = [cosign(note, 1_700_000_000n, { name, privateKey })];
    expect(verifier.verifyProof(proof.replace(line, again), options)).toMatchObject({ exitCode: 1 });
  });

  it('of another key is tampered', () => {
    const other = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW';
    expect(verifier.verifyBundle(real.folder, { key: verifier.parseVerifierKey(other) })).toMatchObject({
      exitCode: 1,
    });
  });

  it('that is not there cannot be decided', async () => {
    expect(await runVerifier('node', join(real.folder, 'nothing'), '--key', real.vkey)).toMatchObject({ code: 2 });
    expect(await runVerifier('node', real.folder, '--key', 'x')).toMatchObject({ code: 2 });
    expect(await runVerifier('node', real.folder, '--what')).toMatchObject({ code: 2 });
  });
});

describe('every part', () => {
  it('with a byte changed, anywhere, is named', async () => {
    const parts = await partsOf(real.folder);
    expect(parts).toHaveLength(7 + 4 + 3 * 3);
    const changePart = await partChanger();
    for (const name of parts) {
      const bytes = await readFile(join(real.folder, name));
      for (const at of new Set([0, Math.floor(bytes.length / 2), bytes.length - 1])) {
        const report = await changePart(name, (path) => writeFile(path, flip(bytes, at)));
        expect(report.exitCode, `${name} at ${at}`).toBe(1);
        expect(JSON.stringify(report.findings), `${name} at ${at}`).toContain(name);
      }
    }
  });

  it('that is missing, cut, doubled in length or empty is named', async () => {
    const changePart = await partChanger();
    for (const name of await partsOf(real.folder)) {
      const bytes = await readFile(join(real.folder, name));
      const changes: readonly [string, (path: string) => Promise<void>][] = [
        ['missing', (path) => rm(path)],
        ['cut', (path) => truncate(path, Math.max(bytes.length - 1, 0))],
        ['twice as long', (path) => writeFile(path, Buffer.concat([bytes, bytes]))],
        ['empty', (path) => truncate(path, 0)],
      ];
      for (const [how, change] of changes) {
        const report = await changePart(name, change);
        expect(report.exitCode, `${name} ${how}`).toBe(1);
        expect(JSON.stringify(report.findings), `${name} ${how}`).toContain(name);
      }
    }
  });

  it.each(['extra.txt', 'tile/0/003', 'tile/entries/002', 'tile/5/000.p/1', 'openings/000.p/7'])(
    'that does not belong is named: %s',
    async (name) => {
      const report = await checkChanged(async (copy) => {
        await mkdir(dirname(join(copy, name)), { recursive: true });
        await writeFile(join(copy, name), 'x');
      });
      expect(report).toMatchObject({ exitCode: 1, findings: [{ class: 'unexpected-part', where: name }] });
    },
  );

  it('that is a link to elsewhere is refused', async () => {
    const report = await checkChanged(async (copy) => {
      await rm(join(copy, 'README.txt'));
      await symlink('/etc/hostname', join(copy, 'README.txt'));
    });
    expect(report).toMatchObject({ exitCode: 1, findings: [{ class: 'unexpected-part', where: 'README.txt' }] });
  });
});

describe('entries', () => {
  const FILE = 'tile/entries/001';
  /** Cuts an entry bundle into its entries with their lengths. */
  const cut = (bytes: Buffer): Buffer[] => {
    const entries: Buffer[] = [];
    for (let at = 0; at < bytes.length; at += 2 + bytes.readUInt16BE(at)) {
      entries.push(bytes.subarray(at, at + 2 + bytes.readUInt16BE(at)));
    }
    return entries;
  };
  const rewrite = (edit: (entries: Buffer[]) => readonly (Buffer | undefined)[]) =>
    checkChanged(async (copy) => {
      const edited = edit(cut(await readFile(join(copy, FILE))));
      await writeFile(join(copy, FILE), Buffer.concat(edited.filter((entry) => entry !== undefined)));
    });

  it('in each other’s places are reordered', async () => {
    const report = await rewrite(([a, b, ...rest]) => [b, a, ...rest]);
    expect(report.findings.filter(({ class: kind }) => kind === 'reordered')).toMatchObject([
      { seq: 256, eventId: real.ids[257] },
      { seq: 257, eventId: real.ids[256] },
    ]);
  });

  it('with one left out, or one too many, are refused', async () => {
    expect(await rewrite(([, ...rest]) => rest)).toMatchObject({ exitCode: 1, findings: [{ where: FILE }] });
    expect(await rewrite((all) => [...all, all[0]])).toMatchObject({ exitCode: 1, findings: [{ where: FILE }] });
  });

  it('with one emptied are deleted at that place', async () => {
    const report = await rewrite((all) => all.map((entry, at) => (at === 4 ? Buffer.alloc(2) : entry)));
    expect(report).toMatchObject({ exitCode: 1, findings: [{ class: 'deleted', seq: 260 }] });
  });

  it('with one twice name the event that is doubled', async () => {
    const report = await rewrite((all) => all.map((entry, at) => (at === 9 ? all[3] : entry)));
    expect(report.findings).toContainEqual(
      expect.objectContaining({ class: 'doubled', seq: 265, eventId: real.ids[259] }),
    );
  });
});

describe('somebody who knows the format', () => {
  it('cannot leave out a range, or claim another size or log', async () => {
    const edits: readonly JsonValue[] = [
      { to: '512' },
      { from: '256' },
      { size: '599' },
      { size: '99999999999999999999' },
      { to: '601' },
      { from: '1' },
      { from: '-1' },
      { origin: 'other.example/log' },
      { open: false },
      { format: 'auditkeep-bundle/v2' },
      { more: 'x' },
      { files: {} },
    ];
    for (const edit of edits) {
      const report = await checkChanged((copy) => editManifest(copy, (found) => ({ ...found, ...(edit as object) })));
      expect(report.exitCode, JSON.stringify(edit)).toBe(1);
    }
  });

  it('cannot be green with no entry at all', async () => {
    const report = await checkChanged(async (copy) => {
      await editManifest(copy, (found) => ({ ...found, from: '0', to: '0', open: false }));
      for (const part of ['tile/entries', 'chain', 'openings']) await rm(join(copy, part), { recursive: true });
      await forge(copy, 'erasures.ndjson', '');
      await forge(copy, 'records.ndjson', '');
    });
    expect(report).toMatchObject({ verdict: 'undecided', exitCode: 2, findings: [], checked: { entries: 0 } });
  });

  it('cannot erase without a record, or record what was not erased', async () => {
    const lost = [
      { class: 'record-invalid', where: 'records.ndjson line 1' },
      { class: 'erased-without-record', seq: ERASED, eventId: real.ids[ERASED] },
      { class: 'erased-without-record', seq: 249, eventId: real.ids[249] },
    ];
    const none = await checkChanged((copy) => forge(copy, 'erasures.ndjson', ''));
    expect(none.findings).toMatchObject(lost);
    const text = await readFile(join(real.folder, 'erasures.ndjson'), 'utf8');
    const other = text.replace(`"seq":"${ERASED}"`, '"seq":"8"').replace(real.ids[ERASED] ?? '', real.ids[8] ?? '');
    const moved = await checkChanged((copy) => forge(copy, 'erasures.ndjson', other));
    expect(moved.findings.map((found) => found.class)).toContain('erasure-invalid');
    const twice = await checkChanged((copy) => forge(copy, 'erasures.ndjson', text + text));
    expect(twice).toMatchObject({ exitCode: 1, findings: [{ where: 'erasures.ndjson line 3' }, {}] });
  });

  it('cannot take the signed record away, swap it, or have it signed by others', async () => {
    const line = await readFile(join(real.folder, 'records.ndjson'), 'utf8');
    const gone = await checkChanged((copy) => forge(copy, 'records.ndjson', ''));
    expect(gone.findings[0]).toMatchObject({ class: 'erased-without-record', where: 'erasures.ndjson line 1' });
    const edited = async (field: string, edit: (bytes: Buffer) => Buffer) => {
      const record = JSON.parse(line) as Record<string, string>;
      record[field] = edit(Buffer.from(record[field] ?? '', 'base64')).toString('base64');
      const { findings } = await checkChanged((copy) => forge(copy, 'records.ndjson', `${canonicalJson(record)}\n`));
      return findings.map((found) => found.class);
    };
    // The time of the event stands right behind its id; the payload commitment ends the entry.
    expect(await edited('entry', (bytes) => flip(bytes, 50))).toContain('record-invalid');
    expect(await edited('entry', (bytes) => flip(bytes, bytes.length - 1))).toContain('record-invalid');
    expect(await edited('opening', (bytes) => flip(bytes, bytes.length - 60))).toContain('record-invalid');
    const seq = (JSON.parse(line) as { seq: string }).seq;
    const moved = line.replace(`"seq":"${seq}"`, `"seq":"${Number(seq) + 1}"`);
    const { findings } = await checkChanged((copy) => forge(copy, 'records.ndjson', moved));
    expect(findings).toMatchObject([{ class: 'record-invalid', seq: Number(seq) + 1 }]);
  });

  it.each([
    ['nobody was named', () => Promise.resolve(null), 2, 'no list of signers'],
    ['one of them is not named', () => allowedSigners(real.roster, 'records'), 1, 'does not have'],
    ['others are named', () => allowedSigners(real.roster, 'officer1', 'officer2'), 1, 'does not have'],
    [
      'both keys are of one person',
      () => Promise.resolve(real.signers.replaceAll(/^\S+/gm, 'one@example.org')),
      1,
      'one person',
    ],
    [
      'it is not for erasures',
      () => Promise.resolve(real.signers.replaceAll(/^\S+/gm, '$& namespaces="file"')),
      1,
      'does not have',
    ],
    [
      'it began later',
      () => Promise.resolve(real.signers.replaceAll(/^\S+/gm, '$& valid-after="29990101"')),
      1,
      'does not have',
    ],
    [
      'it ended before',
      () => Promise.resolve(real.signers.replaceAll(/^\S+/gm, '$& valid-before="20000101Z"')),
      1,
      'does not have',
    ],
    [
      'all of it fits',
      () => Promise.resolve(real.signers.replaceAll(/^\S+/gm, '$& namespaces="erasure@auditkeep.v1"')),
      0,
      '',
    ],
  ])('a list of real.signers decides who may: %s', async (_, list, exitCode, what) => {
    const text = await list();
    const given = text === null ? null : verifier.parseSigners(text);
    const report = verifier.verifyBundle(real.folder, { key: verifier.parseVerifierKey(real.vkey), signers: given });
    expect(report.exitCode).toBe(exitCode);
    expect(JSON.stringify([report.findings, report.doubts])).toContain(what);
  });

  it('a list of real.signers that cannot be read decides nothing', async () => {
    const file = join(await temporaryHome(), 'signers');
    await writeFile(file, 'ann@example.org ssh-ed25519 AAAA\n');
    const told = await runVerifier('node', real.folder, '--key', real.vkey, '--signers', file);
    expect(told.code).toBe(2);
  });

  it('cannot pass a checkpoint off twice, or one of another tree', async () => {
    const lines = await readFile(join(real.folder, 'checkpoints.ndjson'), 'utf8');
    const report = await checkChanged((copy) => forge(copy, 'checkpoints.ndjson', lines + lines));
    expect(report).toMatchObject({ exitCode: 1, findings: [{ where: 'checkpoints.ndjson line 3' }, {}] });
  });

  it('cannot rewrite history below an old checkpoint that the auditor kept', async () => {
    const other = await testContext(real.db, {
      config: { ...real.ctx.config, home: await temporaryHome() },
    });
    expect(other.config.origin).toBe(real.ctx.config.origin);
    const leaf = await readFile(join(real.folder, 'tile/0/000'));
    const report = await checkChanged((copy) => writeFile(join(copy, 'tile/0/000'), flip(leaf, 5 * 32)));
    const kinds = report.findings.map((found) => found.class);
    expect(kinds).toEqual(expect.arrayContaining(['modified', 'rehashed', 'tile-differs', 'rewritten']));
    expect(report.findings.find((found) => found.class === 'modified')).toMatchObject({ seq: 5, eventId: real.ids[5] });
  });
});

it('can be checked by hand as the guide for auditors says, with stock tools, to the letter', async () => {
  const guide = await readFile(join(import.meta.dirname, '../../docs/guide/auditor.md'), 'utf8');
  const [, byHand = ''] = guide.split('**By hand, with stock tools.**');
  const script = byHand
    .split('\n')
    .filter((line) => line.startsWith('    '))
    .map((line) => line.slice(4))
    .join('\n');
  const copy = join(await temporaryHome(), 'by-hand');
  await cp(real.folder, copy, { recursive: true });
  await writeFile(join(copy, 'signers.txt'), real.signers);
  const env = { PATH: process.env['PATH'] ?? '', KEY: real.vkey };
  const { stdout } = await promisify(execFile)('bash', ['-e', '-c', script], { cwd: copy, env });
  const [openssl, hashed, leaf, ssh] = stdout.trim().split('\n');
  expect(openssl).toBe('Signature Verified Successfully');
  expect(hashed).toBe(`${leaf}  -`);
  expect(ssh).toMatch(/^Good "erasure@auditkeep.v1" signature for (records|everything)@example.org /);
});

describe('the verifier and the product on the same database', () => {
  it('name the same event, and the export tells', async () => {
    await tamper(
      real.db.admin,
      `update audit.audit_log set event_action = 'HARMLESS' where id = '${real.ids[33]}'`,
      `update audit.audit_log set user_email = 'another@example.org' where id = '${real.ids[400]}'`,
      `delete from audit.audit_log where id = '${real.ids[590]}'`,
    );
    const out = join(await temporaryHome(), 'tampered');
    expect(await exportChain(real.ctx, { out })).toMatchObject({ entries: 600, absent: 1, altered: 2 });
    const report = check(out);
    const product = await verifyChain(real.ctx);
    const places = (found: readonly { seq?: number | null; eventId?: string | null }[]) =>
      found.map(({ seq }) => seq).sort((a, b) => (a ?? 0) - (b ?? 0));
    // The erasure was made by hand: the product also asks for the record that two persons sign.
    expect(places(report.findings)).toEqual([33, 400, 590]);
    expect(places(product.findings.filter(({ seq }) => seq !== null && seq !== ERASED))).toEqual([33, 400, 590]);
    expect(report.findings.map((found) => found.class)).toEqual(['modified', 'modified', 'deleted']);
  });
});
