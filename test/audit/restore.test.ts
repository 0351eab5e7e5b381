/**
 * A real restore: the data folder of a stopped server is copied, the log goes on and is signed, the folder is put back.
 * Sealing stops; a sealer that knows nothing of the signer seals on in the places of what was lost; then two officers go
 * on, and every later verification says what was lost, to the link.
 */
import { execFile } from 'node:child_process';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { exportChain } from '../../src/audit/export/export.ts';
import { signCheckpoint } from '../../src/audit/publish/sign.ts';
import { readChainStatus } from '../../src/audit/publish/status.ts';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { readSignerOrigin } from '../../src/audit/signer/signer-store.ts';
import { verifyChain } from '../../src/audit/verify/verify.ts';
import { type Config, loadConfig } from '../../src/config.ts';
import type { Context } from '../../src/context.ts';
import { type Database, openDatabase } from '../../src/db/database.ts';
import { openKeyring } from '../../src/keys/open-keyring.ts';
import { beginIncarnation, planIncarnation } from '../../src/persons/begin-incarnation.ts';
import { migrate } from '../../src/schema/migrate.ts';
import { emailOf, foundRegister, type Roster } from '../persons/roster.ts';
import { TestClock, temporaryHome } from '../support/context.ts';
import { startTestServer, type TestServer } from '../support/server.ts';
import { tamper } from '../tamper/tampering.ts';
import { verifier } from '../verifier/verifier.ts';
import { addEvents, column } from './event-fixtures.ts';

const run = promisify(execFile);
const DATABASE = 'restored';
let server: TestServer;
let config: Config;
let roster: Roster;
let open: Database[] = [];
let ctx: Context;
/** Links in the backup, and links that were signed after it. */
let kept: number;
let signed: number;

/** New pools: those of before a restart are broken. */
async function connect(): Promise<void> {
  await disconnect();
  const pool = (user: string) => {
    const url = new URL(server.url(DATABASE));
    url.username = user;
    return openDatabase({ url: url.href, applicationName: 'test-restore', maxConnections: 10 });
  };
  open = [pool('postgres'), pool('auditkeep_engine')];
  const clock = new TestClock();
  const actor = { kind: 'service', name: 'test' } as const;
  const log = pino({ level: 'silent' });
  const progress = { start: () => undefined, update: () => undefined, stop: () => undefined };
  const keys = openKeyring({ db: engine(), clock, home: config.home, actor });
  ctx = { db: engine(), reportDb: engine(), clock, log, keys, actor, progress, config };
}

async function disconnect(): Promise<void> {
  await Promise.all(open.map((database) => database.end().catch(() => undefined)));
}

const admin = () => open[0] as Database;
const engine = () => open[1] as Database;

beforeAll(async () => {
  server = await startTestServer();
  const home = await temporaryHome();
  config = await loadConfig({ flags: { home, logLevel: 'silent' }, environment: {}, workingFolder: home });
  const postgres = openDatabase({ url: server.url('postgres'), applicationName: 'test-restore' });
  await postgres.withClient((client) => client.query(`create database ${DATABASE} encoding 'UTF8' template template0`));
  await postgres.end();
  await connect();
  await migrate(admin());
  roster = await foundRegister(ctx, await temporaryHome());
  await addEvents(engine(), 300);
  await sealChain(ctx);
  await signCheckpoint(ctx);
  // Sealed and in the backup, but never signed before it.
  await addEvents(engine(), 5, 300);
  kept = Number((await sealChain(ctx)).size);
  const backup = `${server.dataFolder}-yesterday`;
  await server.crash();
  await run('cp', ['-a', server.dataFolder, backup]);
  await server.restart();
  await connect();
  await addEvents(engine(), 20, 400);
  signed = Number((await sealChain(ctx)).size);
  await signCheckpoint(ctx);
  await server.crash();
  await rm(server.dataFolder, { recursive: true });
  await run('mv', [backup, server.dataFolder]);
  await server.restart();
  await connect();
}, 120_000);

afterAll(async () => {
  await disconnect();
  await server.stop();
});

const size = async () => Number((await column(admin(), 'select size from audit.chain_head'))[0]);

describe('a database that was restored to yesterday', () => {
  it('is sealed and signed no further', async () => {
    expect(await size()).toBe(kept);
    await addEvents(engine(), 3, 500);
    const refused = { code: 'CHAIN_ROLLED_BACK', details: { size: String(kept), signed: String(signed) } };
    await expect(sealChain(ctx)).rejects.toMatchObject(refused);
    await expect(signCheckpoint(ctx)).rejects.toMatchObject(refused);
    expect(await size()).toBe(kept);
    expect((await verifyChain(ctx)).findings.map((found) => found.class)).toContain('rolled-back');
  });

  it('is sealed by a home that knows nothing, and what was lost is still told to the link', async () => {
    await addEvents(engine(), 100, 600);
    await sealChain({ ...ctx, config: { ...config, home: await temporaryHome() } });
    expect(await size()).toBeGreaterThan(signed);
    await expect(signCheckpoint(ctx)).rejects.toMatchObject({ code: 'CHAIN_REWRITTEN' });
    const resealed = (await size()) - kept;
    expect(await planIncarnation(ctx)).toMatchObject({ kept, abandoned: signed, resealed });
  });

  it('tells as much as its checkpoints do where nobody mirrored the leaves', async () => {
    const mirror = join(config.home, 'checkpoints', 'leaves');
    const leaves = await readFile(mirror);
    await rm(mirror);
    const [first] = (await readdir(join(config.home, 'checkpoints'))).sort();
    expect(await planIncarnation(ctx)).toMatchObject({ kept: Number(first?.slice(0, 20)), abandoned: signed });
    await writeFile(mirror, leaves, { mode: 0o600 });
  });

  it('goes on when two officers sign, and is never green again by itself', async () => {
    const keyFiles = [roster.keyFile('officer1'), roster.keyFile('officer2')];
    expect(await beginIncarnation(ctx, { keyFiles })).toMatchObject({ origin: `${config.origin}/2` });
    expect(await readSignerOrigin(config.home)).toBe(`${config.origin}/2`);
    await sealChain(ctx);
    await signCheckpoint(ctx);
    const lost = { class: 'rolled-back', seq: kept, expected: String(signed), actual: String(kept) };
    for (const level of ['full', 'rolling'] as const) {
      const { findings, intact } = await verifyChain(ctx, { level });
      expect({ level, intact, findings }).toMatchObject({ level, intact: false, findings: [lost] });
    }
    expect(await verifyChain(ctx, { level: 'incremental' })).toMatchObject({ intact: true });
  });

  it('leaves the house with both names, both signatures and what was lost, and is not green there either', async () => {
    const out = join(await temporaryHome(), 'bundle');
    await sealChain(ctx);
    await signCheckpoint(ctx);
    await exportChain(ctx, { out });
    const key = verifier.parseVerifierKey((await readChainStatus(ctx)).verifierKey ?? '');
    const lines = ['officer1', 'officer2'].map(
      async (name) => `${emailOf(name)} ${await readFile(`${roster.keyFile(name)}.pub`, 'utf8')}`,
    );
    const signers = verifier.parseSigners((await Promise.all(lines)).join(''));
    const report = verifier.verifyBundle(out, { key, signers });
    expect(report).toMatchObject({ exitCode: 2, findings: [], checked: { records: 1 } });
    expect(report.doubts).toEqual([expect.stringContaining(`${signed - kept} events from seq ${kept} on`)]);
    const notes = (await readFile(join(out, 'checkpoints.ndjson'), 'utf8')).trimEnd().split('\n');
    const origins = new Set(notes.map((line) => (JSON.parse(line) as { note: string }).note.split('\n')[0]));
    expect(origins).toEqual(new Set([config.origin, `${config.origin}/2`]));
    // A checkpoint that an auditor kept from before the restore, and one that the restore abandoned.
    const files = (await readdir(join(config.home, 'checkpoints')))
      .filter((name) => name.endsWith('.checkpoint'))
      .sort();
    const texts = await Promise.all(files.map((name) => readFile(join(config.home, 'checkpoints', name), 'utf8')));
    const checkpoints = texts.map((text, at) => ({ text, where: `kept ${at}` }));
    const told = verifier.verifyBundle(out, { key, signers, checkpoints });
    expect(told.findings).toEqual([]);
    expect(told.doubts).toContainEqual(expect.stringContaining(`a restore kept only ${kept}`));
    await rm(join(out, 'records.ndjson'));
    const silent = verifier.verifyBundle(out, { key, signers });
    expect(silent.exitCode).toBe(1);
    expect(silent.doubts).toContainEqual(expect.stringContaining('no record here tells what was lost'));
  });

  it('is still held to what it signed under its old name, as far as that was kept', async () => {
    const [first] = (await readdir(join(config.home, 'checkpoints'))).sort();
    const file = join(config.home, 'checkpoints', first ?? '');
    const note = await readFile(file, 'utf8');
    const before = note.split('\n')[1] ?? '';
    await tamper(admin(), `delete from audit.checkpoint where size = ${before}`);
    await writeFile(file, note.replace(`\n${before}\n`, `\n${Number(before) - 1}\n`));
    const classes = (await verifyChain(ctx)).findings.map((found) => found.class);
    expect(classes).toContain('checkpoint-invalid');
    await writeFile(file, note);
  });

  it('restored to before the new incarnation begins a third, never the second again', async () => {
    await tamper(admin(), 'update audit.chain_head set incarnation = 1');
    await expect(sealChain(ctx)).rejects.toMatchObject({ code: 'CHAIN_ROLLED_BACK' });
    await expect(signCheckpoint(ctx)).rejects.toMatchObject({ code: 'CHAIN_ROLLED_BACK' });
    expect(await planIncarnation(ctx)).toMatchObject({ origin: `${config.origin}/3` });
  });
});
