/**
 * A database whose transaction ids began anew, as a restored dump leaves it: sealing refuses, verification reports, the
 * sweep links what is unlinked and nothing that was put in, and then everything goes on as ever.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, describe, expect, it } from 'vitest';
import { VERIFY_LEVELS } from '../../src/audit/links/finding.ts';
import { signCheckpoint } from '../../src/audit/publish/sign.ts';
import { readChainStatus } from '../../src/audit/publish/status.ts';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { planSweep, sweepChain } from '../../src/audit/seal/sweep.ts';
import { verifyChain } from '../../src/audit/verify/verify.ts';
import { type Database, openDatabase } from '../../src/db/database.ts';
import { migrate } from '../../src/schema/migrate.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { type TestDatabase, useDatabase } from '../support/database.ts';
import { startTestServer, type TestServer } from '../support/server.ts';
import { tamper } from '../tamper/tampering.ts';
import { addEvents, column, insertEvents } from './event-fixtures.ts';

const WENT_BACK = { code: 'CHAIN_TXID_WENT_BACK' };
const SMUGGLED = '11111111-2222-4333-8444-777777777777';
const smuggle = `insert into audit.audit_log (id, event_type, event_category, event_action, txid)
  values ('${SMUGGLED}', 'x', 'system', 'X', 3)`;

/** Ids of events that are linked not exactly once. */
const wronglyLinked = `select e.id::text from audit.audit_log_all e left join audit.chain_link l on l.event_id = e.id
  group by e.id having count(l.seq) <> 1`;

/** What a database that went back has to go through; ids are those of events that waited for the sealer. */
async function goOn(ctx: TestContext, admin: Database, waiting: readonly string[]): Promise<void> {
  await expect(sealChain(ctx)).rejects.toMatchObject(WENT_BACK);
  for (const level of VERIFY_LEVELS) {
    expect(
      (await verifyChain(ctx, { level, unsealedAfterSeconds: 3600 })).findings.map((found) => found.class),
    ).toEqual(level === 'full' || level === 'rolling' ? ['inserted'] : []);
  }
  const late = (await verifyChain(ctx, { unsealedAfterSeconds: -1 })).findings.map((f) => `${f.class} ${f.eventId}`);
  expect(late).toEqual(expect.arrayContaining([...waiting.map((id) => `unsealed ${id}`), `inserted ${SMUGGLED}`]));
  expect(late.filter((line) => line.startsWith('inserted'))).toHaveLength(1);

  const plan = await planSweep(ctx);
  expect(plan).toMatchObject({ wentBack: true, refused: 1 });
  expect(plan.waiting).toBeGreaterThanOrEqual(waiting.length);
  expect(await sweepChain(ctx)).toMatchObject({ swept: plan.waiting });
  await expect(sweepChain(ctx)).rejects.toMatchObject({ code: 'CHAIN_TXID_IN_ORDER' });

  await addEvents(ctx.db, 5, 7000);
  await sealChain(ctx);
  expect(await column(admin, wronglyLinked)).toEqual([SMUGGLED]);
  expect((await readChainStatus(ctx)).unsealed).toBe(0);
  await signCheckpoint(ctx);
  const { findings, anchored } = await verifyChain(ctx);
  expect({ findings, anchored }).toMatchObject({
    findings: [{ class: 'inserted', eventId: SMUGGLED }],
    anchored: true,
  });
  expect(await column(admin, "select result from audit.audit_log_all where event_type = 'chain.swept'")).toEqual([
    'success',
  ]);
}

describe('ids that began anew', () => {
  const db = useDatabase();

  it('are refused, reported, swept, and forgotten', async () => {
    const ctx = await testContext(db);
    await addEvents(db.engine, 3);
    await sealChain(ctx);
    await signCheckpoint(ctx);
    await expect(sweepChain(ctx)).rejects.toMatchObject({ code: 'CHAIN_TXID_IN_ORDER' });
    // As if all of it had been written long before, far beyond the ids of now.
    const ahead = 8_000_000_000;
    await tamper(
      db.admin,
      `update audit.audit_log set txid = txid + ${ahead}`,
      `update audit.chain_link set txid = txid + ${ahead}`,
      `update audit.chain_head set snapshot = '${ahead * 2}:${ahead * 2}:'`,
    );
    const waited = `insert into audit.audit_log (event_type, event_category, event_action, txid)
      values ('x', 'system', 'WAITED', ${ahead * 2 + 5}) returning id::text`;
    const [waiting] = (await column(db.admin, waited)) as string[];
    await tamper(db.admin, smuggle);
    await db.engine.withClient(async (client) => {
      await client.query('begin; savepoint s');
      await insertEvents(client, 2, 100);
      await client.query('commit');
    });
    const fresh = await column(db.admin, "select id::text from audit.audit_log where event_action like 'ACTION-10%'");
    await goOn(ctx, db.admin, [String(waiting), ...fresh.map(String)]);
    // Ids of linked rows come round again: none of them is linked a second time, and new ones are.
    await tamper(
      db.admin,
      `update audit.audit_log set txid = l.txid from (
      select event_id, row_number() over () + (select max(txid) from audit.audit_log where txid < ${ahead}) as txid
        from audit.chain_link where txid > ${ahead}) l where id = l.event_id`,
    );
    await addEvents(db.engine, 5, 8000);
    await sealChain(ctx);
    expect(await column(db.admin, wronglyLinked)).toEqual([SMUGGLED]);
  });
});

const given = process.env['AUDITKEEP_TEST_PG_BIN'] ?? '';
const bin = given === '' ? '/usr/lib/postgresql/15/bin' : given;

// The embedded server comes without pg_dump, and one of an older version refuses it: both servers are of pg_dump's own.
describe.skipIf(!existsSync(join(bin, 'pg_dump')))(
  `a dump restored into a fresh cluster (needs ${bin}/pg_dump)`,
  () => {
    const servers: TestServer[] = [];
    const open: Database[] = [];
    const urlOf = (server: TestServer, name: string, user = 'postgres') => {
      const url = new URL(server.url(name));
      url.username = user;
      return url.href;
    };
    const connect = (url: string) => {
      const database = openDatabase({ url, applicationName: 'test-dump' });
      open.push(database);
      return database;
    };
    afterAll(async () => {
      await Promise.all(open.map((database) => database.end()));
      await Promise.all(servers.map((server) => server.stop()));
    });

    /** A migrated database on a server of its own. */
    async function arrange(server: TestServer): Promise<TestDatabase> {
      const url = (user?: string) => urlOf(server, 'postgres', user);
      const as = (user: string) => connect(url(user));
      const db = { url, as, admin: connect(url()), engine: as('auditkeep_engine'), report: as('auditkeep_report') };
      await migrate(db.admin);
      return db;
    }

    it('is swept and goes on', async () => {
      const [source, target] = await Promise.all([startTestServer([], bin), startTestServer([], bin)]);
      servers.push(source, target);
      const db = await arrange(source);
      const ctx = await testContext(db);
      await addEvents(db.engine, 3);
      // The fresh cluster shall be behind the old one.
      await db.admin.withClient(async (client) => {
        for (let at = 0; at < 40; at += 1)
          await client.query('do $$ begin for i in 1..100 loop perform pg_current_xact_id(); commit; end loop; end $$');
      });
      await addEvents(db.engine, 3, 50);
      await sealChain(ctx);
      await signCheckpoint(ctx);
      await addEvents(db.engine, 2, 100);
      await tamper(db.admin, smuggle);
      const waiting = (await column(
        db.admin,
        "select id::text from audit.audit_log where event_action like 'ACTION-10%'",
      )) as string[];
      const run = promisify(execFile);
      const file = join(ctx.config.home, 'dump');
      await run(join(bin, 'pg_dumpall'), ['--roles-only', '-d', db.url(), '-f', `${file}.roles`]);
      await run(join(bin, 'pg_dump'), ['-Fc', '-d', db.url(), '-f', file]);
      await run(join(bin, 'psql'), ['-q', '-d', target.url('postgres'), '-f', `${file}.roles`]);
      await run(join(bin, 'createdb'), ['--maintenance-db', target.url('postgres'), '-T', 'template0', 'restored']);
      await run(join(bin, 'pg_restore'), ['--exit-on-error', '-d', target.url('restored'), file]);
      const engine = connect(urlOf(target, 'restored', 'auditkeep_engine'));
      const admin = connect(target.url('restored'));
      await addEvents(engine, 2, 200);
      waiting.push(
        ...((await column(
          admin,
          "select id::text from audit.audit_log where event_action like 'ACTION-20%'",
        )) as string[]),
      );
      await goOn({ ...ctx, db: engine }, admin, waiting);
    });
  },
);
