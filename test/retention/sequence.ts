/**
 * What may happen to a database under retention, as operations that a random sequence is made of, and what has to hold after
 * each: every inserted row is in exactly one place, none that is destroyed lives on as a copy, and none that a hold reaches is ever destroyed.
 */
import { expect } from 'vitest';
import { z } from 'zod';
import { queryRows } from '../../src/db/query.ts';
import { AuditkeepError } from '../../src/errors.ts';
import { runArchival } from '../../src/retention/archival.ts';
import { split } from '../../src/retention/dispose.ts';
import { placeHold, releaseHold } from '../../src/retention/hold-place.ts';
import { approvePurge, listPlans, requestPurge } from '../../src/retention/purge-request.ts';
import { runPurge } from '../../src/retention/purge-run.ts';
import { expireCopies, restoreRange } from '../../src/retention/restore.ts';
import { toInstant } from '../../src/time/clock.ts';
import type { Roster } from '../persons/roster.ts';
import type { TestContext } from '../support/context.ts';
import type { TestDatabase } from '../support/database.ts';
import { eventLeaf } from '../support/kill.ts';
import { guardsLater } from './later.ts';
import { linkAll } from './rows.ts';

/** One operation, as plain data: a sequence of them can be printed and run again. */
export type Operation =
  | { readonly kind: 'insert'; readonly month: number; readonly day: number; readonly rows: number }
  | { readonly kind: 'repeat'; readonly pick: number }
  | { readonly kind: 'hold'; readonly month: number; readonly byId: boolean; readonly pick: number }
  | { readonly kind: 'release'; readonly pick: number }
  | { readonly kind: 'jump'; readonly hours: number }
  | { readonly kind: 'archive' | 'request' | 'purge' | 'expire'; readonly kill: number | null }
  | { readonly kind: 'split' | 'restore'; readonly month: number; readonly kill: number | null };

const MONTHS = 3;

/** mulberry32: a small generator whose numbers a seed decides. */
function randomOf(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** A sequence of a seed. It leads through archival and destruction, in between anything may happen. */
export function sequenceOf(seed: number, length: number): readonly Operation[] {
  const random = randomOf(seed);
  const kill = () => (random(3) === 0 ? random(3) : null);
  const insert = (): Operation => ({ kind: 'insert', month: random(MONTHS), day: 1 + random(27), rows: 1 + random(4) });
  const anything: readonly (() => Operation)[] = [
    insert,
    insert,
    () => ({ kind: 'repeat', pick: random(1000) }),
    () => ({ kind: 'hold', month: random(MONTHS), byId: random(2) === 0, pick: random(1000) }),
    () => ({ kind: 'release', pick: random(1000) }),
    () => ({ kind: 'jump', hours: [1, 73, 100, 170][random(4)] ?? 1 }),
    () => ({ kind: 'archive', kill: kill() }),
    () => ({ kind: 'request', kill: null }),
    () => ({ kind: 'purge', kill: kill() }),
    () => ({ kind: 'purge', kill: kill() }),
    () => ({ kind: 'split', month: random(MONTHS), kill: kill() }),
    () => ({ kind: 'restore', month: random(MONTHS), kill: kill() }),
    () => ({ kind: 'expire', kill: kill() }),
  ];
  const road: readonly Operation[] = [
    { kind: 'archive', kill: kill() },
    { kind: 'archive', kill: null },
    { kind: 'restore', month: random(MONTHS), kill: null },
    { kind: 'request', kill: null },
    { kind: 'jump', hours: 73 },
    { kind: 'purge', kill: kill() },
    { kind: 'purge', kill: null },
    // In time: what is in quarantine goes back, and on another day the rest goes.
    { kind: 'hold', month: random(MONTHS), byId: random(2) === 0, pick: random(1000) },
    { kind: 'purge', kill: kill() },
    { kind: 'jump', hours: 170 },
    { kind: 'purge', kill: kill() },
    { kind: 'purge', kill: kill() },
    { kind: 'purge', kill: null },
  ];
  const between = Math.max(1, Math.floor(length / road.length) - 1);
  const some = () =>
    Array.from({ length: random(2 * between + 1) }, () => anything[random(anything.length)]?.() ?? insert());
  return [insert(), insert(), insert(), ...road.flatMap((step) => [...some(), step])];
}

interface Row {
  readonly id: string;
  readonly at: string;
}

interface Hold {
  readonly holdId: string;
  readonly reaches: (row: Row) => boolean;
  /** What was destroyed before it was placed. */
  readonly beyond: ReadonlySet<string>;
}

/** What a sequence has done so far, and the database that it did it to. */
export interface World {
  readonly db: TestDatabase;
  readonly ctx: TestContext;
  readonly roster: Roster;
  readonly rows: Row[];
  readonly holds: Hold[];
  /** Hours that the guards are ahead. */
  ahead: number;
  /** Copies that were made. */
  restored: number;
}

const dayOf = (month: number, day: number) => `2015-0${month + 1}-${String(day).padStart(2, '0')}`;
const startOf = (month: number) => toInstant(Date.UTC(2015, month, 1));
const picked = <T>(from: readonly T[], pick: number): T | undefined => from[pick % Math.max(1, from.length)];

/** Does one operation. What the product refuses with a code is an answer; anything else is a failure, but after a kill. */
export async function perform(world: World, operation: Operation): Promise<void> {
  const killed = 'kill' in operation && operation.kill !== null;
  const act = () => actOf(world, operation);
  try {
    await (killed ? withKill(world, operation.kill, act) : act());
  } catch (error) {
    const isAnswer = error instanceof AuditkeepError && operation.kind !== 'insert' && operation.kind !== 'repeat';
    if (!killed && !isAnswer) throw error;
  }
}

async function actOf(world: World, operation: Operation): Promise<unknown> {
  const { ctx, roster, rows, holds } = world;
  switch (operation.kind) {
    case 'insert': {
      const made = Array.from({ length: operation.rows }, (_, n) => rowOf(rows.length + n, operation));
      rows.push(...made);
      return await insertRows(world, made);
    }
    case 'repeat': {
      // A row that is written again after its destruction is a new one: that is told in the README, and not meant here.
      const gone = await destroyed(world);
      const row = picked(rows, operation.pick);
      return row === undefined || gone.has(row.id) ? null : await insertRows(world, [row]);
    }
    case 'hold':
      return await hold(world, operation);
    case 'release': {
      const found = picked(holds, operation.pick);
      if (found === undefined) return null;
      for (const name of ['counsel', 'counsel2'])
        await releaseHold(roster.as(ctx, name), { holdId: found.holdId, reason: 'over' });
      return holds.splice(holds.indexOf(found), 1);
    }
    case 'jump':
      return await jump(world, operation.hours);
    case 'archive': {
      await linkAll(ctx.db);
      const before = toInstant(Date.UTC(2016, 0, 1));
      const run = await runArchival(ctx, { table: 'audit_log', before, reason: 'sequence' });
      return refuseFailed([...run.units, ...run.late]);
    }
    case 'request': {
      const { planId } = await requestPurge(roster.as(ctx, 'records'), { table: 'audit_log', reason: 'sequence' });
      return await approvePurge(roster.as(ctx, 'records2'), planId);
    }
    case 'purge':
      return await purgeAll(world);
    case 'split': {
      const unit = await unitOf(world, operation.month);
      return unit === null ? null : await split(ctx, { unitId: unit, reason: 'sequence' });
    }
    case 'restore': {
      const scope = { table: 'audit_log', from: startOf(operation.month), to: startOf(operation.month + 1) } as const;
      const units = await restoreRange(ctx, { ...scope, days: 3, reason: 'sequence' });
      world.restored += units.filter(({ outcome }) => outcome.kind === 'restored').length;
      return refuseFailed(units);
    }
    case 'expire':
      return await expireCopies(ctx);
  }
}

/** A unit's failure is in its outcome, where nothing else would see it; a lock that is taken is none. */
function refuseFailed(
  units: readonly { readonly outcome: { readonly kind: string; readonly error?: unknown } }[],
): void {
  for (const { outcome } of units) {
    const { kind, error } = outcome;
    const isBusy = error instanceof AuditkeepError && error.code === 'RETENTION_BUSY';
    if (kind === 'failed' && !isBusy) throw new Error('a unit failed', { cause: error });
  }
}

function rowOf(number: number, { month, day }: { readonly month: number; readonly day: number }): Row {
  return {
    id: `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`,
    at: `${dayOf(month, day)}T00:00:00.000Z`,
  };
}

async function insertRows({ db }: World, rows: readonly Row[]): Promise<void> {
  for (const { id, at } of rows) {
    await db.engine.withClient((client) =>
      client.query(
        `insert into audit.audit_log (id, event_type, event_category, event_action, event_timestamp)
         values ($1, 'test', 'system', 'CREATE', $2) on conflict do nothing`,
        [id, at],
      ),
    );
  }
}

async function hold(world: World, { month, byId, pick }: Extract<Operation, { kind: 'hold' }>): Promise<void> {
  const row = picked(world.rows, pick);
  const beyond = await destroyed(world);
  const [from, to] = [startOf(month), startOf(month + 1)];
  const scope = byId && row !== undefined ? { ids: [row.id] } : { from, to };
  const about = { table: 'audit_log', matter: 'M-1', reason: 'r', custodian: 'c', beyondDestroyed: true } as const;
  const { holdId } = await placeHold(world.roster.as(world.ctx, 'counsel'), { ...about, ...scope });
  const reaches = (one: Row) =>
    'ids' in scope ? scope.ids.includes(one.id) : Date.parse(one.at) >= from && Date.parse(one.at) < to;
  world.holds.push({ holdId, reaches, beyond });
}

/** Later for everybody: the guards, the code, and what has waited in quarantine. */
async function jump(world: World, hours: number): Promise<void> {
  world.ahead += hours;
  world.ctx.clock.advance(hours * 3_600_000);
  await guardsLater(world.db, world.ahead);
  await world.db.admin.withClient((client) =>
    client.query(
      `update retention.unit set quarantined_at = quarantined_at - make_interval(hours => $1) where state = 'quarantined'`,
      [hours],
    ),
  );
}

async function purgeAll({ ctx }: World): Promise<void> {
  for (const { plan_id: plan, starts_at: approved } of await listPlans(ctx)) {
    if (approved === null) continue;
    const run = await runPurge(ctx, { plan, reason: 'sequence' }).catch((error: unknown) => {
      if (!(error instanceof AuditkeepError)) throw error;
    });
    refuseFailed(run?.units ?? []);
  }
}

async function unitOf({ db }: World, month: number): Promise<bigint | null> {
  const rows = await db.admin.withClient((client) =>
    queryRows(
      client,
      z.object({ unit_id: z.bigint() }),
      `select unit_id from retention.unit where table_name = 'audit_log' and state = 'archived' and lower_bound = $1 order by unit_id`,
      [dayOf(month, 1)],
    ),
  );
  return rows[0]?.unit_id ?? null;
}

/** Runs what records events and ends its connection when it stands before its event number `at`, from 0, if it has one. */
async function withKill({ db }: World, at: number, act: () => Promise<unknown>): Promise<void> {
  const lock = `begin; lock table ${await eventLeaf(db.admin)} in share mode`;
  await db.admin.withClient(async (holder) => {
    await holder.query(lock);
    const [mine] = await queryRows(holder, z.object({ pid: z.number() }), 'select pg_backend_pid() as pid');
    let ended = false;
    const running = act().finally(() => {
      ended = true;
    });
    running.catch(() => undefined);
    for (let passed = 0; ; passed += 1) {
      const waiting = `select a.pid from pg_stat_activity a where $1::int = any (pg_blocking_pids(a.pid))`;
      const find = () =>
        db.admin.withClient((client) => queryRows(client, z.object({ pid: z.number() }), waiting, [mine?.pid ?? 0]));
      let found = await find();
      while (found.length === 0 && !ended) found = await find();
      if (ended) break;
      if (passed === at) {
        for (const { pid } of found)
          await db.admin.withClient((client) => client.query('select pg_terminate_backend($1)', [pid]));
        break;
      }
      // Behind what waits the lock is the next in the queue.
      await holder.query(`rollback; ${lock}`);
    }
    await holder.query('rollback');
    await running;
  });
}

async function destroyed({ db }: World): Promise<ReadonlySet<string>> {
  const text = `select l.event_id::text as id from audit.chain_link l join retention.purged_unit p on l.seq <@ p.seqs`;
  const rows = await db.admin.withClient((client) => queryRows(client, z.object({ id: z.string() }), text));
  return new Set(rows.map(({ id }) => id));
}

/** Every inserted row is in one place, once; what a hold reaches is not destroyed, but for what was before the hold. */
export async function check(world: World): Promise<void> {
  const text = `
    select id::text, origin as place from audit.audit_log_all where event_type = 'test'
    union all select id::text, 'quarantine' from quarantine.audit_log where event_type = 'test'
    union all select l.event_id::text, 'destroyed' from audit.chain_link l join retention.purged_unit p on l.seq <@ p.seqs`;
  const shape = z.object({ id: z.string(), place: z.string() });
  const found = await world.db.admin.withClient((client) => queryRows(client, shape, text));
  const ids = found.map(({ id }) => id).sort();
  expect(ids, 'rows in one place each').toEqual(world.rows.map(({ id }) => id).sort());
  const gone = new Set(found.filter(({ place }) => place === 'destroyed').map(({ id }) => id));
  const copies = `select id::text, '' as place from quarantine.restored_audit_log where event_type = 'test'`;
  const copied = await world.db.admin.withClient((client) => queryRows(client, shape, copies));
  expect(
    copied.filter(({ id }) => gone.has(id)),
    'destroyed, and there as a copy',
  ).toEqual([]);
  const lost = world.holds.flatMap(({ reaches, beyond }) =>
    world.rows.filter((row) => reaches(row) && gone.has(row.id) && !beyond.has(row.id)),
  );
  expect(lost, 'destroyed under a hold').toEqual([]);
}

/** At the end nothing is stuck: what no hold reaches leaves the hot table, and what is destroyed has its certificate. */
export async function checkEnd(world: World): Promise<number> {
  for (const kind of ['archive', 'archive', 'purge'] as const) await perform(world, { kind, kill: null });
  await check(world);
  const { db } = world;
  const stuck = `select u.relation_name || ' ' || u.state as id, '' as place from retention.unit u
                  where u.table_name = 'audit_log' and u.upper_bound < '2016-01-01' and u.state in ('hot', 'sealed', 'failed')
                    and not retention.is_held(u.unit_id)`;
  const left = await db.admin.withClient((client) => queryRows(client, z.object({ id: z.string() }), stuck));
  expect(left, 'units that are stuck').toEqual([]);
  const text = `select u.state, c.certificate_id is not null as certified from retention.unit u
                  left join retention.certificate c using (unit_id) where u.state in ('purging', 'purged')`;
  const shape = z.object({ state: z.string(), certified: z.boolean() });
  const units = await db.admin.withClient((client) => queryRows(client, shape, text));
  expect(units.filter(({ state, certified }) => state !== 'purged' || !certified)).toEqual([]);
  return units.length;
}
