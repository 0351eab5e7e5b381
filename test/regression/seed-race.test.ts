/** The seed's archival loses a row that commits between its two statements; ours does not. */
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { SEED_CALL, SEED_SCHEMA } from '../../bench/retention/seed-function.ts';
import { runArchive } from '../../src/retention/archive.ts';
import {
  countByOrigin,
  ensureMonths,
  insertEvents,
  instant,
  linkAll,
  retentionContext,
  scalar,
} from '../retention/rows.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();
const INSERT = `insert into seed.audit_log (event_type, event_category, event_action, event_timestamp)
  values ('test', 'system', 'CREATE', '2023-01-15T00:00:00Z')`;
/** Holds whoever has copied until the test lets go; the function itself is the seed's, untouched. */
const HALT = `create function seed.halt() returns trigger language plpgsql as $$
    begin perform pg_advisory_xact_lock(4711); return null; end $$;
  create trigger halt after insert on seed.audit_log_archive for each statement execute function seed.halt()`;
const HALTED = `select exists (select from pg_locks l join pg_database d on d.oid = l.database
  where d.datname = current_database() and l.locktype = 'advisory' and l.objid = 4711 and not l.granted) as value`;

test("the seed's function loses the row", async () => {
  await db.admin.withClient((client) => client.query(`${SEED_SCHEMA}; ${HALT}; ${INSERT}`));
  await db.admin.withClient(async (writer) => {
    await writer.query('select pg_advisory_lock(4711)');
    const archival = db.admin.withClient((client) => client.query(SEED_CALL));
    while (!(await scalar(db.admin, z.boolean(), HALTED))) await delay(5);
    await writer.query(INSERT);
    await writer.query('select pg_advisory_unlock(4711)');
    await archival;
  });
  const left = `select (select count(*) from seed.audit_log) + (select count(*) from seed.audit_log_archive) as value`;
  expect(await scalar(db.admin, z.bigint(), left)).toBe(1n);
});

test('ours keeps it, wherever between the steps it commits', async () => {
  await ensureMonths(db.engine, ['2023-01']);
  const write = () => db.engine.withClient((client) => insertEvents(client, '2023-01-15T00:00:00Z', 1));
  const step = (name: string) =>
    db.engine.withClient((client) => client.query(`select retention.${name}('audit_log', '2023-01-01Z')`));
  await write();
  await linkAll(db.engine);
  await write();
  await linkAll(db.engine);
  for (const name of ['seal_partition', 'seal_partition', 'move_unit']) {
    await step(name);
    await write();
  }
  expect(await countByOrigin(db.engine)).toEqual({ archive: 2, late: 3 });
});

test('and a writer whose transaction is open when the run begins is waited for', async () => {
  await ensureMonths(db.engine, ['2023-02']);
  const run = (attempts: number) =>
    runArchive(retentionContext(db.engine), {
      ...{ table: 'audit_log', before: instant('2023-03-01T00:00:00Z'), reason: 'test' },
      window: { attempts, maxPauseMs: 100 },
    });
  await db.engine.withClient(async (writer) => {
    await writer.query('begin');
    await insertEvents(writer, '2023-02-15T00:00:00Z', 7);
    expect((await run(2)).units.map(({ outcome }) => outcome.kind)).toEqual(['postponed']);
    await writer.query('commit');
  });
  await linkAll(db.engine);
  expect((await run(100)).units.map(({ outcome }) => outcome)).toEqual([{ kind: 'archived', rows: 7 }]);
});
