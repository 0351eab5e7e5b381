/** A database for each step in which its unit stands before it, on one server that all steps share. */
import { cp, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { z } from 'zod';
import { loadConfig } from '../../src/config.ts';
import { type Database, openDatabase } from '../../src/db/database.ts';
import { queryRows } from '../../src/db/query.ts';
import { approvePurge, requestPurge } from '../../src/retention/purge-request.ts';
import { migrate } from '../../src/schema/migrate.ts';
import { systemClock } from '../../src/time/clock.ts';
import { foundRegister } from '../persons/roster.ts';
import { guardsLater } from '../retention/later.ts';
import { approve, ensureMonths, insertEvents, linkAll, scalar } from '../retention/rows.ts';
import type { TestServer } from '../support/server.ts';
import { STEPS, type Stage, type StepName } from './steps.ts';

/** What a step acts with. */
type ArenaContext = Parameters<(typeof STEPS)[StepName]['run']>[0];

export interface Arena {
  readonly url: string;
  readonly home: string;
  readonly admin: Database;
  readonly ctx: ArenaContext;
  readonly unitId: bigint;
  /** Rows of the test that were inserted. */
  readonly rows: number;
}

/** Rows of each stage. */
const ROWS: Readonly<Record<Stage, number>> = { events: 32, parting: 10, approved: 90 };

/** Templates of the stages, and the folder of what lies outside the databases. */
export async function makeTemplates(server: TestServer) {
  const folder = await mkdtemp(join(tmpdir(), 'auditkeep-crash-'));
  await mkdir(join(folder, 'keys'));
  const empty = await place(server, folder, 'template0', 'stage_empty');
  await migrate(empty.admin);
  await close(empty);
  const stages: Readonly<Record<Stage, (at: Place) => Promise<void>>> = {
    events: stageEvents,
    parting: stageParting,
    approved: stageApproved,
  };
  for (const [name, arrange] of Object.entries(stages)) {
    const at = await place(server, folder, 'stage_empty', `stage_${name}`);
    await arrange(at);
    await close(at);
  }
  return { folder, remove: () => rm(folder, { recursive: true, force: true }) };
}

interface Place {
  readonly url: string;
  readonly home: string;
  readonly admin: Database;
  readonly engine: Database;
  readonly ctx: ArenaContext;
}

async function place(server: TestServer, folder: string, template: string, name: string): Promise<Place> {
  const postgres = openDatabase({ url: server.url('postgres'), applicationName: 'crash' });
  await postgres.withClient((client) => client.query(`create database ${name} encoding 'UTF8' template ${template}`));
  // A copied sequence is logged ahead only after a checkpoint; without one a crash would take it back.
  await postgres.withClient((client) => client.query('checkpoint'));
  await postgres.end();
  const [url, home] = [server.url(name), join(folder, name)];
  // A stage's home goes with its database.
  if (template.startsWith('stage_')) await cp(join(folder, template), home, { recursive: true }).catch(() => null);
  const admin = openDatabase({ url, applicationName: 'crash-test' });
  const engine = openDatabase({ url, role: 'auditkeep_engine', applicationName: 'crash-test' });
  const config = await loadConfig({
    flags: { home, maintenanceDatabaseUrl: url },
    environment: {},
    workingFolder: folder,
  });
  const actor = { kind: 'service', name: 'crash' } as const;
  return {
    url,
    home,
    admin,
    engine,
    ctx: { db: engine, clock: systemClock, actor, log: pino({ level: 'silent' }), config },
  };
}

const close = ({ admin, engine }: Place) => Promise.all([admin.end(), engine.end()]);

/** A database of its own in which the unit stands before the step. */
export async function makeArena(
  server: TestServer,
  folder: string,
  step: StepName,
): Promise<Arena & { end(): Promise<unknown> }> {
  const { stage, unit } = STEPS[step];
  const at = await place(server, folder, `stage_${stage}`, `crash_${step.toLowerCase()}`);
  await ARRANGE[step]?.(at);
  if (step === 'replay') await destroyElsewhere(server, folder, at.home);
  const ids = await at.admin.withClient((client) =>
    queryRows(
      client,
      z.object({ unit_id: z.bigint() }),
      'select unit_id from retention.unit where relation_name = $1',
      [unit],
    ),
  );
  return { ...at, unitId: ids[0]?.unit_id ?? 0n, rows: ROWS[stage], end: () => close(at) };
}

const run = ({ admin }: Pick<Place, 'admin'>, sql: string) => admin.withClient((client) => client.query(sql));

/** A month of 2023, diverting, with two rows that came late. */
async function stageEvents(at: Place): Promise<void> {
  await ensureMonths(at.engine, ['2023-01']);
  await at.engine.withClient((client) => insertEvents(client, '2023-01-10T00:00:00Z', 30));
  await linkAll(at.engine);
  // Diverting already: the first of sealing's two transactions has nothing to record.
  await run(at, `select retention.seal_partition('audit_log', '2023-01-01Z')`);
  await at.engine.withClient((client) => insertEvents(client, '2023-01-20T00:00:00Z', 2));
  await linkAll(at.engine);
}

/** Security events of one month that may go in different months. */
async function stageParting(at: Place): Promise<void> {
  await run(
    at,
    `select retention.create_partition('security_events_log', '2015-01-01Z', '2015-02-01Z');
     insert into audit.security_events_log (event_type, severity, category, event_description, event_timestamp, retention_days)
     select 'test', 'low', 'anomaly', 'x', '2015-01-10Z', 2555 + n * 40 from generate_series(0, 9) n`,
  );
  for (let call = 0; call < 2; call += 1)
    await run(at, `select retention.seal_partition('security_events_log', '2015-01-01Z')`);
}

/** Events of 2015 in the archive under a plan that may start. */
async function stageApproved(at: Place): Promise<void> {
  const roster = await foundRegister(at.ctx, join(at.home, '..', 'keys'));
  await ensureMonths(at.engine, ['2015-01', '2023-01']);
  await at.engine.withClient((client) => insertEvents(client, '2015-01-10T00:00:00Z', 30));
  await at.engine.withClient((client) => insertEvents(client, '2023-01-10T00:00:00Z', 60));
  await linkAll(at.engine);
  for (const call of ['seal_partition', 'seal_partition', 'move_unit'])
    await run(at, `select retention.${call}('audit_log', '2015-01-01Z')`);
  const { planId } = await requestPurge(roster.as(at.ctx, 'records'), { table: 'audit_log', reason: 'crash' });
  await approvePurge(roster.as(at.ctx, 'records2'), planId);
  await guardsLater(at, 73);
}

const seal = (at: Place) => run(at, `select retention.seal_partition('audit_log', '2023-01-01Z')`);
async function archived(at: Place): Promise<void> {
  await seal(at);
  await run(at, `select retention.move_unit('audit_log', '2023-01-01Z')`);
}
async function goOn(at: Place, step: StepName): Promise<void> {
  const text = `select unit_id as value from retention.unit where relation_name = '${STEPS[step].unit}'`;
  await STEPS[step].run(at.ctx, await scalar(at.admin, z.bigint(), text));
}
async function purgeApproved(at: Place): Promise<void> {
  await archived(at);
  await approve(
    at,
    await scalar(
      at.admin,
      z.bigint(),
      `select unit_id as value from retention.unit where relation_name = 'audit_log_y2023m01'`,
    ),
  );
}
const quarantinedLongAgo = (at: Place) =>
  run(at, `update retention.unit set quarantined_at = now() - interval '8 days' where state = 'quarantined'`);

/** What lies between a stage and the step. */
const ARRANGE: Partial<Readonly<Record<StepName, (at: Place) => Promise<unknown>>>> = {
  move: seal,
  async fail(at) {
    await seal(at);
    await run(at, 'alter table audit.audit_log_y2023m01 drop constraint ak_bounds');
  },
  async retry(at) {
    await seal(at);
    await run(
      at,
      `update retention.unit set state = 'failed', failed_from = 'sealed' where relation_name = 'audit_log_y2023m01'`,
    );
  },
  collect: archived,
  restore: archived,
  async expire(at) {
    await archived(at);
    await STEPS.restore.run(at.ctx);
    await run(at, `update retention.unit set expires_at = now() - interval '1 day' where state = 'restored'`);
  },
  async attach(at) {
    await archived(at);
    // Who may attach is tested elsewhere.
    await run(
      at,
      `create or replace function retention.check_attach(p_restore uuid, p_unit retention.unit) returns void
      language plpgsql set search_path = pg_catalog, pg_temp as $$ begin end $$`,
    );
  },
  async review(at) {
    await archived(at);
    await run(at, `update retention.unit set state = 'purge_due' where state = 'archived'`);
  },
  withdraw: purgeApproved,
  quarantine: purgeApproved,
  async rescue(at) {
    await purgeApproved(at);
    await goOn(at, 'quarantine');
  },
  async drop(at) {
    await purgeApproved(at);
    await goOn(at, 'quarantine');
    await quarantinedLongAgo(at);
  },
  split: (at) => run(at, `select retention.move_unit('security_events_log', '2015-01-01Z')`),
  async certify(at) {
    await STEPS.start.run(at.ctx);
    await quarantinedLongAgo(at);
    await run(at, `select retention.drop_unit(unit_id, plan_id) from retention.unit where state = 'quarantined'`);
  },
  async housekeeping(at) {
    await seal(at);
    await run(
      at,
      `insert into security_internal.rate_limit_state (identifier, identifier_type, window_start)
      select 'a' || n, 'ip', now() - interval '60 days' from generate_series(1, 5) n`,
    );
  },
};

/**
 * Destroys what the stage `approved` holds in a database that goes on from it: its home has a journal then, and a database
 * as it was before is what a backup brings back.
 */
async function destroyElsewhere(server: TestServer, folder: string, home: string): Promise<void> {
  const at = await place(server, folder, 'stage_approved', 'crash_elsewhere');
  await STEPS.start.run(at.ctx);
  await quarantinedLongAgo(at);
  await STEPS.certify.run(at.ctx);
  await close(at);
  await cp(at.home, home, { recursive: true });
}
