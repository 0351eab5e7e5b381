/** The levels of verification: what each looks at, where it goes on, and that it is not blind. */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { VerifyLevel } from '../../src/audit/links/finding.ts';
import { rangeEventQuery } from '../../src/audit/links/range-store.ts';
import { signCheckpoint } from '../../src/audit/publish/sign.ts';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { nextPart, ROLLING_PARTS, readRolling, writeRolling } from '../../src/audit/signer/verified-store.ts';
import { verifyChain } from '../../src/audit/verify/verify.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { tamper as restoreHead } from '../tamper/tampering.ts';
import { addEvents, column } from './event-fixtures.ts';

describe('levels of verification', () => {
  const db = useDatabase();
  let ctx: TestContext;

  beforeAll(async () => {
    ctx = await testContext(db);
  });

  async function sealAndSign(events: number, first: number): Promise<void> {
    await addEvents(db.engine, events, first);
    await sealChain(ctx);
    await signCheckpoint(ctx);
  }

  /** Runs statements on events and links with every trigger off, and gives what undoes it by its own hand. */
  async function tamper(...statements: string[]): Promise<void> {
    await db.admin.withClient(async (client) => {
      await client.query('begin');
      for (const table of await column(
        db.admin,
        `select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where n.nspname = 'audit' and c.relkind = 'r' and (c.relname like 'audit_log_%' or c.relname like 'chain_%' or c.relname = 'checkpoint')`,
      )) {
        await client.query(`alter table ${String(table)} disable trigger user`);
      }
      for (const statement of statements) await client.query(statement);
      await client.query('commit');
    });
  }

  async function protect(): Promise<void> {
    for (const row of await column(
      db.admin,
      `select format('alter table %s enable always trigger %I', t.tgrelid::regclass, t.tgname)
         from pg_trigger t join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'audit' and not t.tgisinternal and t.tgenabled = 'D'`,
    )) {
      await db.admin.withClient((client) => client.query(String(row)));
    }
  }

  it('below full refuse links that were never signed', async () => {
    await addEvents(db.engine, 10);
    await sealChain(ctx);
    for (const level of ['head', 'incremental', 'rolling'] as const) {
      await expect(verifyChain(ctx, { level })).rejects.toMatchObject({ code: 'CHAIN_NOTHING_CHECKED' });
    }
  });

  it('head takes the signed root, and records nothing of a sound run', async () => {
    await sealAndSign(300, 100);
    const events = await column(db.admin, 'select count(*) from audit.audit_log');
    expect(await verifyChain(ctx, { level: 'head' })).toMatchObject({ intact: true, anchored: true, checked: 1 });
    expect(await column(db.admin, 'select count(*) from audit.audit_log')).toEqual(events);
  });

  it('incremental verifies what is new, once, and then says that nothing is', async () => {
    expect(await verifyChain(ctx, { level: 'incremental' })).toMatchObject({
      intact: true,
      from: 0,
      to: 310,
      checked: 310,
    });
    expect(await verifyChain(ctx, { level: 'incremental' })).toMatchObject({ intact: true, from: 310, to: 310 });
    await sealAndSign(20, 1000);
    expect(await verifyChain(ctx, { level: 'incremental' })).toMatchObject({
      intact: true,
      from: 310,
      to: 330,
      checked: 20,
    });
    const kept: unknown = JSON.parse(await readFile(join(ctx.config.home, 'signer', 'verified.json'), 'utf8'));
    expect(kept).toMatchObject({ size: '330' });
  });

  it('incremental goes only as far as was signed', async () => {
    await addEvents(db.engine, 5, 2000);
    await sealChain(ctx);
    expect(await verifyChain(ctx, { level: 'incremental' })).toMatchObject({ intact: true, from: 330, to: 330 });
    await signCheckpoint(ctx);
    expect(await verifyChain(ctx, { level: 'incremental' })).toMatchObject({ intact: true, from: 330, to: 335 });
  });

  it('incremental stays where it was whatever was found, and says it again', async () => {
    await sealAndSign(20, 3000);
    const onCheckpoint = (note: string) =>
      `update audit.checkpoint set note = ${note} where size = (select max(size) from audit.checkpoint)`;
    await tamper('create table public.kept as table audit.checkpoint', onCheckpoint(`note || 'x'`));
    await protect();
    for (const _again of [1, 2]) {
      const result = await verifyChain(ctx, { level: 'incremental' });
      expect(result.findings.map((found) => found.class)).toEqual(['checkpoint-invalid']);
      expect(result).toMatchObject({ intact: false, from: 335, to: 355 });
    }
    await tamper(onCheckpoint('(select k.note from public.kept k where k.size = checkpoint.size)'));
    // The guards of the tables are off now.
    for (const _again of [1, 2]) {
      const result = await verifyChain(ctx, { level: 'incremental' });
      expect([...new Set(result.findings.map((found) => found.class))]).toEqual(['unprotected']);
      expect(result).toMatchObject({ intact: false, from: 335, to: 355 });
    }
    await protect();
  });

  it('incremental names a change, a deletion and a moved time, and stays where it was', async () => {
    await tamper(
      "update audit.audit_log set event_type = 'x' where event_action = 'ACTION-3001'",
      "delete from audit.audit_log where event_action = 'ACTION-3003'",
      "update audit.audit_log set event_timestamp = event_timestamp + interval '1 microsecond' where event_action = 'ACTION-3005'",
    );
    await protect();
    for (const _again of [1, 2]) {
      const result = await verifyChain(ctx, { level: 'incremental' });
      expect(result.findings.map((found) => [found.class, found.seq])).toEqual([
        ['modified', 336],
        ['modified', 340],
        ['deleted', 338],
      ]);
      expect(result).toMatchObject({ intact: false, from: 335, to: 355 });
    }
  });

  it('rolling visits every part of the chain once a cycle, finds the old changes, and sweeps', async () => {
    await db.admin.withClient((client) =>
      client.query(`insert into audit.audit_log (event_type, event_category, event_action, txid, resource_type)
                    values ('x', 'system', 'SMUGGLED', 3, 'thing')`),
    );
    const seen = new Set<number>();
    const classes = new Set<string>();
    for (let night = 0; night < ROLLING_PARTS; night += 1) {
      const result = await verifyChain(ctx, { level: 'rolling' });
      for (let seq = result.from; seq < result.to; seq += 1) seen.add(seq);
      for (const found of result.findings) classes.add(found.class);
      expect(result.findings.map((found) => found.class)).toContain('inserted');
    }
    expect(seen.size).toBe(355);
    expect([...classes].sort()).toEqual(['deleted', 'inserted', 'modified']);
  });

  it('rolling does not go on before its findings are told', async () => {
    const position = async () => (await readRolling(ctx.config.home, ctx.config.origin, 355n)).done;
    const onEvents = (change: string) =>
      db.admin.withClient(async (client) => {
        for (const table of ['audit_log', 'audit_log_late']) await client.query(`alter table audit.${table} ${change}`);
      });
    await verifyChain(ctx, { level: 'rolling' });
    const before = await position();
    await onEvents(`add constraint untold check (event_type not like 'chain.%') not valid`);
    await expect(verifyChain(ctx, { level: 'rolling' })).rejects.toThrow('untold');
    expect(await position()).toBe(before);
    await onEvents('drop constraint untold');
    await verifyChain(ctx, { level: 'rolling' });
    expect(await position()).toBe(before + 1);
  });

  it('head sees links cut off the end, and a rewritten last link', async () => {
    await tamper('delete from audit.chain_link where seq >= 350');
    await protect();
    const result = await verifyChain(ctx, { level: 'head' });
    expect(result.findings.map((found) => found.class)).toEqual(['truncated']);
  });
});

describe('an incremental run', () => {
  const db = useDatabase();

  it('looks its events up by key in the partition of their time, whatever the planner thinks of the tables', async () => {
    for (const months of [0, 1, 2])
      await addEvents(db.engine, 1000, months * 1000, `now() + interval '${months} months'`);
    const ctx = await testContext(db);
    await sealChain(ctx);
    await db.admin.withClient((client) => client.query('analyze audit.audit_log, audit.chain_link'));
    // Links 1000 to 1100 all name events of the second month.
    const query = rangeEventQuery({ from: 1000n, to: 1100n });
    const plan = await column(db.admin, `explain (analyze, costs off, timing off, summary off, buffers off) ${query}`);
    const scans = plan.map(String).filter((line) => / Scan /.test(line) && !/never executed/.test(line));
    expect(scans).toHaveLength(4);
    expect(scans[0]).toMatch(/Index Scan using chain_link_p\d+_pkey .*rows=100/);
    expect(scans[1]).toMatch(/Index Scan using audit_log_y\d+m\d+_pkey .*rows=1(\.00)? loops=100/);
    expect(scans[2]).toMatch(/ on audit_log_late .*rows=0(\.00)? loops=100/);
    // The empty parent of what waits for its destruction.
    expect(scans[3]).toMatch(/Seq Scan on audit_log .*rows=0(\.00)? loops=100/);
  });
});

describe('what lies beside the signer', () => {
  const db = useDatabase();

  it('is looked at file by file each minute, whole in a rolling run, which also tells a damaged mirror', async () => {
    const ctx = await testContext(db);
    const { home } = ctx.config;
    await addEvents(db.engine, 60);
    await sealChain(ctx);
    const { size } = await signCheckpoint(ctx);
    const classes = async (level: VerifyLevel) => (await verifyChain(ctx, { level })).findings.map((one) => one.class);
    const file = (n: bigint) => join(home, 'checkpoints', `${String(n).padStart(20, '0')}.checkpoint`);
    const note = await readFile(file(size));
    await writeFile(file(size), 'x');
    expect(await classes('head')).toEqual(['checkpoint-invalid']);
    await writeFile(file(size), note);
    // Any other file is for the levels that list the folder.
    await writeFile(file(1n), 'x');
    expect(await classes('head')).toEqual([]);
    expect(await classes('rolling')).toEqual(['checkpoint-invalid']);
    await rm(file(1n));
    expect(await classes('rolling')).toEqual([]);
    const mirror = await readFile(join(home, 'checkpoints', 'leaves'));
    await writeFile(
      join(home, 'checkpoints', 'leaves'),
      mirror.map((byte) => byte ^ 1),
    );
    const { findings } = await verifyChain(ctx, { level: 'rolling' });
    expect(findings).toMatchObject([{ class: 'checkpoint-invalid' }]);
    expect(findings[0]?.expected).toContain('mirror of leaves');
    await writeFile(join(home, 'checkpoints', 'leaves'), mirror);
    expect(await classes('rolling')).toEqual([]);
  });

  it('keeps the parts in which a rolling run found something: they are read again each night until they are sound', async () => {
    const ctx = await testContext(db);
    const { home, origin } = ctx.config;
    const { from } = nextPart(await readRolling(home, origin, 60n));
    const changed = (type: string) =>
      restoreHead(
        db.admin,
        `update audit.audit_log set event_type = '${type}' where id = (select event_id from audit.chain_link where seq = ${from})`,
      );
    await changed('x');
    const modified = [['modified', Number(from)]];
    for (const done of [1, 2, ROLLING_PARTS - 1, ROLLING_PARTS]) {
      const { findings } = await verifyChain(ctx, { level: 'rolling' });
      expect(findings.map((found) => [found.class, found.seq])).toEqual(modified);
      const cycle = await readRolling(home, origin, 60n);
      expect(cycle.open).toHaveLength(1);
      // On to the end of the cycle, and beyond it.
      if (done > 1) await writeRolling(home, origin, { ...cycle, done });
    }
    await changed('test.event');
    expect(await verifyChain(ctx, { level: 'rolling' })).toMatchObject({ intact: true });
    expect((await readRolling(home, origin, 60n)).open).toEqual([]);
  });
});

describe('a database and a state of the signer that went back together', () => {
  const db = useDatabase();

  it('are told by a checkpoint file that stayed, and so is a chain that has grown past it since', async () => {
    const ctx = await testContext(db);
    const { home } = ctx.config;
    const classes = async (level: VerifyLevel) => (await verifyChain(ctx, { level })).findings.map((one) => one.class);
    const grow = async (events: number, first: number) => {
      await addEvents(db.engine, events, first);
      await sealChain(ctx);
      await signCheckpoint(ctx);
    };
    await grow(60, 0);
    expect(await classes('incremental')).toEqual([]);
    await db.admin.withClient((client) =>
      client.query('create schema saved; create table saved.head as table audit.chain_head'),
    );
    const store = ['state.json', 'verified.json'].map((name) => join(home, 'signer', name));
    const texts = await Promise.all(store.map((file) => readFile(file)));
    await grow(10, 100);
    await Promise.all(store.map((file, at) => writeFile(file, texts[at] ?? '')));
    await restoreHead(
      db.admin,
      'delete from audit.audit_log where id in (select event_id from audit.chain_link where seq >= 60)',
      'delete from audit.chain_link where seq >= 60',
      'delete from audit.checkpoint where size > 60',
      'delete from audit.tile',
      'delete from audit.chain_head',
      'insert into audit.chain_head table saved.head',
    );
    for (const level of ['head', 'incremental'] as const) expect(await classes(level)).toEqual(['rolled-back']);
    await addEvents(db.engine, 20, 200);
    await sealChain(ctx);
    await rm(join(home, 'checkpoints', 'leaves'));
    await signCheckpoint(ctx);
    expect(await classes('incremental')).toEqual(['rewritten']);
  });
});

describe('the parts of a cycle', () => {
  it('cover the chain without gap or overlap, in an order of their seed', () => {
    const order = (seed: number, size: bigint) =>
      Array.from({ length: ROLLING_PARTS }, (_, done) => nextPart({ seed: Buffer.alloc(32, seed), size, done }));
    for (const size of [1n, 29n, 30n, 1_000_003n]) {
      const sorted = order(1, size).sort((a, b) => (a.from === b.from ? Number(a.to - b.to) : Number(a.from - b.from)));
      expect(sorted.reduce((end, { from, to }) => (from === end ? to : -1n), 0n)).toBe(size);
    }
    expect(order(1, 3000n)).not.toEqual(order(2, 3000n));
  });
});
