/** What one control asks of the snapshot: its counts, its exceptions, and a sample of its population. */
import type { SqlClient } from '../../db/database.ts';
import { isoOf, type UtcInstant } from '../../time/clock.ts';
import type { ReportPeriod } from '../../time/report-period.ts';
import type { EvidenceSink } from '../evidence/evidence-file.ts';
import type { ControlResult } from '../model/control-model.ts';
import { judgeControl } from '../model/status.ts';
import { countIndependently, countPopulation } from '../model/store.ts';
import { type ControlStatement, parseControlSql } from '../template/control-sql.ts';
import type { ControlPart, ControlTemplate } from '../template/template.ts';
import { readExceptions } from './exceptions.ts';
import { checkPlan } from './plan-check.ts';
import { drawSample } from './sample.ts';
import type { PopulationQuery } from './store-sample.ts';
import { type ActiveWaiver, waiversUsed } from './waiver.ts';

export interface ControlInput {
  readonly period: Pick<ReportPeriod, 'startAt' | 'endAt'>;
  readonly asOf: UtcInstant;
  /** Of all controls. */
  readonly waivers: readonly ActiveWaiver[];
  readonly pseudonymize: (value: string) => string;
  /** Awaited after each batch of exceptions. */
  readonly settle: () => Promise<void>;
  readonly evidence: EvidenceSink;
  readonly seed: string;
}

/** The result but for its sample, which is read again once all controls are through, and what that takes. */
export interface EvaluatedControl {
  readonly result: Omit<Extract<ControlResult, { kind: 'evaluated' }>, 'sample'>;
  readonly query: PopulationQuery;
  readonly drawn: readonly string[];
}

/**
 * Evaluates one control in the caller's transaction.
 * @throws TEMPLATE_SQL when it reads outside the facts, those of readExceptions, and the database's own errors
 */
export async function evaluateControl(
  client: SqlClient,
  template: ControlTemplate,
  input: ControlInput,
): Promise<EvaluatedControl> {
  const population = bind(input, template, 'population', template.population.sql);
  const exceptions = bind(input, template, 'exceptions', template.exceptions.sql);
  const counting = (['completeness', 'prerequisite', 'freshness'] as const).map((part) => {
    const sql = template[part]?.sql;
    return sql === undefined ? null : bind(input, template, part, sql);
  });
  for (const checked of [population, exceptions, ...counting]) {
    if (checked !== null) await checkPlan(client, checked);
  }
  const query = { ...population, key: template.population.key };
  const counted = await countPopulation(client, query);
  const [independent = 0, missing = 0, stale = 0] = await countEach(client, counting);
  const { pseudonymize, settle, evidence } = input;
  const waivers = input.waivers.filter((waiver) => waiver.control === template.id);
  const reading = { template, statement: exceptions, waivers, pseudonymize, settle, evidence, asOf: input.asOf };
  const { covered, ...found } = await readExceptions(client, reading);
  const drawn = await drawSample(client, template, query, input.seed);
  const figures = {
    population: Number(counted.rows),
    distinctKeys: Number(counted.keys),
    independent,
    missing,
    stale,
  };
  const { count, waived } = found;
  const judgement = judgeControl({ ...figures, exceptions: count, waived }, template.population.whenEmpty);
  const used = waiversUsed(waivers, { covered, columns: template.exceptions.columns, pseudonymize });
  return { result: { kind: 'evaluated', judgement, ...figures, exceptions: found, waivers: used }, query, drawn };
}

/** Counts one after the other, since a connection runs one statement at a time; 0 for what is not asked. */
async function countEach(
  client: SqlClient,
  statements: readonly ({ readonly sql: string; readonly values: readonly string[] } | null)[],
): Promise<number[]> {
  const counts: number[] = [];
  for (const statement of statements) {
    counts.push(statement === null ? 0 : Number(await countIndependently(client, statement.sql, statement.values)));
  }
  return counts;
}

function bind(input: ControlInput, template: ControlTemplate, part: ControlPart, sql: string) {
  const label = `${template.id} ${part}`;
  const statement = parseControlSql(sql, label);
  return { label, sql: statement.sql, values: valuesOf(statement, template, input.period, input.asOf) };
}

/** The values of a statement's parameters, as texts that the SQL casts. */
export function valuesOf(
  statement: ControlStatement,
  template: Pick<ControlTemplate, 'parameters'>,
  period: Pick<ReportPeriod, 'startAt' | 'endAt'>,
  asOf: UtcInstant,
): string[] {
  const period_ = { period_start: isoOf(period.startAt), period_end: isoOf(period.endAt), as_of: isoOf(asOf) };
  const values = new Map<string, string>(Object.entries(period_));
  for (const [name, parameter] of Object.entries(template.parameters)) values.set(name, String(parameter.default));
  return statement.parameters.map((name) => values.get(name) ?? '');
}
