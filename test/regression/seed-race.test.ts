/** The seed's archival loses a row that commits between its two statements; ours does not. */
import { expect, test } from 'vitest';
import { z } from 'zod';
import { SEED_COPY, SEED_DELETE, SEED_SCHEMA } from '../../bench/seed-function.ts';
import { countByOrigin, ensureMonths, insertEvents, linkAll, scalar } from '../retention/rows.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();
const CUTOFF = '2023-02-01T00:00:00Z';
const INSERT = `insert into seed.audit_log (event_type, event_category, event_action, event_timestamp)
  values ('test', 'system', 'CREATE', '2023-01-15T00:00:00Z')`;

test("the seed's function loses the row", async () => {
  await db.admin.withClient((client) => client.query(SEED_SCHEMA));
  await db.admin.withClient((client) => client.query(INSERT));
  await db.admin.withClient(async (client) => {
    await client.query('begin');
    await client.query(SEED_COPY, [CUTOFF]);
    await db.admin.withClient((writer) => writer.query(INSERT));
    await client.query(SEED_DELETE, [CUTOFF]);
    await client.query('commit');
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
