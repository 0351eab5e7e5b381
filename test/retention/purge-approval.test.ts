import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { objectDecisionText, objectRequestSchema } from '../../src/persons/object-decision.ts';
import { placeHold } from '../../src/retention/hold-place.ts';
import { approvePurge, listPlans, planDestruction, requestPurge } from '../../src/retention/purge-request.ts';
import { runPurge } from '../../src/retention/purge-run.ts';
import type { Roster } from '../persons/roster.ts';
import type { TestContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { guardsLater } from './later.ts';
import { arrange, scope } from './purge-setting.ts';
import { failureOf, instant, scalar, stateOf } from './rows.ts';

const containing = (part: string): unknown => expect.stringContaining(part);
describe('what was approved', () => {
  const db = useDatabase();
  let ctx: TestContext;
  let roster: Roster;

  beforeAll(async () => {
    ({ ctx, roster } = await arrange(db, ['2015-01', '2015-02', '2015-03']));
  });

  async function approved(): Promise<string> {
    const { planId } = await requestPurge(roster.as(ctx, 'records'), scope);
    await approvePurge(roster.as(ctx, 'records2'), planId);
    return planId;
  }

  test('and changed since needs a new approval', async () => {
    await guardsLater(db, 0);
    const planId = await approved();
    await guardsLater(db, 73);
    const refused = () => runPurge(ctx, { plan: planId, reason: 'test' });
    const counsel = roster.as(ctx, 'counsel');
    await placeHold(counsel, {
      ...{ table: 'audit_log', matter: 'M-1', reason: 'r', custodian: 'c' },
      ...{ from: instant('2015-02-10T00:00:00Z'), to: instant('2015-02-11T00:00:00Z') },
    });
    await expect(refused()).rejects.toMatchObject({ code: 'PLAN_DRIFT', message: containing('audit_log_y2015m02') });
    expect(await stateOf(db.engine, 'audit_log_y2015m01')).toBe('archived');
    const plan = await planDestruction(ctx, { table: 'audit_log' });
    expect(plan.units.map((unit) => unit.blockers)).toEqual([[], ['held'], []]);
    // The database says so too, whoever asks.
    const start = `select retention.start_plan('${planId}')`;
    expect(await failureOf(db.engine, start)).toMatchObject({ code: 'AK126' });
  });

  test('and not started in time has expired', async () => {
    await guardsLater(db, 0);
    const planId = await approved();
    await guardsLater(db, 97);
    await expect(runPurge(ctx, { plan: planId, reason: 'test' })).rejects.toMatchObject({ code: 'PLAN_WINDOW' });
    await guardsLater(db, 71);
    await expect(runPurge(ctx, { plan: planId, reason: 'test' })).rejects.toMatchObject({ code: 'PLAN_WINDOW' });
  });
});

describe('raw SQL as the engine', () => {
  const db = useDatabase();
  let ctx: TestContext;
  let roster: Roster;
  let planId = '';
  let unit = '';

  beforeAll(async () => {
    ({ ctx, roster } = await arrange(db, ['2015-01']));
    ({ planId } = await requestPurge(roster.as(ctx, 'records'), scope));
    unit = await scalar(
      db.engine,
      z.string(),
      `select unit_id::text as value from retention.unit where relation_name = 'audit_log_y2015m01'`,
    );
  });

  test('cannot approve what the same person requested, start without an approval, or take a unit further', async () => {
    const refused = async (sql: string) => {
      const failure = await failureOf(db.engine, sql);
      return failure instanceof Error && 'code' in failure ? failure.code : failure;
    };
    expect(
      await refused(`select compliance.begin_object_decision('plan', '${planId}', 'approve', 'records@example.org')`),
    ).toBe('AK003');
    expect(
      await refused(
        `select compliance.begin_object_decision('plan', '${planId}', 'approve', 'engine@auditkeep.invalid')`,
      ),
    ).toBe('AK004');
    expect(
      await refused(`select compliance.begin_object_decision('plan', '${planId}', 'withdraw', 'records2@example.org')`),
    ).toBe('AK121');
    expect(
      await refused(
        `select compliance.begin_object_decision('plan', gen_random_uuid(), 'approve', 'records2@example.org')`,
      ),
    ).toBe('AK120');
    expect(await refused(`select retention.start_plan('${planId}')`)).toBe('AK109');
    expect(await refused(`select retention.quarantine_unit(${unit})`)).toBe('AK104');
    expect(await refused(`select retention.drop_unit(${unit}, '${planId}')`)).toBe('AK104');
    expect(await refused(`update retention.unit set state = 'purge_due'`)).toBe('42501');
    expect(await refused(`insert into retention.plan_start (plan_id) values ('${planId}')`)).toBe('42501');
    expect(await refused(`select retention.finish_purge(${unit})`)).toBe('42501');
    expect(await refused(`insert into retention.certificate default values`)).toBe('42501');
  });

  test('an approval without NOT NULL, distinct persons and order is refused even to a superuser', async () => {
    const insert = (person: string, meaning: string, previous: string) => `
      with q as (insert into compliance.object_decision_request (object_kind, object_id, object_hash, meaning, person_id, issued_at, expires_at)
        select 'plan', plan_id, plan_hash, '${meaning}', (select id from compliance.person where kind = 'human' limit 1), now(), now() + interval '15 minutes'
          from retention.plan returning *)
      insert into compliance.object_decision (id, object_kind, object_id, object_hash, meaning, person_id, key_fingerprint, payload,
        payload_sha256, previous_decision_sha256, signature, decided_at)
      select q.id, q.object_kind, q.object_id, q.object_hash, q.meaning, ${person}, 'k', '{}', encode(sha256('{}'), 'hex'), ${previous},
        '-----BEGIN SSH SIGNATURE-----', now() from q`;
    const requester = `(select person_id from compliance.object_decision)`;
    const request = `(select payload_sha256 from compliance.object_decision)`;
    expect(await failureOf(db.admin, insert(requester, 'approve', request))).toMatchObject({
      constraint: 'separate_duties',
    });
    expect(await failureOf(db.admin, insert('null', 'approve', request))).toMatchObject({ code: '23502' });
    expect(await failureOf(db.admin, insert('gen_random_uuid()', 'approve', 'null'))).toMatchObject({ code: '23514' });
  });

  test('an approval that nobody signed opens nothing', async () => {
    // The database cannot check a signature; whoever executes does.
    const begin = `select compliance.begin_object_decision('plan', $1::uuid, 'approve', 'records2@example.org') as value`;
    const request = await scalar(db.engine, objectRequestSchema, begin, [planId]);
    const fingerprint = await scalar(
      db.engine,
      z.string(),
      `select k.fingerprint as value from compliance.person_key k join compliance.person p on p.id = k.person_id
        where p.email = 'records2@example.org'`,
    );
    await db.engine.withClient((client) =>
      client.query(`select compliance.record_object_decision($1, '-----BEGIN SSH SIGNATURE-----')`, [
        objectDecisionText(request, fingerprint),
      ]),
    );
    await guardsLater(db, 73);
    await expect(runPurge(ctx, { plan: planId, reason: 'test' })).rejects.toMatchObject({
      code: 'RETENTION_NOT_APPROVED',
      message: containing('approve of the plan'),
    });
    expect((await listPlans(ctx))[0]?.decisions.findings).toHaveLength(1);
    expect(await stateOf(db.engine, 'audit_log_y2015m01')).toBe('archived');
  });
});
