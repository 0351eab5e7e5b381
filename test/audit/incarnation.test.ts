/** A database restored to yesterday: refused, until two key officers sign that the chain goes on under another origin. */
import { beforeAll, describe, expect, it } from 'vitest';
import { VERIFY_LEVELS } from '../../src/audit/links/finding.ts';
import { signCheckpoint } from '../../src/audit/publish/sign.ts';
import { readChainStatus } from '../../src/audit/publish/status.ts';
import { incarnationFindings, readIncarnations } from '../../src/audit/record/incarnation-record.ts';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { verifyChain } from '../../src/audit/verify/verify.ts';
import { beginIncarnation, planIncarnation } from '../../src/persons/begin-incarnation.ts';
import { foundRegister, type Roster } from '../persons/roster.ts';
import { type TestContext, temporaryHome, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { tamper } from '../tamper/tampering.ts';
import { addEvents, column } from './event-fixtures.ts';

const db = useDatabase();
let ctx: TestContext;
let roster: Roster;
let kept: number;
const officers = () => ({ keyFiles: [roster.keyFile('officer1'), roster.keyFile('officer2')] });

beforeAll(async () => {
  ctx = await testContext(db);
  roster = await foundRegister(ctx, await temporaryHome());
  await addEvents(db.engine, 10);
  kept = Number((await sealChain(ctx)).size);
  await signCheckpoint(ctx);
  await db.admin.withClient((client) =>
    client.query('create schema saved; create table saved.head as table audit.chain_head'),
  );
  await addEvents(db.engine, 5, 100);
  await sealChain(ctx);
  await signCheckpoint(ctx);
});

/** As a backup of the time of the first checkpoint would be. */
async function restore(): Promise<void> {
  await tamper(
    db.admin,
    `delete from audit.audit_log where id in (select event_id from audit.chain_link where seq >= ${kept})`,
    `delete from audit.chain_link where seq >= ${kept}`,
    `delete from audit.checkpoint where size > ${kept}`,
    'delete from audit.tile',
    'delete from audit.chain_head',
    'insert into audit.chain_head table saved.head',
  );
}

describe('a chain that was not rolled back', () => {
  it('begins no incarnation', async () => {
    await expect(beginIncarnation(ctx, officers())).rejects.toMatchObject({ code: 'CHAIN_NOT_ROLLED_BACK' });
    await expect(planIncarnation(ctx)).rejects.toMatchObject({ code: 'CHAIN_NOT_ROLLED_BACK' });
  });
});

describe('a chain that was restored to yesterday', () => {
  beforeAll(restore);

  it('gets no signature, and verification says rolled-back', async () => {
    await expect(signCheckpoint(ctx)).rejects.toMatchObject({ code: 'CHAIN_ROLLED_BACK' });
    expect((await verifyChain(ctx)).findings).toMatchObject([{ class: 'rolled-back' }]);
    expect(await planIncarnation(ctx)).toMatchObject({ kept, abandoned: kept + 5 });
    expect(await planIncarnation(ctx, officers())).toMatchObject({ kept, abandoned: kept + 5 });
  });

  it('stays refused, and every verification a finding, when somebody moves the number of the incarnation', async () => {
    await db.engine.withClient((client) => client.query('select audit.begin_incarnation(1)'));
    await expect(sealChain(ctx)).rejects.toMatchObject({ code: 'CHAIN_ROLLED_BACK' });
    await expect(signCheckpoint(ctx)).rejects.toMatchObject({ code: 'CHAIN_SIGNER_STORE' });
    for (const level of VERIFY_LEVELS) {
      const { findings } = await verifyChain(ctx, { level });
      expect(findings.map((found) => found.class)).toEqual(findings.map(() => 'rolled-back'));
      expect(findings.map((found) => found.actual)).toEqual(
        expect.arrayContaining(['none of incarnation 2', String(kept)]),
      );
    }
    await tamper(db.admin, 'update audit.chain_head set incarnation = 1');
  });

  it.each([
    ['one officer', ['officer1'], 'DUTY_SEPARATION'],
    ['the same officer twice', ['officer1', 'officer1'], 'DUTY_SEPARATION'],
    ['a person who is no officer', ['officer1', 'records'], 'ROLE_MISSING'],
  ])('does not go on when signed by %s', async (_, names, code) => {
    const keyFiles = names.map((name) => roster.keyFile(name));
    await expect(beginIncarnation(ctx, { keyFiles })).rejects.toMatchObject({ code });
    await expect(planIncarnation(ctx, { keyFiles })).rejects.toMatchObject({ code });
    expect(await column(db.admin, 'select incarnation from audit.chain_head')).toEqual([1]);
  });

  it('goes on under another origin, its first leaf the signed record, and what was written meanwhile follows', async () => {
    await addEvents(db.engine, 3, 200);
    const begun = await beginIncarnation(ctx, officers());
    expect(begun.origin).toMatch(/\/2$/);
    expect(begun.size).toBe(kept + 1);
    await sealChain(ctx);
    await sealChain(ctx);
    const { note } = await signCheckpoint(ctx);
    expect(note?.split('\n')[0]).toBe(begun.origin);
    const types = await column(
      db.admin,
      `select e.event_type from audit.chain_link l join audit.audit_log_all e on e.id = l.event_id where seq >= ${kept} order by seq`,
    );
    expect(types[0]).toBe('chain.incarnation');
    expect(types.filter((type) => type === 'test.event')).toHaveLength(3);
    expect(types.filter((type) => type === 'chain.incarnation')).toHaveLength(1);
  });

  it('never is green again by itself: every verification says what was lost, and nothing else', async () => {
    const { findings, intact } = await verifyChain(ctx);
    expect(intact).toBe(false);
    expect(findings).toMatchObject([
      { class: 'rolled-back', seq: kept, expected: String(kept + 5), actual: String(kept), checkpointTo: kept + 5 },
    ]);
  });

  it('says so when nobody signed the incarnation', async () => {
    await tamper(db.admin, "update audit.audit_log_late set event_type = 'x' where event_type = 'chain.incarnation'");
    const { findings } = await verifyChain(ctx);
    expect(findings.map((found) => `${found.class} ${found.actual?.slice(0, 4)}`)).toContain('rolled-back none');
    await tamper(db.admin, "update audit.audit_log_late set event_type = 'chain.incarnation' where event_type = 'x'");
  });
});

describe('a number that somebody moved without two officers', () => {
  it('is a finding at every level, which goes on with the rest', async () => {
    await db.engine.withClient((client) => client.query('select audit.begin_incarnation(2)'));
    await expect(signCheckpoint(ctx)).rejects.toMatchObject({ code: 'CHAIN_SIGNER_STORE' });
    await addEvents(db.engine, 1, 300);
    await sealChain(ctx);
    const strange = { class: 'rolled-back', expected: 'a signed record', actual: 'none of incarnation 3' };
    for (const level of ['head', 'incremental'] as const) {
      expect(await verifyChain(ctx, { level })).toMatchObject({ intact: false, findings: [strange] });
    }
    const change = (action: string) =>
      tamper(db.admin, `update audit.audit_log set event_action = '${action}' where event_action like 'ACTION-5%'`);
    await change('ACTION-5x');
    const { findings } = await verifyChain(ctx);
    await change('ACTION-5');
    expect(findings).toContainEqual(expect.objectContaining(strange));
    expect(findings.map((found) => found.class).sort()).toEqual(['modified', 'rolled-back', 'rolled-back']);
    const status = await readChainStatus(ctx);
    expect(status).toMatchObject({ incarnation: 3, roundOpen: false });
    expect(status.signedSize).toBeGreaterThan(kept);
    // However far somebody moves it: one finding, and no list as long as the number says.
    await tamper(db.admin, 'update audit.chain_head set incarnation = 2000000000');
    const far = await verifyChain(ctx, { level: 'head' });
    expect(far.findings).toMatchObject([{ ...strange, actual: 'none of incarnation 3 to 2000000000' }]);
    await tamper(db.admin, 'update audit.chain_head set incarnation = 1');
    const before = { class: 'rolled-back', expected: 'incarnation 2, as signed', actual: 'incarnation 1' };
    expect((await verifyChain(ctx, { level: 'head' })).findings).toMatchObject([before]);
    expect((await verifyChain(ctx, { level: 'rolling' })).findings).toContainEqual(expect.objectContaining(before));
    await tamper(db.admin, 'update audit.chain_head set incarnation = 3');
  });

  it('is adopted by two officers, or by nobody', async () => {
    await expect(beginIncarnation(ctx, { keyFiles: [] })).rejects.toMatchObject({ code: 'DUTY_SEPARATION' });
    expect((await beginIncarnation(ctx, officers())).origin).toMatch(/\/3$/);
    expect(await column(db.admin, 'select incarnation from audit.chain_head')).toEqual([3]);
    expect((await verifyChain(ctx)).findings.every((found) => found.class === 'rolled-back')).toBe(true);
    expect(await verifyChain(ctx, { level: 'head' })).toMatchObject({ intact: true });
  });
});

describe('a number that somebody wrote far ahead', () => {
  it('is not adopted: the chain goes on as the one after the last that was signed', async () => {
    for (const [written, next] of [
      [2_000_000_000, 4],
      [3000, 5],
    ] as const) {
      await tamper(db.admin, `update audit.chain_head set incarnation = ${written}`);
      expect((await planIncarnation(ctx)).origin).toMatch(new RegExp(`/${next}$`));
      expect((await beginIncarnation(ctx, officers())).origin).toMatch(new RegExp(`/${next}$`));
      expect(await column(db.admin, 'select incarnation from audit.chain_head')).toEqual([next]);
    }
    const { findings } = await verifyChain(ctx);
    expect(findings.map((found) => [found.class, found.expected === 'a signed record'])).toEqual(
      Array.from({ length: 4 }, () => ['rolled-back', false]),
    );
    expect(await verifyChain(ctx, { level: 'head' })).toMatchObject({ intact: true });
  });

  it('is set back by its own function alone, and with it nothing else', async () => {
    await db.admin.withClient(async (client) => {
      await expect(client.query('update audit.chain_head set incarnation = 2')).rejects.toMatchObject({
        code: 'AK100',
      });
      await client.query("select set_config('auditkeep.incarnation', '2', false)");
      await expect(client.query('update audit.chain_head set incarnation = 2, size = size - 1')).rejects.toMatchObject({
        code: 'AK100',
      });
      await client.query('reset auditkeep.incarnation');
    });
    await expect(
      db.engine.withClient((client) => client.query('select audit.set_incarnation(7, 8)')),
    ).rejects.toMatchObject({ code: 'AK020' });
  });

  it('is one finding for all numbers that follow each other, however far they reach', () => {
    const record = (incarnation: number) => ({ incarnation, eventId: 'e', kept: 1n, abandoned: 2n });
    const told = incarnationFindings([record(3), record(900_000_000)], { last: 999_999_999 });
    expect(told.map(({ actual }) => actual)).toEqual([
      'none of incarnation 2',
      '1',
      'none of incarnation 4 to 899999999',
      '1',
      'none of incarnation 900000001 to 999999999',
    ]);
  });

  it('is told by the first record of a number: a later one of the same number takes nothing back', async () => {
    const records = `select e.id from audit.audit_log_all e join audit.chain_link l on l.event_id = e.id
      where e.event_type = 'chain.incarnation' order by l.seq`;
    const ids = (await column(db.admin, records)).map(String);
    const [first = '', last = ''] = [ids[0], ids.at(-1)];
    const copy = (table: string) =>
      `update audit.${table} set additional_data = (select additional_data from audit.audit_log_all where id = '${first}') where id = '${last}'`;
    await tamper(db.admin, copy('audit_log'), copy('audit_log_late'));
    const known = await db.engine.withClient((client) => readIncarnations(client, { incarnation: 5 }));
    expect(known.map((one) => [one.incarnation, one.eventId])).toEqual(ids.slice(0, -1).map((id, at) => [at + 2, id]));
  });
});
