/**
 * A dump of an earlier state than what was signed: links are lost and transaction ids began anew. Nothing is linked until
 * two key officers have signed the next incarnation, which sweeps; a crash between its steps only needs it again.
 */
import { beforeAll, expect, it } from 'vitest';
import { signCheckpoint } from '../../src/audit/publish/sign.ts';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { planSweep, sweepChain } from '../../src/audit/seal/sweep.ts';
import { verifyChain } from '../../src/audit/verify/verify.ts';
import { beginIncarnation, planIncarnation } from '../../src/persons/begin-incarnation.ts';
import { foundRegister, type Roster } from '../persons/roster.ts';
import { type TestContext, temporaryHome, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { tamper } from '../tamper/tampering.ts';
import { addEvents, column } from './event-fixtures.ts';

const db = useDatabase();
const ROLLED_BACK = { code: 'CHAIN_ROLLED_BACK' };
const AHEAD = 8_000_000_000;
let ctx: TestContext;
let roster: Roster;
let kept: number;
const officers = () => ({ keyFiles: [roster.keyFile('officer1'), roster.keyFile('officer2')] });

beforeAll(async () => {
  ctx = await testContext(db);
  roster = await foundRegister(ctx, await temporaryHome());
  await addEvents(db.engine, 5);
  kept = Number((await sealChain(ctx)).size);
  await signCheckpoint(ctx);
  await db.admin.withClient((client) =>
    client.query('create schema saved; create table saved.head as table audit.chain_head'),
  );
  await addEvents(db.engine, 4, 100);
  await sealChain(ctx);
  await signCheckpoint(ctx);
  await tamper(
    db.admin,
    `delete from audit.audit_log where id in (select event_id from audit.chain_link where seq >= ${kept})`,
    `delete from audit.chain_link where seq >= ${kept}`,
    `delete from audit.checkpoint where size > ${kept}`,
    `update audit.audit_log set txid = txid + ${AHEAD}`,
    `update audit.audit_log_late set txid = txid + ${AHEAD}`,
    `update audit.chain_link set txid = txid + ${AHEAD}`,
    'delete from audit.chain_head',
    'insert into audit.chain_head table saved.head',
    `update audit.chain_head set snapshot = '${AHEAD * 2}:${AHEAD * 2}:'`,
  );
  await addEvents(db.engine, 8, 200);
});

it('is neither sealed nor swept', async () => {
  await expect(sealChain(ctx)).rejects.toMatchObject(ROLLED_BACK);
  await expect(planSweep(ctx)).rejects.toMatchObject(ROLLED_BACK);
  await expect(sweepChain(ctx)).rejects.toMatchObject(ROLLED_BACK);
  expect(await column(db.admin, 'select size from audit.chain_head')).toEqual([BigInt(kept)]);
  expect(await planIncarnation(ctx)).toMatchObject({ kept, abandoned: kept + 4, resealed: 0 });
});

it('goes on as the next incarnation, swept, also after a crash between its steps', async () => {
  const rename = (from: string, to: string) =>
    db.admin.withClient((client) => client.query(`alter function audit.${from} rename to ${to}`));
  await rename('sweep_links', 'no_sweep_links');
  await expect(beginIncarnation(ctx, officers())).rejects.toThrow();
  expect(await column(db.admin, 'select incarnation from audit.chain_head')).toEqual([2]);
  await rename('no_sweep_links', 'sweep_links');
  // The signatures are stored: nobody has to sign again.
  const begun = await beginIncarnation(ctx, { keyFiles: [] });
  expect(begun).toMatchObject({ origin: expect.stringMatching(/\/2$/) as string, size: kept + 9 });
  await addEvents(db.engine, 2, 300);
  expect(await sealChain(ctx)).toMatchObject({ sealed: 3, complete: true });
  expect(await signCheckpoint(ctx)).toMatchObject({ fresh: true });
  const { findings, pending } = await verifyChain(ctx);
  expect(pending).toBe(0);
  expect(findings).toMatchObject([{ class: 'rolled-back', seq: kept, expected: String(kept + 4) }]);
});
