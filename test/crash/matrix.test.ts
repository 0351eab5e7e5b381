/**
 * The crash matrix: at every edge that runs, the worker process is killed (SIGKILL) and PostgreSQL is stopped at once,
 * where the transaction has done everything but record itself: it stands before the lock that the test holds on the
 * events' newest partition. Afterwards hot + late + archived + quarantined + certified = inserted, each row once; then
 * the step is run again and ends where it should. Prints a table.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { type Database, openDatabase } from '../../src/db/database.ts';
import { queryRows } from '../../src/db/query.ts';
import { migrate } from '../../src/schema/migrate.ts';
import { type Started, startCli } from '../cli/process.ts';
import { approve, ensureMonths, insertEvents, linkAll, retentionContext } from '../retention/rows.ts';
import { eventLeaf, whileWaiting } from '../support/kill.ts';
import { startTestServer, type TestServer } from '../support/server.ts';
import { parseStep, STEPS, type StepName } from './steps.ts';

const ENTRY = new URL('./step.ts', import.meta.url).pathname;
const UNIT = 'audit_log_y2023m01';
const EVENTS = 30;
/** Two late rows of the unit's month. */
const LATE = 2;

let server: TestServer;
let template: Database;
const table: string[] = [];

beforeAll(async () => {
  server = await startTestServer();
  template = openDatabase({ url: server.url('template_crash'), applicationName: 'crash-template' });
  const postgres = openDatabase({ url: server.url('postgres'), applicationName: 'crash' });
  await postgres.withClient((client) =>
    client.query(`create database template_crash encoding 'UTF8' template template0`),
  );
  await postgres.end();
  await migrate(template);
  await template.end();
}, 120_000);

afterAll(async () => {
  await server.stop();
  process.stdout.write(
    `\nedge                            what              unit is          rows\n${table.join('\n')}\n`,
  );
});

interface Arena {
  readonly url: string;
  readonly admin: Database;
  readonly engine: Database;
  readonly unitId: bigint;
  readonly relation: string;
}

const shapes = {
  state: z.object({ state: z.string() }),
  place: z.object({ place: z.string(), rows: z.bigint(), ids: z.bigint() }),
};

/** A database of its own in which the unit stands before the step. */
async function arena(step: StepName): Promise<Arena> {
  const name = `crash_${step}`;
  const postgres = openDatabase({ url: server.url('postgres'), applicationName: 'crash' });
  await postgres.withClient((client) => client.query(`create database ${name} template template_crash`));
  await postgres.end();
  const url = server.url(name);
  const admin = openDatabase({ url, applicationName: 'crash-test' });
  const engine = openDatabase({ url, role: 'auditkeep_engine', applicationName: 'crash-test' });
  const relation = await arrange(step, admin, engine);
  const [row] = await admin.withClient((client) =>
    queryRows(
      client,
      z.object({ unit_id: z.bigint() }),
      'select unit_id from retention.unit where relation_name = $1',
      [relation],
    ),
  );
  return { url, admin, engine, unitId: row?.unit_id ?? 0n, relation };
}

async function arrange(step: StepName, admin: Database, engine: Database): Promise<string> {
  if (step === 'split') return await arrangeSplit(engine);
  await ensureMonths(engine, ['2023-01']);
  await engine.withClient((client) => insertEvents(client, '2023-01-10T00:00:00Z', EVENTS));
  await linkAll(engine);
  const run = (sql: string) => admin.withClient((client) => client.query(sql));
  const seal = `select retention.seal_partition('audit_log', '2023-01-01Z')`;
  if (step === 'seal') {
    // Diverting already: the first of sealing's two transactions has nothing to record.
    await run(seal);
  } else {
    await run(seal);
    await run(seal);
  }
  await engine.withClient((client) => insertEvents(client, '2023-01-20T00:00:00Z', LATE));
  await linkAll(engine);
  if (step === 'retry')
    await run(`update retention.unit set state = 'failed', failed_from = 'sealed' where relation_name = '${UNIT}'`);
  if (step === 'housekeeping')
    await run(`insert into security_internal.rate_limit_state (identifier, identifier_type, window_start)
    select 'a' || n, 'ip', now() - interval '60 days' from generate_series(1, 5) n`);
  if (step === 'seal' || step === 'move' || step === 'retry' || step === 'housekeeping') return UNIT;
  await STEPS.move.run(retentionContext(engine));
  if (step === 'collect') return 'audit_log_y2023m01_g2';
  const ids = await admin.withClient((client) =>
    queryRows(
      client,
      z.object({ unit_id: z.bigint() }),
      `select unit_id from retention.unit where relation_name = '${UNIT}'`,
    ),
  );
  const unitId = ids[0]?.unit_id ?? 0n;
  await approve({ admin }, unitId);
  if (step === 'quarantine') return UNIT;
  await STEPS.quarantine.run(retentionContext(engine), unitId);
  if (step === 'drop')
    await run(`update retention.unit set quarantined_at = now() - interval '8 days' where unit_id = ${unitId}`);
  return UNIT;
}

async function arrangeSplit(engine: Database): Promise<string> {
  await engine.withClient(async (client) => {
    await client.query(`select retention.create_partition('security_events_log', '2015-01-01Z', '2015-02-01Z')`);
    await client.query(`insert into audit.security_events_log (event_type, severity, category, event_description, event_timestamp, retention_days)
      select 'test', 'low', 'anomaly', 'x', '2015-01-10Z', 2555 + n * 40 from generate_series(0, 9) n`);
    for (const step of ['seal_partition', 'seal_partition', 'move_unit']) {
      await client.query(`select retention.${step}('security_events_log', '2015-01-01Z')`);
    }
  });
  return 'security_events_log_y2015m01';
}

/** Where the test's rows are, as `place=rows`, and that none is there twice. */
async function placesOf(arena: Arena, step: StepName): Promise<Record<string, number>> {
  const query =
    step === 'split'
      ? `select 'events' as place, count(*) as rows, count(distinct id) as ids from audit.security_events_log_all where event_type = 'test'`
      : `with places as (
           select origin as place, id from audit.audit_log_all where event_type = 'test'
           union all select 'quarantine', id from quarantine.audit_log where event_type = 'test'
           union all select 'certified', l.event_id from audit.chain_link l join retention.purged_unit p on l.seq <@ p.seqs)
         select place, count(*) as rows, (select count(distinct id) from places) as ids from places group by place order by place`;
  const rows = await arena.admin.withClient((client) => queryRows(client, shapes.place, query));
  const total = rows.reduce((sum, row) => sum + row.rows, 0n);
  expect([total, rows[0]?.ids]).toEqual(step === 'split' ? [10n, 10n] : [BigInt(EVENTS + LATE), BigInt(EVENTS + LATE)]);
  return Object.fromEntries(rows.map((row) => [row.place, Number(row.rows)]));
}

async function stateOf(arena: Arena): Promise<string | null> {
  const text = 'select state from retention.unit where relation_name = $1';
  const rows = await arena.admin.withClient((client) => queryRows(client, shapes.state, text, [arena.relation]));
  return rows[0]?.state ?? null;
}

const KILLS = {
  'worker SIGKILL': async ({ child, ended }: Started) => {
    child.kill('SIGKILL');
    expect((await ended).signal).toBe('SIGKILL');
  },
  'server immediate': async ({ ended }: Started) => {
    await server.crash();
    // An archival run tells the failure in its outcome, the others fail: what counts is what the database holds.
    await ended;
    await server.restart();
  },
} as const;

/** A session notices that its client is gone when its statement ends. */
async function sessionsEnded(admin: Database): Promise<void> {
  const left = `select count(*) as rows, 0::bigint as ids, '' as place from pg_stat_activity
                 where datname = current_database() and application_name = 'auditkeep'`;
  const count = async () => (await admin.withClient((client) => queryRows(client, shapes.place, left)))[0]?.rows;
  await expect.poll(count, { timeout: 20_000, interval: 20 }).toBe(0n);
}

async function limitsOf(admin: Database): Promise<bigint | undefined> {
  const text = `select count(*) as rows, 0::bigint as ids, '' as place from security_internal.rate_limit_state`;
  return (await admin.withClient((client) => queryRows(client, shapes.place, text)))[0]?.rows;
}

test.each(Object.keys(STEPS).map(parseStep))('%s: killed, stopped, then run', async (step) => {
  const { edge, from, to } = STEPS[step];
  const place = await arena(step);
  const before = await placesOf(place, step);
  const limits = await limitsOf(place.admin);
  for (const [how, kill] of Object.entries(KILLS)) {
    await whileWaiting(
      place.admin,
      await eventLeaf(place.admin),
      () => startCli([step, String(place.unitId)], { DATABASE_URL: place.url }, { entry: ENTRY }),
      kill,
    );
    await sessionsEnded(place.admin);
    const left = await stateOf(place);
    if (step !== 'housekeeping') expect(left).toBe(from);
    expect(await placesOf(place, step)).toEqual(before);
    expect(await limitsOf(place.admin)).toBe(limits);
    tell(edge, how, left, before);
  }
  await STEPS[step].run(retentionContext(place.engine), place.unitId);
  const then = await stateOf(place);
  if (step === 'housekeeping') expect([limits, await limitsOf(place.admin)]).toEqual([5n, 0n]);
  else expect(then).toBe(to);
  tell(edge, 'run again', then, await placesOf(place, step));
  await Promise.all([place.admin.end(), place.engine.end()]);
});

function tell(edge: string, how: string, state: string | null, places: Record<string, number>): void {
  const rows = Object.entries(places).map(([name, count]) => `${name} ${count}`);
  table.push([edge.padEnd(31), how.padEnd(17), (state ?? '-').padEnd(16), rows.join(', ')].join(' '));
}
