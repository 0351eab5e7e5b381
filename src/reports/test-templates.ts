/**
 * Runs the fixtures of controls on a real database: the base, then each case from it, all in one transaction that is rolled
 * back. What a case does not declare must not change.
 */
import type { Database, SqlClient } from '../db/database.ts';
import { execute } from '../db/query.ts';
import { AuditkeepError } from '../errors.ts';
import { parseInstant, toInstant, type UtcInstant } from '../time/clock.ts';
import { parseControlSql } from './control-sql.ts';
import { valuesOf } from './evaluate.ts';
import type { Fixtures } from './fixture.ts';
import { actAs, applyChange, readStart, silenceTriggers } from './fixture-store.ts';
import { type ControlStatus, judgeControl } from './status.ts';
import { countExceptions, countIndependently, countPopulation } from './store.ts';
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

/** As evaluation judges it, without the checks that the same templates have passed already. */
async function judge(client: SqlClient, control: ControlTemplate, asOf: UtcInstant): Promise<ControlStatus> {
  // The last ten days and today.
  const today = asOf - (asOf % DAY_MS);
  const period = { startAt: toInstant(today - 10 * DAY_MS), endAt: toInstant(today + DAY_MS) };
  const bind = (part: ControlPart, text: string) => {
    const statement = parseControlSql(text, `${control.id} ${part}`);
    return { sql: statement.sql, values: valuesOf(statement, control, period, asOf) };
  };
  const count = async (part: 'completeness' | 'prerequisite' | 'freshness') => {
    const text = control[part]?.sql;
    if (text === undefined) return 0;
    const { sql, values } = bind(part, text);
    return Number(await countIndependently(client, sql, values));
  };
  const population = bind('population', control.population.sql);
  const counted = await countPopulation(client, { ...population, key: control.population.key });
  const exceptions = await countExceptions(client, {
    ...bind('exceptions', control.exceptions.sql),
    columns: control.exceptions.columns,
  });
  const figures = {
    population: Number(counted.rows),
    distinctKeys: Number(counted.keys),
    exceptions: Number(exceptions),
    waived: 0,
    independent: await count('completeness'),
    missing: await count('prerequisite'),
    stale: await count('freshness'),
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
