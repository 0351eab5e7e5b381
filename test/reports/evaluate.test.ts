import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { signCheckpoint } from '../../src/audit/publish/sign.ts';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { withSessionLock } from '../../src/db/advisory-lock.ts';
import type { Database } from '../../src/db/database.ts';
import { queryOne, queryRows } from '../../src/db/query.ts';
import { checkTemplates } from '../../src/reports/evaluate/check-templates.ts';
import { type Evaluation, evaluateControls } from '../../src/reports/evaluate/evaluate.ts';
import { type ControlTemplate, loadTemplates } from '../../src/reports/template/template.ts';
import { runArchive } from '../../src/retention/archive.ts';
import { parseInstant, toInstant, type UtcInstant } from '../../src/time/clock.ts';
import { parseReportPeriod } from '../../src/time/report-period.ts';
import { TestClock, testContext } from '../support/context.ts';
import { type TestDatabase, useDatabase } from '../support/database.ts';
import { tamper } from '../tamper/tampering.ts';
import { arrangeBase, BASE_COUNTS, runAll } from './control-fixtures.ts';

const { controls } = await loadTemplates();
const template = (id: string): ControlTemplate => {
  const found = controls.get(id);
  if (found === undefined) throw new Error(`no control ${id}`);
  return found;
};

/** The database's own time, since partitions and defaults follow it. */
async function serverNow(db: TestDatabase): Promise<UtcInstant> {
  const row = await db.admin.withClient((client) =>
    queryOne(client, z.object({ now: z.string() }), 'select now()::text as now'),
  );
  return toInstant((parseInstant(row.now) ?? 0) + 1000);
}

async function evaluate(
  db: TestDatabase,
  some: Iterable<ControlTemplate> = controls.values(),
  limits: { controlTimeLimitMs?: number; timeLimitMs?: number } = {},
  reportDb: Database = db.report,
): Promise<Evaluation> {
  const now = await serverNow(db);
  const day = (offset: number) => new Date(now + offset * 86_400_000).toISOString().slice(0, 10);
  const period = parseReportPeriod(`${day(-10)}..${day(0)}`, { now, interim: true });
  const ctx = await testContext(db, { clock: new TestClock(now), reportDb });
  return evaluateControls(ctx, { controls: [...some], period, pseudonymize: (value) => `P(${value})`, ...limits });
}

function statusesOf(evaluation: Evaluation): Record<string, string> {
  return Object.fromEntries(
    evaluation.results.map(({ template: { id }, result }) => [
      id,
      result.kind === 'evaluated' ? result.judgement.status : `${result.reason} ${result.sqlState}`,
    ]),
  );
}

async function arrange(db: TestDatabase): Promise<void> {
  await arrangeBase(db.admin);
  await sealChain(await testContext(db));
}

describe('an empty database', () => {
  const db = useDatabase();
  it('passes nothing but what does not depend on data', async () => {
    const passed = Object.entries(statusesOf(await evaluate(db))).filter(([, status]) => status === 'pass');
    // Partitions exist from the first migration on.
    expect(passed.map(([id]) => id)).toEqual(['lg-03']);
  });
});

describe('row-level security', () => {
  const db = useDatabase();
  it('hides no row of a table with forced row-level security from the control that counts it', async () => {
    await arrange(db);
    const tables = await db.admin.withClient((client) =>
      queryRows(
        client,
        z.object({ name: z.string() }),
        `select c.relname::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where c.relforcerowsecurity and n.nspname like 'security%' order by 1`,
      ),
    );
    expect(tables.map((table) => table.name)).toEqual(Object.keys(BASE_COUNTS).sort());
    const counted: Readonly<Record<keyof typeof BASE_COUNTS, readonly string[]>> = {
      users: ['ac-02', 'ac-06'],
      user_roles: ['ac-03'],
      jwt_tokens: ['ac-07'],
      user_sessions: ['pr-01'],
      transactions: ['pr-07'],
    };
    const { results } = await evaluate(db);
    for (const [table, ids] of Object.entries(counted)) {
      const population = results
        .filter(({ template: { id } }) => ids.includes(id))
        .reduce((sum, { result }) => sum + (result.kind === 'evaluated' ? result.population : 0), 0);
      expect([table, population]).toEqual([table, BASE_COUNTS[table as keyof typeof BASE_COUNTS]]);
    }
  });

  it('is a difference to the independent count where a view loses rows', async () => {
    await runAll(db.admin, [
      `create or replace view facts.token as
         select t.id as token_id, t.user_id as account_id, t.token_type::text, t.issued_at, t.expires_at, t.revoked_at,
                coalesce(t.is_active, false) as is_active
           from security_internal.jwt_tokens t where false`,
    ]);
    expect(statusesOf(await evaluate(db))).toMatchObject({ 'ac-07': 'insufficient_data' });
  });
});

describe('archived and late rows', () => {
  const db = useDatabase();
  it('are seen like hot ones, and an archived partition satisfies lg-03', async () => {
    const insert = `insert into audit.audit_log (event_type, event_category, event_action, event_timestamp)
                    values ('old', 'system', 'X', '2019-05-10 12:00+00')`;
    await runAll(db.admin, [`select retention.create_partition('audit_log', '2019-05-01', '2019-06-01')`, insert]);
    const ctx = await testContext(db, { clock: new TestClock(await serverNow(db)) });
    await sealChain(ctx);
    const some = [template('lg-01'), template('lg-03')];
    expect(statusesOf(await evaluate(db, some))).toEqual({ 'lg-01': 'fail', 'lg-03': 'fail' }); // no checkpoint yet
    const { units } = await runArchive(ctx, { table: 'audit_log', reason: 'test' });
    expect(units.map((unit) => unit.outcome.kind)).toContain('archived');
    await runAll(db.admin, [insert]); // diverted to late: its range is archived
    await sealChain(ctx);
    await signCheckpoint(ctx);
    const origins = await db.report.withClient((client) =>
      queryRows(
        client,
        z.object({ origin: z.string() }),
        `select origin from facts.event where event_type = 'old' order by 1`,
      ),
    );
    expect(origins.map((row) => row.origin)).toEqual(['archive', 'late']);
    expect(statusesOf(await evaluate(db, some))).toEqual({ 'lg-01': 'pass', 'lg-03': 'pass' });
  });
});

describe('evaluateControls', () => {
  const db = useDatabase();
  beforeAll(() => arrange(db));

  const changed = (id: string, part: 'population' | 'exceptions' | 'completeness', sql: string): ControlTemplate => {
    const original = template(id);
    return { ...original, [part]: { ...original[part], sql } };
  };

  it('replaces ids by pseudonyms and hashes all exceptions', async () => {
    await runAll(db.admin, [`update security_internal.jwt_tokens set expires_at = now() - interval '1 day'`]);
    const [first] = (await evaluate(db, [template('ac-07')])).results;
    if (first?.result.kind !== 'evaluated') throw new Error('ac-07 was not evaluated');
    const [row] = first.result.exceptions.rows;
    expect(row?.[0]).toMatch(/^P\([0-9a-f-]{36}\)$/);
    expect(row?.[4]).toMatch(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$/);
    expect(first.result.exceptions.sha256).toMatch(/^[0-9a-f]{64}$/);
  });

  it('keeps the first hundred exceptions, in one order, and counts and hashes all', async () => {
    await runAll(db.admin, [
      `insert into security_internal.jwt_tokens (user_id, token_hash, issued_at, expires_at)
       select user_id, 'many', '2025-01-01', '2025-01-02' from security_internal.user_sessions, generate_series(1, 1200)`,
    ]);
    const exceptionsOf = async () => {
      const [first] = (await evaluate(db, [template('ac-07')])).results;
      if (first?.result.kind !== 'evaluated') throw new Error('ac-07 was not evaluated');
      return first.result.exceptions;
    };
    const found = await exceptionsOf();
    expect([found.count, found.rows.length]).toEqual([1201, 100]);
    expect(await exceptionsOf()).toEqual(found);
    // The same rows in another physical order.
    await runAll(db.admin, [
      `update security_internal.jwt_tokens set is_active = is_active where id < '80000000-0000-4000-8000-000000000000'`,
    ]);
    expect(await exceptionsOf()).toEqual(found);
    await runAll(db.admin, [`delete from security_internal.jwt_tokens where token_hash = 'many'`]);
  });

  it('makes a control whose SQL fails an error and goes on with the others', async () => {
    const failing = changed(
      'ac-06',
      'exceptions',
      'select 1 / 0 as account, 1 as iterations, null as password_changed',
    );
    expect(statusesOf(await evaluate(db, [failing, template('ac-02')]))).toEqual({
      'ac-06': 'sql_failed 22012',
      'ac-02': 'pass',
    });
  });

  it('makes a control that counts a key twice an error', async () => {
    const doubled = changed(
      'ac-02',
      'population',
      `select a.account_id as case_key from facts.account a where a.status <> 'active'
       union all select a.account_id from facts.account a where a.status <> 'active'`,
    );
    expect(statusesOf(await evaluate(db, [doubled]))).toEqual({ 'ac-02': 'error' });
  });

  const slow =
    'select a.account_id as case_key from facts.account a, ' +
    Array.from({ length: 30 }, (_, index) => `facts.account x${index}`).join(', ');

  it('stops a control at its time limit, as an error, and goes on', async () => {
    const never = changed('ac-02', 'population', slow);
    expect(statusesOf(await evaluate(db, [never, template('ac-12')], { controlTimeLimitMs: 300 }))).toEqual({
      'ac-02': 'time_limit 57014',
      'ac-12': 'pass',
    });
  });

  it('stops it as well where the login is a superuser that has taken on the role', async () => {
    const limits = { controlTimeLimitMs: 300 };
    const never = changed('ac-02', 'population', slow);
    const evaluation = await evaluate(db, [never, template('ac-12')], limits, db.as('auditkeep_report'));
    expect(evaluation.source.role).toBe('auditkeep_report');
    expect(statusesOf(evaluation)).toEqual({ 'ac-02': 'time_limit 57014', 'ac-12': 'pass' });
  });

  it('gives up the report at its own time limit', async () => {
    const never = changed('ac-02', 'population', slow);
    await expect(evaluate(db, [never], { timeLimitMs: 300 })).rejects.toMatchObject({ code: 'REPORT_TIMEOUT' });
  });

  it.each([
    ['another schema', 'select u.id as case_key from facts.account a, security_confidential.users u'],
    ['a column that is not there', 'select a.email as case_key from facts.account a'],
  ])('reads nothing else than the facts: %s is an error', async (_what, sql) => {
    const [first] = (await evaluate(db, [changed('ac-02', 'population', sql)])).results;
    expect(first?.result).toMatchObject({ kind: 'failed', reason: 'sql_failed' });
  });

  it('refuses a plan that reads a catalog, and names it when templates are validated', async () => {
    await runAll(db.admin, [
      'create view facts.leak as select c.relname::text as account_id from pg_catalog.pg_class c',
      'grant select on facts.leak to auditkeep_report',
    ]);
    const leaking = changed('ac-02', 'population', 'select l.account_id as case_key from facts.leak l');
    await expect(evaluate(db, [leaking])).rejects.toMatchObject({ code: 'TEMPLATE_SQL' });
    const ctx = await testContext(db);
    const set = { controls: new Map([['ac-02', leaking]]), frameworks: new Map() };
    await expect(checkTemplates(ctx, set)).rejects.toThrow(/ac-02 population.*pg_catalog/);
  });

  it('validates that columns and keys exist', async () => {
    const ctx = await testContext(db);
    const set = (control: ControlTemplate) => ({ controls: new Map([[control.id, control]]), frameworks: new Map() });
    const wrongKey = { ...template('ac-02'), population: { ...template('ac-02').population, key: 'nothing' } };
    await expect(checkTemplates(ctx, set(wrongKey))).rejects.toMatchObject({ code: 'TEMPLATE_SQL' });
    await checkTemplates(ctx, set(template('ac-02')));
  });

  it('waits for whoever moves partitions', async () => {
    let moved = false;
    const evaluations: Promise<unknown>[] = [];
    await db.engine.withClient((client) =>
      withSessionLock(client, 'structure', 'exclusive', async () => {
        let ended = false;
        const check = () => expect(moved).toBe(true);
        evaluations.push(
          evaluate(db, [template('ac-06')])
            .then(check)
            .finally(() => (ended = true)),
        );
        // Until the report's session has asked for the lock; one that does not wait for it ends.
        const asked = `select from pg_stat_activity where datname = current_database()
          and usename = 'auditkeep_report' and query like '%pg_try_advisory_lock_shared%'`;
        const askers = () => db.admin.withClient((admin) => queryRows(admin, z.object({}), asked));
        while (!ended && (await askers()).length === 0);
        moved = true;
      }),
    );
    await Promise.all(evaluations);
    expect(moved).toBe(true);
  });
});

describe('lg-01', () => {
  const db = useDatabase();
  it('names the link that no checkpoint has covered for a day, until one is large enough', async () => {
    await arrange(db);
    const ctx = await testContext(db);
    const findings = async () => {
      const [first] = (await evaluate(db, [template('lg-01')])).results;
      return first?.result.kind === 'evaluated' ? first.result.exceptions.rows.map((row) => row.slice(0, 2)) : null;
    };
    const addOldEvent = async () => {
      await runAll(db.admin, [
        `insert into audit.audit_log (event_type, event_category, event_action, event_timestamp)
         values ('old', 'system', 'X', now() - interval '2 days')`,
      ]);
      await sealChain(ctx);
    };
    await addOldEvent();
    expect(await findings()).toEqual([['no signed checkpoint covers this link', expect.anything()]]);
    const { size } = await signCheckpoint(ctx);
    expect(await findings()).toEqual([]);
    // The next link is the first one that the checkpoint does not cover.
    await addOldEvent();
    expect(await findings()).toEqual([['no signed checkpoint covers this link', String(size)]]);
    await signCheckpoint(ctx);
    expect(await findings()).toEqual([]);
    await tamper(db.admin, 'update audit.chain_head set size = size + 1');
    expect(statusesOf(await evaluate(db, [template('lg-01')]))).toEqual({ 'lg-01': 'insufficient_data' });
    await tamper(
      db.admin,
      'update audit.chain_head set size = size - 1',
      `delete from audit.audit_log where event_type = 'old'`,
    );
    const gone = 'the event of this link is gone';
    expect((await findings())?.sort()).toEqual([
      [gone, String(size - 1n)],
      [gone, String(size)],
    ]);
  });
});

describe('auditkeep_report', () => {
  const db = useDatabase();
  it.each([
    ['a base table', 'select 1 from security_confidential.users'],
    ['events', 'select 1 from audit.audit_log'],
    ['a report', 'select 1 from audit.compliance_reports'],
    ['wrapped keys', 'select 1 from security_secret.key_wrap'],
    ['making a view', 'create view facts.mine as select 1'],
    ['making a table', 'create table public.mine ()'],
    ['another role', 'set role auditkeep_view'],
    ['changing a fact', 'delete from facts.account'],
  ])('is refused %s', async (_what, sql) => {
    const code: unknown = expect.stringMatching(/DB_PRIVILEGE|42501|55000/);
    await expect(db.report.withClient((client) => client.query(sql))).rejects.toMatchObject({ code });
  });

  it('sees no e-mail address, name, secret or payload in any fact', async () => {
    const columns = await db.admin.withClient((client) =>
      queryRows(
        client,
        z.object({ name: z.string() }),
        `select c.table_name || '.' || c.column_name as name from information_schema.columns c
          where c.table_schema = 'facts' and c.column_name ~ '(email|username|phone|first_name|last_name|hash$|salt|secret|_encrypted|values|payload|address|agent|notes|additional)'
          order by 1`,
      ),
    );
    expect(columns.map((column) => column.name)).toEqual(['chain_head.chain_hash']);
  });
});
