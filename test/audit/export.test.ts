/** `chain export`: what is in a bundle, what is not, that the same range gives the same bytes, and what is refused. */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { unzipSync } from 'fflate';
import { beforeAll, describe, expect, it } from 'vitest';
import { type ExportInput, exportChain } from '../../src/audit/export/export.ts';
import { signCheckpoint } from '../../src/audit/publish/sign.ts';
import { readChainStatus } from '../../src/audit/publish/status.ts';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { type TestContext, temporaryHome, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { tamper } from '../tamper/tampering.ts';
import { verifier } from '../verifier/verifier.ts';
import { addEvents, column } from './event-fixtures.ts';

const db = useDatabase();
let ctx: TestContext;

beforeAll(async () => {
  ctx = await testContext(db);
});

async function exportTo(input: Omit<ExportInput, 'out'> = {}) {
  const out = join(await temporaryHome(), 'bundle');
  return exportChain(ctx, { out, ...input });
}

async function filesOf(folder: string): Promise<Map<string, Buffer>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const files = await Promise.all(
    paths.sort().map(async (path) => [path.slice(folder.length + 1), await readFile(path)] as const),
  );
  return new Map(files);
}

async function verdictOf(folder: string): Promise<unknown> {
  const { verifierKey } = await readChainStatus(ctx);
  return verifier.verifyBundle(folder, { key: verifier.parseVerifierKey(verifierKey ?? '') });
}

it('needs a signed checkpoint', async () => {
  await expect(exportTo()).rejects.toMatchObject({ code: 'CHAIN_UNSIGNED' });
  await addEvents(db.engine, 700);
  await sealChain(ctx);
  await expect(exportTo()).rejects.toMatchObject({ code: 'CHAIN_UNSIGNED' });
  await signCheckpoint(ctx);
});

describe('a bundle', () => {
  it('holds the whole chain, no personal data, and files that only their owner reads', async () => {
    const made = await exportTo();
    expect(made).toMatchObject({ size: 700n, from: 0n, to: 700n, entries: 700, absent: 0, altered: 0, zip: null });
    const files = await filesOf(made.folder);
    expect([...files.keys()]).toEqual([
      'README.txt',
      'bundle.json',
      'chain/000',
      'chain/001',
      'chain/002.p/188',
      'checkpoint',
      'checkpoints.ndjson',
      'erasures.ndjson',
      'log.vkey',
      'records.ndjson',
      'tile/0/000',
      'tile/0/001',
      'tile/0/002.p/188',
      'tile/1/000.p/2',
      'tile/entries/000',
      'tile/entries/001',
      'tile/entries/002.p/188',
    ]);
    expect(Buffer.concat([...files.values()]).includes('example.org')).toBe(false);
    expect((await stat(join(made.folder, 'checkpoint'))).mode & 0o777).toBe(0o600);
    expect(await verdictOf(made.folder)).toMatchObject({ verdict: 'intact' });
  });

  it('opened holds personal data, and says so', async () => {
    const files = await filesOf((await exportTo({ open: true })).folder);
    expect(files.get('openings/000')?.includes('user7@example.org')).toBe(true);
    expect(files.get('README.txt')?.toString()).toContain('PERSONAL DATA IN CLEAR');
  });

  it('of the same range is the same to the byte, though exports are events themselves', async () => {
    const [first, second] = [await exportTo({ zip: true }), await exportTo({ zip: true })];
    expect(await filesOf(second.folder)).toEqual(await filesOf(first.folder));
    const digests = await Promise.all(
      [first, second].map(async ({ zip }) =>
        createHash('sha256')
          .update(await readFile(zip ?? ''))
          .digest('hex'),
      ),
    );
    expect(digests[0]).toBe(digests[1]);
    const recorded = await column(
      db.admin,
      `select distinct additional_data->>'opened' from audit.audit_log_all where event_type = 'chain.exported' order by 1`,
    );
    expect(recorded).toEqual(['false', 'true']);
  });

  it('as a zip is read by other programs', async () => {
    const made = await exportTo({ zip: true });
    const unzipped = Object.entries(unzipSync(await readFile(made.zip ?? '')));
    const files = await filesOf(made.folder);
    expect(unzipped).toHaveLength(files.size);
    for (const [name, bytes] of unzipped) expect(files.get(name)?.equals(bytes), name).toBe(true);
  });

  it.each([
    [256n, 512n, 256n, 512n],
    [300n, 310n, 256n, 512n],
    [600n, 700n, 512n, 700n],
  ])('of %i to %i holds whole tiles: %i to %i', async (from, to, wideFrom, wideTo) => {
    const made = await exportTo({ from, to });
    expect(made).toMatchObject({ from: wideFrom, to: wideTo, entries: Number(wideTo - wideFrom) });
    expect(await verdictOf(made.folder)).toMatchObject({
      verdict: 'intact',
      checked: { leaves: 700, entries: made.entries },
    });
  });

  it('also leads to earlier checkpoints', async () => {
    await addEvents(db.engine, 10, 5000);
    await sealChain(ctx);
    await signCheckpoint(ctx);
    const made = await exportTo({ from: 512n });
    const files = await filesOf(made.folder);
    expect(files.get('checkpoints.ndjson')?.toString().trimEnd().split('\n')).toHaveLength(1);
    expect(await verdictOf(made.folder)).toMatchObject({ verdict: 'intact', checked: { checkpoints: 2 } });
  });
});

describe('refused is', () => {
  it.each([
    ['an empty range', { from: 5n, to: 5n }],
    ['a range beyond the checkpoint', { to: 100_000n }],
    ['a negative range', { from: -1n }],
    ['an opened range that would show more than was asked for', { from: 3n, to: 5n, open: true }],
  ])('%s', async (_, input) => {
    await expect(exportTo(input)).rejects.toMatchObject({ code: 'INPUT_INVALID' });
  });

  it('a folder that is not empty, or cannot be made', async () => {
    const home = await temporaryHome();
    await writeFile(join(home, 'x'), '');
    for (const out of [home, join(home, 'x'), join(home, 'x', 'y')]) {
      await expect(exportChain(ctx, { out })).rejects.toMatchObject({ code: 'INPUT_FILE' });
    }
    await mkdir(join(home, 'empty'));
    await expect(exportChain(ctx, { out: join(home, 'empty') })).resolves.toMatchObject({ from: 0n });
  });

  it('a chain that does not lead to its checkpoint; what was written is no bundle', async () => {
    const out = join(await temporaryHome(), 'bundle');
    await tamper(db.admin, `update audit.chain_link set leaf = sha256('x') where seq = 20`);
    await expect(exportChain(ctx, { out })).rejects.toMatchObject({ code: 'CHAIN_REWRITTEN' });
    expect(await verdictOf(out)).toMatchObject({ exitCode: 1, findings: [{ where: 'bundle.json' }] });
  });

  it('a checkpoint whose row is not what its note says', async () => {
    await tamper(db.admin, `update audit.checkpoint set root = sha256('x')`);
    await expect(exportTo()).rejects.toMatchObject({ code: 'CHECKPOINT_FORMAT' });
  });
});
