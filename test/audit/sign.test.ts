/** The signer and its own store: what it signs, what it refuses, and what lies where with which mode. */
import { createPublicKey } from 'node:crypto';
import { appendFile, chmod, cp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { signCheckpoint } from '../../src/audit/publish/sign.ts';
import { readChainStatus } from '../../src/audit/publish/status.ts';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { openLogKey } from '../../src/audit/signer/signer-store.ts';
import { openCheckpoint, parseVerifierKey } from '../../src/audit/tree/checkpoint.ts';
import { verifyChain } from '../../src/audit/verify/verify.ts';
import { type TestContext, temporaryHome, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { tamper } from '../tamper/tampering.ts';
import { addEvents, column } from './event-fixtures.ts';

const db = useDatabase();
let ctx: TestContext;
let home: string;
const signerFile = (name: string) => join(home, 'signer', name);

beforeAll(async () => {
  ctx = await testContext(db);
  home = ctx.config.home;
});

it('signs nothing while the chain is empty', async () => {
  expect(await signCheckpoint(ctx)).toEqual({ note: null, size: 0n, fresh: false });
});

it('signs the head once, into its store, the table and the directory', async () => {
  await addEvents(db.engine, 5);
  await sealChain(ctx);
  const signed = await signCheckpoint(ctx);
  expect(signed).toMatchObject({ size: 5n, fresh: true });
  expect(await signCheckpoint(ctx)).toEqual({ ...signed, fresh: false });
  const { verifierKey, signedSize, unsealed } = await readChainStatus(ctx);
  expect({ signedSize, unsealed }).toEqual({ signedSize: 5, unsealed: 0 });
  expect(openCheckpoint(signed.note ?? '', parseVerifierKey(verifierKey ?? ''))).toMatchObject({
    origin: 'auditkeep.local/audit',
    size: 5n,
  });
  expect(await column(db.admin, 'select note from audit.checkpoint')).toEqual([signed.note]);
  const files = await readdir(join(home, 'checkpoints'));
  expect(files.sort()).toEqual(['00000000000000000005.checkpoint', 'leaves']);
  expect(await readFile(join(home, 'checkpoints', files[0] ?? ''), 'utf8')).toBe(signed.note);
});

it('keeps key and state from others', async () => {
  const modes = await Promise.all(
    [join(home, 'signer'), signerFile('log.key'), signerFile('state.json')].map(
      async (path) => (await stat(path)).mode & 0o777,
    ),
  );
  expect(modes).toEqual([0o700, 0o600, 0o600]);
  await chmod(signerFile('log.key'), 0o644);
  await expect(signCheckpoint(ctx)).resolves.toMatchObject({ fresh: false });
  await addEvents(db.engine, 2, 100);
  await sealChain(ctx);
  await expect(signCheckpoint(ctx)).rejects.toMatchObject({ code: 'CHAIN_SIGNER_STORE' });
  await chmod(signerFile('log.key'), 0o600);
  await expect(signCheckpoint(ctx)).resolves.toMatchObject({ fresh: true, size: 7n });
});

it('counts what waits to be sealed', async () => {
  await addEvents(db.engine, 3, 200);
  expect((await readChainStatus(ctx)).unsealed).toBe(3);
  await sealChain(ctx, { batchSize: 2, maxBatches: 1 });
  expect(await readChainStatus(ctx)).toMatchObject({ unsealed: 1, roundOpen: true, size: 9 });
  await sealChain(ctx);
  expect(await readChainStatus(ctx)).toMatchObject({ unsealed: 0, roundOpen: false, size: 10 });
});

it('refuses a head that leaves the signed tree, even of a greater size', async () => {
  const state = await readFile(signerFile('state.json'), 'utf8');
  const broken = JSON.parse(state) as { frontier: string };
  const frontier = Buffer.from(broken.frontier, 'base64');
  frontier[0] = (frontier[0] ?? 0) ^ 1;
  await writeFile(signerFile('state.json'), JSON.stringify({ ...broken, frontier: frontier.toString('base64') }));
  await expect(signCheckpoint(ctx)).rejects.toMatchObject({ code: 'CHAIN_REWRITTEN' });
  await writeFile(signerFile('state.json'), '{');
  await expect(signCheckpoint(ctx)).rejects.toMatchObject({ code: 'CHAIN_SIGNER_STORE' });
  await writeFile(signerFile('state.json'), state);
  await expect(signCheckpoint(ctx)).resolves.toMatchObject({ fresh: true, size: 10n });
});

it('refuses to begin anew where another home has signed', async () => {
  const elsewhere = { ...ctx, config: { ...ctx.config, home: await temporaryHome() } };
  await expect(signCheckpoint(elsewhere)).rejects.toMatchObject({ code: 'CHAIN_SIGNER_STORE' });
});

it('goes on after a crash between its own store and the database', async () => {
  await db.admin.withClient((client) =>
    client.query(`alter table audit.checkpoint disable trigger ak_child_immutable;
                  delete from audit.checkpoint where size = 10;
                  alter table audit.checkpoint enable always trigger ak_child_immutable`),
  );
  await rm(join(home, 'checkpoints', '00000000000000000010.checkpoint'));
  expect(await signCheckpoint(ctx)).toMatchObject({ fresh: false, size: 10n });
  expect(await column(db.admin, 'select size from audit.checkpoint order by 1')).toEqual([5n, 7n, 10n]);
  expect((await readdir(join(home, 'checkpoints'))).filter((name) => name !== 'leaves')).toHaveLength(3);
  expect(await verifyChain(ctx)).toMatchObject({ intact: true, anchored: true });
});

describe('the mirror of leaves', () => {
  const file = () => join(home, 'checkpoints', 'leaves');
  const leaves = async () =>
    Buffer.concat((await column(db.admin, 'select leaf from audit.chain_link order by seq')) as Buffer[]);

  it('holds every signed leaf outside the database, closed to others', async () => {
    expect(await readFile(file())).toEqual(await leaves());
    expect((await stat(file())).mode & 0o777).toBe(0o600);
  });

  it('loses what a crash left behind the last signature, and only that', async () => {
    await appendFile(file(), Buffer.alloc(75, 9));
    await addEvents(db.engine, 2, 300);
    await sealChain(ctx);
    await signCheckpoint(ctx);
    expect(await readFile(file())).toEqual(await leaves());
  });

  it.each([0, 1, 40])('is made anew when only %i bytes of it are there', async (bytes) => {
    await truncate(file(), bytes);
    expect(await signCheckpoint(ctx)).toMatchObject({ fresh: false });
    expect(await readFile(file())).toEqual(await leaves());
  });

  it('is not made of links that are no longer the signed ones', async () => {
    await rm(file());
    const [leaf] = (await column(db.admin, 'select leaf from audit.chain_link where seq = 1')) as Buffer[];
    await tamper(db.admin, 'update audit.chain_link set leaf = sha256(leaf) where seq = 1');
    await expect(signCheckpoint(ctx)).rejects.toMatchObject({ code: 'CHAIN_REWRITTEN' });
    expect((await readFile(file())).length).toBe(0);
    await tamper(db.admin, `update audit.chain_link set leaf = '\\x${leaf?.toString('hex')}' where seq = 1`);
    await signCheckpoint(ctx);
    expect(await readFile(file())).toEqual(await leaves());
  });
});

it('tells a monitor lag, backlog, the last checkpoint and the last verification of each level', async () => {
  await verifyChain(ctx, { level: 'head' });
  await addEvents(db.engine, 2, 800);
  const waiting = await readChainStatus(ctx);
  expect(waiting).toMatchObject({ unsealed: 2, unsigned: 0, cosigned: 0, roundOpen: false });
  expect(waiting.sealLagSeconds).toBeGreaterThan(0);
  await sealChain(ctx);
  expect(await readChainStatus(ctx)).toMatchObject({ unsealed: 0, unsigned: 2, sealLagSeconds: 0 });
  await signCheckpoint(ctx);
  const [leaf] = (await column(db.admin, 'select leaf from audit.chain_link where seq = 0')) as Buffer[];
  await tamper(db.admin, 'update audit.chain_link set leaf = sha256(leaf) where seq = 0');
  const { findings } = await verifyChain(ctx);
  await tamper(db.admin, `update audit.chain_link set leaf = '\\x${leaf?.toString('hex')}' where seq = 0`);
  const status = await readChainStatus(ctx);
  const at = '2026-03-15T12:00:00.000Z';
  expect(status.lastVerified).toEqual({
    head: { at, to: waiting.size, findings: 0 },
    full: { at, to: status.size, findings: findings.length },
  });
  expect(findings.length).toBeGreaterThan(0);
  expect(Date.parse(status.signedAt ?? '')).toBeGreaterThan(Date.now() - 600_000);
});

it('uses one key however many sign first at the same time', async () => {
  const fresh = await temporaryHome();
  const keys = await Promise.all([openLogKey(fresh), openLogKey(fresh), openLogKey(fresh)]);
  const raw = keys.map((key) => createPublicKey(key).export({ format: 'der', type: 'spki' }).toString('hex'));
  expect(new Set(raw).size).toBe(1);
});

it('is not anchored without a signer of its own', async () => {
  const blind = { ...ctx, config: { ...ctx.config, home: await temporaryHome() } };
  expect(await verifyChain(blind)).toMatchObject({ intact: true, anchored: false });
  const copy = await temporaryHome();
  await cp(home, copy, { recursive: true });
  const sighted = { ...ctx, config: { ...ctx.config, home: copy } };
  expect(await verifyChain(sighted)).toMatchObject({ intact: true, anchored: true });
});

it('keeps no checkpoint that the chain never had, so that the engine cannot get before the signer', async () => {
  await addEvents(db.engine, 1, 900);
  await sealChain(ctx);
  const root = Buffer.alloc(32, 7);
  const publish = (size: number, note: string) =>
    db.engine.withClient((client) =>
      client.query('select audit.publish_checkpoint($1, $2, $3, $4)', ['auditkeep.local/audit', size, root, note]),
    );
  const noteOf = (size: number) => `auditkeep.local/audit\n${size}\n${root.toString('base64')}\n\njunk`;
  const { size } = await readChainStatus(ctx);
  for (const [at, note] of [
    [size, 'junk'],
    [size, noteOf(size)],
    [size + 1, noteOf(size + 1)],
    [size - 1, noteOf(size)],
  ] as const) {
    await expect(publish(at, note)).rejects.toMatchObject({ code: 'AK022' });
  }
  await expect(signCheckpoint(ctx)).resolves.toMatchObject({ fresh: true, size: BigInt(size) });
});
