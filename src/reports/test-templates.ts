/**
 * Runs the fixtures of controls on a real database: the base, then each case from it, all in one transaction that is rolled
 * back. What a case does not declare must not change.
 */
import type { Database, SqlClient } from '../db/database.ts';
import { execute } from '../db/query.ts';
import { AuditkeepError } from '../errors.ts';
import { parseInstant, toInstant, type UtcInstant } from '../time/clock.ts';
import { parseControlSql } from './control-sql.ts';
import { valuesOf } from './evaluate-control.ts';
import type { Fixtures } from './fixture.ts';
import { actAs, applyChange, readStart, silenceTriggers } from './fixture-store.ts';
import { type ControlStatus, judgeControl } from './status.ts';
import { countFigures, exceptionsQuery, populationQuery } from './store.ts';
import type { ControlPart, ControlTemplate, TemplateSet } from './template.ts';

/** What one case did: the statuses that it changed, and how that differs from what it declares. */
export interface CaseResult {
  readonly control: string;
  readonly name: string;
  readonly problems: readonly string[];
}

type Statuses = ReadonlyMap<string, ControlStatus>;

/**
 * Runs all fixtures as a login that may act as auditkeep_owner and auditkeep_report (a superuser). The first result is
 * that of the base, on which every control passes.
 * @throws TEMPLATE_TEST_DATABASE when the database is in use
 */
export async function testTemplates(db: Database, set: TemplateSet, fixtures: Fixtures): Promise<CaseResult[]> {
  return db.withClient(async (client) => {
    await execute(client, 'begin isolation level repeatable read');
    try {
      await execute(client, 'set local plan_cache_mode = force_generic_plan');
      const { now, used } = await readStart(client);
      if (used > 0n) throw inUse();
      await actAs(client, 'auditkeep_owner');
      await silenceTriggers(client, tablesOf(fixtures));
      await applyChange(client, fixtures.base);
      const asOf = toInstant((parseInstant(now) ?? 0) + 1000);
      return await runCases(client, { set, fixtures, asOf });
    } finally {
      await execute(client, 'rollback').catch(() => null); // the first error is the one to tell
    }
  });
}

async function runCases(
  client: SqlClient,
  run: { readonly set: TemplateSet; readonly fixtures: Fixtures; readonly asOf: UtcInstant },
): Promise<CaseResult[]> {
  const controls = [...run.set.controls.values()];
  const base = await judgeAll(client, controls, run.asOf);
  const failed = [...base].filter(([, status]) => status !== 'pass');
  const results: CaseResult[] = [
    { control: 'base', name: 'every control passes', problems: failed.map(([id, status]) => `${id} is ${status}`) },
  ];
  for (const { control, name, changes, ...change } of run.fixtures.cases) {
    await execute(client, 'savepoint fixture');
    await actAs(client, 'auditkeep_owner');
    await applyChange(client, change);
    const after = await judgeAll(client, controls, run.asOf);
    await execute(client, 'rollback to savepoint fixture');
    const expected: Statuses = new Map([...base, ...Object.entries(changes)]);
    results.push({ control, name, problems: differencesOf(expected, after) });
  }
  return results;
}

function differencesOf(expected: Statuses, found: Statuses): string[] {
  return [...expected].flatMap(([id, status]) => {
    const other = found.get(id);
    return other === status ? [] : [`${id} is ${other ?? 'not there'}, not ${status}`];
  });
}

async function judgeAll(client: SqlClient, controls: readonly ControlTemplate[], asOf: UtcInstant): Promise<Statuses> {
  await actAs(client, 'auditkeep_report');
  const statuses = new Map<string, ControlStatus>();
  for (const control of controls) statuses.set(control.id, await judge(client, control, asOf));
  return statuses;
}

const DAY_MS = 86_400_000;

/** As evaluation judges it, in one statement, without the checks that the same templates have passed already. */
async function judge(client: SqlClient, control: ControlTemplate, asOf: UtcInstant): Promise<ControlStatus> {
  // The last ten days and today.
  const today = asOf - (asOf % DAY_MS);
  const period = { startAt: toInstant(today - 10 * DAY_MS), endAt: toInstant(today + DAY_MS) };
  const values: string[] = [];
  const bind = (part: ControlPart, text: string) => {
    const statement = parseControlSql(text, `${control.id} ${part}`, values.length);
    values.push(...valuesOf(statement, control, period, asOf));
    return statement.sql;
  };
  const optional = (part: 'prerequisite' | 'freshness') => {
    const text = control[part]?.sql;
    return text === undefined ? null : bind(part, text);
  };
  const parts = {
    population: populationQuery(bind('population', control.population.sql), control.population.key),
    exceptions: exceptionsQuery(bind('exceptions', control.exceptions.sql), control.exceptions.columns),
    completeness: bind('completeness', control.completeness.sql),
    prerequisite: optional('prerequisite'),
    freshness: optional('freshness'),
  };
  const counted = await countFigures(client, parts, values);
  const figures = {
    population: Number(counted.rows),
    distinctKeys: Number(counted.keys),
    exceptions: Number(counted.exceptions),
    waived: 0,
    independent: Number(counted.independent),
    missing: Number(counted.missing),
    stale: Number(counted.stale),
  };
  return judgeControl(figures, control.population.whenEmpty).status;
}

function tablesOf({ base, cases }: Fixtures): ReadonlySet<string> {
  const changes = [base, ...cases];
  return new Set(
    changes.flatMap(({ empty, rows, set }) => [
      ...(empty ?? []),
      ...Object.keys(rows ?? {}),
      ...Object.keys(set ?? {}),
    ]),
  );
}

function inUse(): AuditkeepError {
  return new AuditkeepError('TEMPLATE_TEST_DATABASE', {
    message: 'the fixtures of templates run in a database that nobody uses, and this one holds data',
    hint: 'run `auditkeep template test` without a database of your own: it makes one and removes it',
  });
}
