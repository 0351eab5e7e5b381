/**
 * The crash matrix: at every edge that something takes, the worker process is killed (SIGKILL) and PostgreSQL is stopped at
 * once, where the transaction has done everything but record itself: it stands before the lock that the test holds on the
 * events' newest partition. Afterwards hot + late + archived + quarantined + certified = inserted, each row once; then
 * the step is run again and ends where it should. Several databases of one server stand at their markers when it stops.
 * An edge of retention.unit_edge that no step takes fails the matrix. Prints a table.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { type Database, openDatabase, type SqlClient } from '../../src/db/database.ts';
import { queryRows } from '../../src/db/query.ts';
import { readJournal } from '../../src/retention/destruction-journal.ts';
import { type Started, startCli } from '../cli/process.ts';
import { eventLeaf } from '../support/kill.ts';
import { startTestServer, type TestServer } from '../support/server.ts';
import { type Arena, makeArena, makeTemplates } from './arena.ts';
import { NOT_TAKEN, parseStep, STEPS, type StepName } from './steps.ts';

const ENTRY = new URL('./step.ts', import.meta.url).pathname;
/** Databases that stand at their markers together: as many processes as a small machine starts without delay. */
const AT_ONCE = 5;

/** For a machine on which much else runs. */
const ROOM_MS = 240_000;

let server: TestServer;
let stages: Awaited<ReturnType<typeof makeTemplates>>;
const table: string[] = [];

beforeAll(async () => {
  server = await startTestServer();
  stages = await makeTemplates(server);
}, ROOM_MS);

afterAll(async () => {
  await server.stop();
  await stages.remove();
  process.stdout.write(
    `\nstep        edge                                what              unit is          rows\n${table.join('\n')}\n`,
  );
});

type Place = Arena & { readonly step: StepName; end(): Promise<unknown> };
const shapes = {
  state: z.object({ state: z.string() }),
  place: z.object({ place: z.string(), rows: z.bigint(), ids: z.bigint() }),
};

/** Where the test's rows are, as `place=rows`, and that none is there twice. */
async function placesOf({ admin, step, rows: inserted }: Place): Promise<Record<string, number>> {
  const query =
    STEPS[step].stage === 'parting'
      ? `select 'events' as place, count(*) as rows, count(distinct id) as ids from audit.security_events_log_all where event_type = 'test'`
      : `with places as (
           select origin as place, id from audit.audit_log_all where event_type = 'test'
           union all select 'quarantine', id from quarantine.audit_log where event_type = 'test'
           union all select 'certified', l.event_id from audit.chain_link l join retention.purged_unit p on l.seq <@ p.seqs)
         select place, count(*) as rows, (select count(distinct id) from places) as ids from places group by place order by place`;
  const rows = await admin.withClient((client) => queryRows(client, shapes.place, query));
  const total = rows.reduce((sum, row) => sum + row.rows, 0n);
  expect([step, total, rows[0]?.ids]).toEqual([step, BigInt(inserted), BigInt(inserted)]);
  return Object.fromEntries(rows.map((row) => [row.place, Number(row.rows)]));
}

async function stateOf({ admin, step }: Place): Promise<string | null> {
  const text = 'select state from retention.unit where relation_name = $1';
  const rows = await admin.withClient((client) => queryRows(client, shapes.state, text, [STEPS[step].unit]));
  return rows[0]?.state ?? null;
}

/** Everything about a database that a step may change, as the step's name with it. */
async function factsOf(place: Place) {
  const left = `select 'limits' as place, count(*) as rows, 0::bigint as ids from security_internal.rate_limit_state`;
  const copies = `select 'copies' as place, count(*) as rows, 0::bigint as ids from quarantine.restored_audit_log`;
  const [limits, copied] = await place.admin.withClient((client) =>
    queryRows(client, shapes.place, `${left} union all ${copies} order by 1 desc`),
  );
  const places = await placesOf(place);
  return { step: place.step, state: await stateOf(place), places, limits: limits?.rows, copied: copied?.rows };
}

/** Starts each place's step as a process; when all stand at their markers, ends them, and waits for what is left of them. */
async function stopAll(places: readonly Place[], how: string, stop: (started: readonly Started[]) => Promise<void>) {
  const before = await Promise.all(places.map(factsOf));
  const started: Started[] = [];
  const stopped = Promise.withResolvers<void>();
  let missing = places.length;
  const oneLess = async () => {
    missing -= 1;
    if (missing === 0) await stop(started).then(stopped.resolve, stopped.reject);
  };
  const results = await Promise.allSettled(
    places.map((place) =>
      place.admin.withClient(async (holder) => {
        await holder.query(`begin; lock table ${await eventLeaf(place.admin)} in share mode`);
        // One that never gets to its marker keeps no other waiting.
        await untilMarker(place, holder, started).finally(oneLess);
        await stopped.promise;
        // A holder whose server is gone has nothing to give back.
        await holder.query('rollback').catch(() => null);
      }),
    ),
  );
  for (const result of results) if (result.status === 'rejected') throw result.reason;
  for (const [at, place] of places.entries()) {
    await sessionsEnded(place.admin);
    const after = await factsOf(place);
    expect(after).toEqual(before[at]);
    expect(after.state).toBe(STEPS[place.step].from);
    tell(place.step, how, after);
  }
}

/** Starts the step, which is at its marker when a session of its database waits for the holder's lock. */
async function untilMarker(place: Place, holder: SqlClient, started: Started[]): Promise<void> {
  const process = startCli(
    [place.step, String(place.unitId)],
    { DATABASE_URL: place.url, AUDITKEEP_HOME: place.home },
    { entry: ENTRY },
  );
  let early: string | null = null;
  void process.ended.then(({ code, stderr }) => {
    early = `${place.step} ended with ${code} before its marker: ${stderr}`;
  });
  const [mine] = await queryRows(holder, z.object({ pid: z.number() }), 'select pg_backend_pid() as pid');
  const text = `select 'insert' as state from pg_stat_activity
                 where $1::int = any (pg_blocking_pids(pid)) and query like 'insert into audit.audit_log%'`;
  const progress = async () => {
    const rows = await place.admin.withClient((client) => queryRows(client, shapes.state, text, [mine?.pid ?? 0]));
    return rows.length > 0 ? 'waits' : (early ?? 'on its way');
  };
  await expect.poll(progress, { timeout: 60_000, interval: 20 }).not.toBe('on its way');
  expect(early).toBeNull();
  started.push(process);
}

async function killAll(started: readonly Started[]): Promise<void> {
  for (const { child } of started) child.kill('SIGKILL');
  for (const { ended } of started) expect((await ended).signal).toBe('SIGKILL');
}

async function crashServer(started: readonly Started[]): Promise<void> {
  await server.crash();
  // An archival run tells the failure in its outcome, the others fail: what counts is what the database holds.
  for (const { ended } of started) await ended;
  await server.restart();
}

/** A session notices that its client is gone when its statement ends. */
async function sessionsEnded(admin: Database): Promise<void> {
  const left = `select count(*) as rows, 0::bigint as ids, '' as place from pg_stat_activity
                 where datname = current_database() and application_name in ('auditkeep', 'auditkeep-replay')`;
  const count = async () => (await admin.withClient((client) => queryRows(client, shapes.place, left)))[0]?.rows;
  await expect.poll(count, { timeout: 20_000, interval: 20 }).toBe(0n);
}

/** What a step changes besides its unit. */
async function checkDone(place: Place, after: Awaited<ReturnType<typeof factsOf>>): Promise<void> {
  if (place.step === 'housekeeping') expect(after.limits).toBe(0n);
  if (place.step === 'restore') expect(after.copied).toBe(30n);
  if (place.step === 'expire') expect(after.copied).toBe(0n);
  // Killed between journal and database, or destroyed twice: one line, one certificate.
  if (place.step === 'certify' || place.step === 'replay') expect(await readJournal(place.home)).toHaveLength(1);
}

const names = Object.keys(STEPS).map(parseStep);
const chunks = Array.from({ length: Math.ceil(names.length / AT_ONCE) }, (_, at) =>
  names.slice(at * AT_ONCE, (at + 1) * AT_ONCE),
);

test.each(chunks.map((chunk) => [chunk.join(', '), chunk] as const))(
  'killed, stopped, then run: %s',
  async (_, steps) => {
    const places: Place[] = [];
    for (const step of steps) places.push({ ...(await makeArena(server, stages.folder, step)), step });
    await stopAll(places, 'worker SIGKILL', killAll);
    await stopAll(places, 'server immediate', crashServer);
    for (const place of places) {
      await STEPS[place.step].run(place.ctx, place.unitId);
      const after = await factsOf(place);
      expect([place.step, after.state]).toEqual([place.step, STEPS[place.step].to]);
      await checkDone(place, after);
      tell(place.step, 'run again', after);
      await place.end();
    }
  },
  ROOM_MS,
);

function tell(step: StepName, how: string, { state, places }: Awaited<ReturnType<typeof factsOf>>): void {
  const rows = Object.entries(places).map(([name, count]) => `${name} ${count}`);
  const edges = STEPS[step].edges.join(', ');
  table.push([step.padEnd(11), edges.padEnd(35), how.padEnd(17), (state ?? '-').padEnd(16), rows.join(', ')].join(' '));
}

test('every edge that something takes is one of the steps', async () => {
  const admin = openDatabase({ url: server.url('stage_empty'), applicationName: 'crash-test' });
  const edges = await admin.withClient((client) =>
    queryRows(
      client,
      z.object({ edge: z.string(), failure: z.boolean() }),
      `select from_state || ' -> ' || to_state as edge, 'failed' in (from_state, to_state) as failure
         from retention.unit_edge order by 1`,
    ),
  );
  await admin.end();
  const taken = new Set(names.flatMap((name): readonly string[] => STEPS[name].edges));
  const known = edges.filter(({ failure }) => !failure).map(({ edge }) => edge);
  // Each edge is taken or waits for something, none does both, and nothing else is told.
  expect(
    [...taken]
      .filter((edge) => !edge.includes('failed'))
      .concat(Object.keys(NOT_TAKEN))
      .sort(),
  ).toEqual(known);
  // All failures go one way, and all retries: one step each.
  expect([...taken].filter((edge) => edge.includes('failed'))).toEqual(['sealed -> failed', 'failed -> sealed']);
  expect(edges.map(({ edge }) => edge)).toEqual(expect.arrayContaining(['sealed -> failed', 'failed -> sealed']));
});
