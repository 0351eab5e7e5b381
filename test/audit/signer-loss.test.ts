/** What is lost or half there beside the database: nothing may be replaced in silence, and nothing missed. */
import { chmod, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, expect, it } from 'vitest';
import { signCheckpoint } from '../../src/audit/publish/sign.ts';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { verifyChain } from '../../src/audit/verify/verify.ts';
import { type TestContext, temporaryHome, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { tamper } from '../tamper/tampering.ts';
import { addEvents, column } from './event-fixtures.ts';

const db = useDatabase();
const inHome = (...names: string[]) => join(ctx.config.home, ...names);
const refused = { code: 'CHAIN_SIGNER_STORE' };
let ctx: TestContext;
let events = 0;

/** A home that has signed the head, and an event beyond it. */
beforeEach(async () => {
  const some = await testContext(db);
  ctx = { ...some, config: { ...some.config, home: await temporaryHome() } };
  await tamper(db.admin, 'delete from audit.checkpoint');
  events += 10;
  await addEvents(db.engine, 3, events);
  await sealChain(ctx);
  await signCheckpoint(ctx);
  await addEvents(db.engine, 1, events + 5);
  await sealChain(ctx);
});

it.each([
  ['with the state', []],
  ['with nothing but published checkpoints', ['signer/state.json']],
])('replaces no lost key: %s', async (_, alsoLost) => {
  for (const name of ['signer/log.key', ...alsoLost]) await rm(inHome(name));
  await tamper(db.admin, 'delete from audit.checkpoint');
  await expect(verifyChain(ctx)).rejects.toMatchObject(refused);
  await expect(signCheckpoint(ctx)).rejects.toMatchObject(refused);
  expect(await readdir(inHome('signer'))).not.toContain('log.key');
});

it('says how to mend a wrong mode', async () => {
  await chmod(inHome('signer', 'log.key'), 0o640);
  await expect(signCheckpoint(ctx)).rejects.toMatchObject({
    ...refused,
    hint: expect.stringContaining(`chmod 600 ${inHome('signer', 'log.key')}`) as string,
  });
});

it('completes a published checkpoint that was cut off, and overwrites none that says something else', async () => {
  const [size] = (await column(db.admin, 'select size from audit.chain_head')) as bigint[];
  const file = inHome('checkpoints', `${String(size).padStart(20, '0')}.checkpoint`);
  await writeFile(file, '', { mode: 0o600 });
  const { note } = await signCheckpoint(ctx);
  expect(await readFile(file, 'utf8')).toBe(note);
  await writeFile(file, (note ?? '').replace(String(size), `${size}0`));
  await expect(signCheckpoint(ctx)).rejects.toMatchObject(refused);
});

it('is not satisfied with an empty database where something was signed, nor with a chain that began anew', async () => {
  await rm(inHome('signer', 'state.json'));
  await tamper(
    db.admin,
    'truncate audit.chain_link, audit.chain_head, audit.checkpoint, audit.cosignature, audit.tile',
    'delete from audit.audit_log',
    'delete from audit.audit_log_late',
    'insert into audit.chain_head default values',
  );
  await expect(verifyChain(ctx)).rejects.toMatchObject({ code: 'CHAIN_NOTHING_CHECKED' });
  await addEvents(db.engine, 1, events + 6);
  await sealChain(ctx);
  expect((await verifyChain(ctx)).findings).toMatchObject([{ class: 'rolled-back' }]);
});

it('is content with an empty database where nothing was signed', async () => {
  const fresh = { ...ctx, config: { ...ctx.config, home: await temporaryHome() } };
  await tamper(
    db.admin,
    'truncate audit.chain_link, audit.chain_head, audit.checkpoint, audit.cosignature, audit.tile',
    'delete from audit.audit_log',
    'delete from audit.audit_log_late',
    'insert into audit.chain_head default values',
  );
  expect(await verifyChain(fresh)).toMatchObject({ checked: 0, intact: true, anchored: false });
});
