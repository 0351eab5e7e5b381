/**
 * A hold and a destruction at once: one lock a table puts them in one order, in both orders. Each test lets one of the two
 * stand in its transaction until the other waits for it.
 */
import { randomUUID } from 'node:crypto';
import { beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import type { SqlClient } from '../../src/db/database.ts';
import { queryOne } from '../../src/db/query.ts';
import { readSshKeyFile } from '../../src/keys/ssh-key.ts';
import { NAMESPACES, signSshsig } from '../../src/keys/sshsig.ts';
import { objectDecisionText, objectRequestSchema } from '../../src/persons/object-decision.ts';
import { runArchive } from '../../src/retention/archive.ts';
import { type HoldInput, holdText, releaseText } from '../../src/retention/hold.ts';
import { placeHold, releaseHold, showHold } from '../../src/retention/hold-place.ts';
import { approvePurge, requestPurge } from '../../src/retention/purge-request.ts';
import { runPurge } from '../../src/retention/purge-run.ts';
import { emailOf, foundRegister, type Roster } from '../persons/roster.ts';
import { type TestContext, temporaryHome, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { guardsLater, waitInQuarantine } from './later.ts';
import { ensureMonths, failureOf, insertEvents, instant, linkAll, scalar, stateOf } from './rows.ts';

const MATTER = { matter: 'M-1', reason: 'litigation', custodian: 'General Counsel' } as const;
const relationOf = (month: string) => `audit_log_y${month.replace('-', 'm')}`;

const db = useDatabase();
let ctx: TestContext;
let roster: Roster;
let planId = '';
const counsel = () => roster.as(ctx, 'counsel');
const counsel2 = () => roster.as(ctx, 'counsel2');
const unitOf = (month: string) =>
  scalar(db.engine, z.bigint(), 'select unit_id as value from retention.unit where relation_name = $1', [
    relationOf(month),
  ]);

beforeAll(async () => {
  ctx = await testContext(db, {});
  roster = await foundRegister(ctx, await temporaryHome());
  await ensureMonths(db.engine, ['2015-01', '2015-02', '2025-12']);
  await db.engine.withClient(async (client) => {
    for (const month of ['2015-01', '2015-02']) await insertEvents(client, `${month}-10T00:00:00Z`, 5);
    await insertEvents(client, '2025-12-10T00:00:00Z', 100);
  });
  await linkAll(db.engine);
  await runArchive(ctx, { table: 'audit_log', before: instant('2016-01-01T00:00:00Z'), reason: 'test' });
  await guardsLater(db, 0);
  ({ planId } = await requestPurge(roster.as(ctx, 'records'), { table: 'audit_log', reason: 'test' }));
  await approvePurge(roster.as(ctx, 'records2'), planId);
  await guardsLater(db, 73);
});

/** Until another connection to this database waits for the lock of disposal: its own state tells, no pause does. */
async function untilOneWaits(): Promise<void> {
  const waiting = `select count(*) as value from pg_locks l join pg_database d on d.oid = l.database
    where d.datname = current_database() and l.locktype = 'advisory' and l.classid = 24940 and not l.granted`;
  await expect.poll(() => scalar(db.admin, z.bigint(), waiting), { timeout: 30_000, interval: 5 }).toBe(1n);
}

/** A signed decision over a connection of the caller's, as the engine makes one. */
async function decide(client: SqlClient, kind: 'hold' | 'release', id: string, meaning: string, person: string) {
  const begun = 'select compliance.begin_object_decision($1, $2, $3, $4) as payload';
  const shape = z.object({ payload: objectRequestSchema });
  const { payload } = await queryOne(client, shape, begun, [kind, id, meaning, emailOf(person)]);
  const key = await readSshKeyFile(roster.keyFile(person));
  const text = objectDecisionText(payload, key.publicKey.fingerprint);
  const signature = await signSshsig(key, NAMESPACES.hold, Buffer.from(text, 'utf8'));
  await client.query('select compliance.record_object_decision($1, $2)', [text, signature]);
}

/** Places a hold and holds its transaction open while `meanwhile` looks. */
async function whilePlacing(scope: Partial<HoldInput>, meanwhile: () => Promise<void>): Promise<string> {
  const holdId = randomUUID();
  await db.engine.withClient(async (placing) => {
    await placing.query('begin');
    await placing.query('select retention.draft_hold($1)', [
      holdText(holdId, { table: 'audit_log', ...MATTER, ...scope }),
    ]);
    await decide(placing, 'hold', holdId, 'request', 'counsel');
    await meanwhile();
    await placing.query('commit');
  });
  return holdId;
}

async function release(holdId: string): Promise<void> {
  await releaseHold(counsel(), { holdId, reason: 'done' });
  await releaseHold(counsel2(), { holdId, reason: '' });
}

test('a plan does not start past a hold that is being placed, even one that reaches none of its units', async () => {
  const start = `select retention.start_plan('${planId}')`;
  let started: Promise<unknown> = Promise.resolve(null);
  const holdId = await whilePlacing({ from: instant('2025-12-01T00:00:00Z') }, async () => {
    started = failureOf(db.engine, start);
    await untilOneWaits();
  });
  expect(await started).toMatchObject({ code: 'AK126' });
  await release(holdId);
  const older = ['set transaction isolation level repeatable read', start];
  expect(await failureOf(db.engine, ...older)).toMatchObject({ code: 'AK104' });
  await runPurge(ctx, { plan: planId, reason: 'test' });
  expect(await stateOf(db.engine, relationOf('2015-02'))).toBe('quarantined');
  await waitInQuarantine(db);
});

test('the point of no return does not come while a hold is being placed, nor after it', async () => {
  const unitId = await unitOf('2015-01');
  const drop = `select retention.drop_unit(${unitId}, '${planId}')`;
  // Without the engine's lock timeout: asked before the hold is there, answered after it.
  const raw = `update retention.unit set state = 'purging' where unit_id = ${unitId}`;
  let answered: Promise<unknown> = Promise.resolve(null);
  const holdId = await whilePlacing({ to: instant('2015-02-01T00:00:00Z') }, async () => {
    // The hold is not committed yet, so nobody else sees it; the lock keeps the drop from coming before it.
    expect(await failureOf(db.engine, drop)).toMatchObject({ code: '55P03' });
    answered = failureOf(db.admin, raw);
    await untilOneWaits();
  });
  expect(await answered).toMatchObject({ code: 'AK105' });
  expect(await failureOf(db.engine, drop)).toMatchObject({ code: 'AK105' });
  expect((await showHold(ctx, holdId)).units).toEqual([relationOf('2015-01')]);
});

test('once passed it refuses a hold that waited for it', async () => {
  const unitId = await unitOf('2015-02');
  await db.engine.withClient(async (dropping) => {
    await dropping.query('begin');
    await dropping.query('select retention.drop_unit($1, $2)', [String(unitId), planId]);
    const scope = { from: instant('2015-02-10T00:00:00Z'), to: instant('2015-02-20T00:00:00Z') };
    const placing = placeHold(counsel(), { table: 'audit_log', ...scope, ...MATTER }).catch((error: unknown) => error);
    await untilOneWaits();
    await dropping.query('commit');
    expect(await placing).toMatchObject({ code: 'HOLD_DESTROYED' });
  });
});

test('what a hold reached on its way goes back to its archive; the rest is certified', async () => {
  const run = await runPurge(ctx, { plan: planId, reason: 'test' });
  expect(run.units.map(({ partition, outcome }) => [partition, outcome.kind])).toEqual([
    [relationOf('2015-01'), 'held'],
    [relationOf('2015-02'), 'purged'],
  ]);
  expect(await stateOf(db.engine, relationOf('2015-01'))).toBe('archived');
});

test('two releases of one hold at once: one counts, the other is told', async () => {
  const { holdId } = await placeHold(counsel(), {
    table: 'audit_log',
    from: instant('2015-03-01T00:00:00Z'),
    ...MATTER,
  });
  const { sha256 } = await showHold(ctx, holdId);
  const requested = async (person: string) => {
    const id = randomUUID();
    const document = releaseText({ id, holdId, holdSha256: sha256, reason: 'x' });
    await db.engine.withClient(async (client) => {
      await client.query('select retention.draft_release($1)', [document]);
      await decide(client, 'release', id, 'request', person);
    });
    return id;
  };
  const [one, two] = [await requested('counsel'), await requested('counsel2')];
  await db.engine.withClient(async (client) => {
    await client.query('begin');
    await decide(client, 'release', one, 'approve', 'counsel2');
    const second = db.engine
      .withClient((other) => decide(other, 'release', two, 'approve', 'counsel'))
      .catch((error: unknown) => error);
    await untilOneWaits();
    await client.query('commit');
    expect(await second).toMatchObject({ code: 'AK121' });
  });
});
