/**
 * Bad input: each is named in the plan or refused with a code, nothing is lost, the other tables go on. What covers which:
 *
 * | bad input                               | where                                                                       |
 * | --------------------------------------- | --------------------------------------------------------------------------- |
 * | partitions that overlap a unit          | adoption.test.ts; those that overlap each other PostgreSQL refuses          |
 * | gaps between partitions                 | partition.test.ts, adoption.test.ts                                         |
 * | misaligned bounds, a zone's midnight    | partition.test.ts, bounds-zones.test.ts                                     |
 * | foreign partitions, DEFAULT partitions  | partition.test.ts, adoption.test.ts                                         |
 * | a table someone altered                 | adoption.test.ts, archive.test.ts (its unit fails, the others leave), here  |
 * | a foreign key into a partition          | partition.test.ts (growth), here (archival)                                 |
 * | a policy without sense                  | policy.test.ts (code), policy-apply.test.ts (database)                      |
 * | a plan approved and then changed        | purge.test.ts, limits.test.ts                                               |
 * | an approver who is the requester        | purge.test.ts, by the command and by raw SQL                                |
 * | two workers on one unit                 | crash.test.ts, reconcile.test.ts                                            |
 * | lock timeouts for a whole window        | archive.test.ts, regression/seed-race.test.ts, here (the other tables)      |
 * | a full disk                             | here                                                                        |
 * | an unknown retention_category           | here; in a policy: policy.test.ts                                           |
 */
import { execFile } from 'node:child_process';
import { chown, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { openDatabase } from '../../src/db/database.ts';
import { serverIdentity } from '../../src/db/embedded-files.ts';
import { runArchival } from '../../src/retention/archival.ts';
import { planArchive } from '../../src/retention/archive.ts';
import { DEFAULT_WINDOW, type RetryWindow } from '../../src/retention/lock-retry.ts';
import { ensurePartitions } from '../../src/retention/partition.ts';
import { migrate } from '../../src/schema/migrate.ts';
import { type TestDatabase, useDatabase } from '../support/database.ts';
import { startTestServer } from '../support/server.ts';
import {
  countByOrigin,
  ensureMonths,
  failureOf,
  insertEvents,
  instant,
  linkAll,
  retentionContext,
  scalar,
  stateOf,
} from './rows.ts';

type Pools = Pick<TestDatabase, 'admin' | 'engine'>;
/** For a lock that nobody gives back; elsewhere a slow machine has the usual window. */
const IMPATIENT = { attempts: 2, maxPauseMs: 20 } as const;
const SECURITY = `insert into audit.security_events_log (event_type, severity, category, event_description, event_timestamp)
  values ('test', 'low', 'anomaly', 'x', '2015-01-10Z')`;

/** Five events each in months of audit_log, and one security event of 2015: all due. */
async function arrange(db: Pools, months: readonly string[]): Promise<void> {
  await ensureMonths(db.engine, months);
  const ctx = retentionContext(db.engine);
  await ensurePartitions(ctx, 'security_events_log', [instant('2015-01-10T00:00:00Z')]);
  await db.engine.withClient(async (client) => {
    for (const month of months) await insertEvents(client, `${month}-10T00:00:00Z`, 5);
    await client.query(SECURITY);
  });
  await linkAll(db.engine);
}

const run = async (db: Pools, window: RetryWindow = DEFAULT_WINDOW) => {
  const done = await runArchival(retentionContext(db.engine), { reason: 'test', window });
  return [
    ...done.units.map(({ partition, outcome }) => ({ partition, ...outcome })),
    ...done.late.map((range) => range.outcome),
  ];
};

describe('somebody else’s work on a table', () => {
  const db = useDatabase();

  beforeAll(() => arrange(db, ['2020-01', '2020-02', '2020-03']));

  test('is named unit by unit, and what nobody touched leaves', async () => {
    await db.admin.withClient(async (client) => {
      await client.query(
        'create table public.referrer (at timestamptz, id uuid, foreign key (at, id) references audit.audit_log_y2020m01)',
      );
      await client.query('alter table audit.audit_log_y2020m02 drop constraint ak_bounds');
    });
    const plan = await planArchive(retentionContext(db.engine));
    expect(plan.units.map(({ partition, blockers }) => [partition, blockers])).toEqual([
      ['audit_log_y2020m01', ['referenced']],
      ['audit_log_y2020m02', []],
      ['audit_log_y2020m03', []],
      ['security_events_log_y2015m01', []],
    ]);
    expect(await run(db)).toMatchObject([
      { kind: 'postponed', reason: 'referenced', byRule: true },
      { kind: 'failed', error: { code: 'RETENTION_UNPROTECTED' } },
      { kind: 'archived', rows: 5 },
      { kind: 'archived', rows: 1 },
    ]);
    expect(await countByOrigin(db.engine)).toEqual({ hot: 10, archive: 5 });
  });

  test('once mended, the rest follows', async () => {
    await db.admin.withClient(async (client) => {
      await client.query('drop table public.referrer');
      await client.query(`alter table audit.audit_log_y2020m02 add constraint ak_bounds
        check (event_timestamp >= '2020-02-01Z' and event_timestamp < '2020-03-01Z')`);
    });
    expect((await run(db)).map(({ kind }) => kind)).toEqual(['archived', 'archived']);
    expect(await countByOrigin(db.engine)).toEqual({ archive: 15 });
  });

  test('an unknown retention_category is refused, by the database and where partitions are asked for', async () => {
    const insert = `insert into audit.data_access_log (table_name, access_type, accessed_at, retention_category)
      values ('t', 'SELECT', now(), 'secret')`;
    expect(await failureOf(db.engine, insert)).toMatchObject({ code: '23514' });
    const at = [instant('2018-06-15T00:00:00Z')];
    const ensured = await ensurePartitions(retentionContext(db.engine), 'data_access_log', at, ['secret']);
    expect(ensured).toEqual({ created: 0, archivedRanges: [], hot: [] });
    const raw = `select retention.create_partition('data_access_log', '2018-06-01Z', '2018-07-01Z', 'secret')`;
    expect(await failureOf(db.engine, raw)).toMatchObject({ code: 'AK101' });
  });
});

describe('a lock that is held for the whole window', () => {
  const db = useDatabase();

  test('postpones its own table and no other', async () => {
    await arrange(db, ['2020-01']);
    await db.admin.withClient(async (holder) => {
      await holder.query('begin; lock table audit.audit_log in access share mode');
      // A short window may be too short for the other table too on a slow machine; then the next run takes it.
      for (let left = ''; left !== 'archived'; ) {
        const [events, security] = await run(db, IMPATIENT);
        expect(events).toMatchObject({ partition: 'audit_log_y2020m01', kind: 'postponed', byRule: false });
        left = security?.kind ?? 'archived';
        expect(['archived', 'postponed']).toContain(left);
      }
      expect(await stateOf(db.engine, 'security_events_log_y2015m01')).toBe('archived');
      await holder.query('commit');
    });
    expect((await run(db)).map(({ kind }) => kind)).toEqual(['archived']);
    expect(await countByOrigin(db.engine)).toEqual({ archive: 5 });
  });
});

const shell = promisify(execFile);

// A server of its own: what cannot be written there stops checkpoints of the whole server.
test('a full disk fails what needs its space with a code; every row stays where it was, the other tables go on', async (scene) => {
  const folder = await mkdtemp(join(tmpdir(), 'auditkeep-test-full-'));
  const mounted = await shell('mount', ['-t', 'tmpfs', '-o', 'size=4m,mode=0700', 'tmpfs', folder]).then(
    () => true,
    () => false,
  );
  if (!mounted) {
    await rm(folder, { recursive: true });
    scene.skip('mounting a small file system was refused: it needs root and CAP_SYS_ADMIN');
  }
  const identity = serverIdentity();
  if (identity !== null) await chown(folder, identity.uid, identity.gid);
  const server = await startTestServer();
  const admin = openDatabase({ url: server.url('postgres'), applicationName: 'test' });
  const engine = openDatabase({ url: server.url('postgres'), role: 'auditkeep_engine', applicationName: 'test' });
  try {
    await migrate(admin);
    await fillUp({ admin, engine }, folder);
  } finally {
    await Promise.all([admin.end(), engine.end()]);
    await server.stop();
    await shell('umount', [folder]);
    await rm(folder, { recursive: true });
  }
});

async function fillUp(db: Pools, folder: string): Promise<void> {
  await arrange(db, ['2020-01', '2020-02']);
  const first = { table: 'audit_log', before: instant('2020-02-01T00:00:00Z'), reason: 'test' } as const;
  expect((await runArchival(retentionContext(db.engine), first)).units).toHaveLength(1);
  await db.engine.withClient((client) => insertEvents(client, '2020-01-20T00:00:00Z', 4));
  await linkAll(db.engine);
  await db.admin.withClient((client) => client.query(`create tablespace small location '${folder}'`));
  const lateIndex = `select min(indexrelid::regclass::text) as value from pg_index where indrelid = 'audit.audit_log_late'::regclass`;
  const index = await scalar(db.admin, z.string(), lateIndex);
  await db.admin.withClient(async (client) => {
    await client.query(`grant create on tablespace small to auditkeep_owner`);
    // New partitions, and tables beside the late table, get their indexes where those of their model lie.
    await client.query(`alter index audit.audit_log_pkey set tablespace small`);
    await client.query(`alter index ${index} set tablespace small`);
    await client.query(`create table public.filler (content text) with (autovacuum_enabled = false) tablespace small`);
    await client.query('alter table public.filler alter content set storage plain');
  });
  // What a failed insert has made room for stays taken.
  const fill = db.admin.withClient((client) =>
    client.query(`insert into public.filler select repeat('x', 7000) from generate_series(1, 10000)`),
  );
  await expect(fill).rejects.toMatchObject({ code: 'DB_FULL' });

  expect(await run(db)).toMatchObject([
    { partition: 'audit_log_y2020m02', kind: 'failed', error: { code: 'DB_FULL' } },
    { partition: 'security_events_log_y2015m01', kind: 'archived', rows: 1 },
    { kind: 'failed', error: { code: 'DB_FULL' } },
  ]);
  expect(await stateOf(db.engine, 'audit_log_y2020m02')).toBe('failed');
  expect(await countByOrigin(db.engine)).toEqual({ hot: 5, archive: 5, late: 4 });
  const ctx = retentionContext(db.engine);
  await expect(ensureMonths(db.engine, ['2019-05'])).rejects.toMatchObject({ code: 'DB_FULL' });
  const others = await ensurePartitions(ctx, 'security_events_log', [instant('2019-05-05T00:00:00Z')]);
  expect(others.created).toBe(1);

  await db.admin.withClient((client) => client.query('drop table public.filler'));
  // Also the month of the security event that has its own partition now.
  expect((await run(db)).map(({ kind }) => kind)).toEqual(['archived', 'archived', 'collected']);
  expect(await countByOrigin(db.engine)).toEqual({ archive: 10, late: 4 });
  expect((await ensureMonths(db.engine, ['2019-05'])).created).toBe(1);
}
