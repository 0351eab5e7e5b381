/** Checks the SQL of templates against a database without running it. */
import type { Context } from '../../context.ts';
import { sqlStateOf } from '../../db/errors.ts';
import { inTransaction } from '../../db/transaction.ts';
import { AuditkeepError } from '../../errors.ts';
import { toInstant } from '../../time/clock.ts';
import { countQuery, exceptionsQuery, populationQuery } from '../model/store.ts';
import { parseControlSql } from '../template/control-sql.ts';
import { CONTROL_PARTS, type ControlPart, type ControlTemplate, type TemplateSet } from '../template/template.ts';
import { valuesOf } from './evaluate-control.ts';
import { checkPlan } from './plan-check.ts';

/**
 * Lets the database plan every statement of every control as auditkeep_report, READ ONLY.
 * @throws TEMPLATE_SQL naming the first statement that does not plan or reads outside the facts
 */
export async function checkTemplates(ctx: Pick<Context, 'reportDb' | 'clock'>, set: TemplateSet): Promise<void> {
  for (const control of set.controls.values()) {
    for (const { label, sql, values } of statementsOf(control, ctx.clock.now())) {
      const plan = () =>
        inTransaction(
          ctx.reportDb,
          (client) => checkPlan(client, { label, sql, values }),
          'repeatable read, read only',
        );
      await plan().catch((cause: unknown) => {
        throw isConnectionTrouble(cause) ? cause : notPlanned(label, cause);
      });
    }
  }
}

/** The statements as evaluation sends them, so that a missing key or column is found here. */
function statementsOf(control: ControlTemplate, now: number) {
  const period = { startAt: toInstant(now - 86_400_000), endAt: toInstant(now) };
  return CONTROL_PARTS.flatMap((part) => {
    const text = control[part]?.sql;
    if (text === undefined) return [];
    const label = `${control.id} ${part}`;
    const statement = parseControlSql(text, label);
    return [
      {
        label,
        sql: wrapped(control, part, statement.sql),
        values: valuesOf(statement, control, period, toInstant(now)),
      },
    ];
  });
}

function wrapped(control: ControlTemplate, part: ControlPart, sql: string): string {
  if (part === 'population') return populationQuery(sql, control.population.key);
  return part === 'exceptions' ? exceptionsQuery(sql, control.exceptions.columns) : countQuery(sql);
}

function isConnectionTrouble(error: unknown): boolean {
  if (error instanceof AuditkeepError) return error.code !== 'DB_PRIVILEGE';
  return sqlStateOf(error) === null;
}

function notPlanned(label: string, cause: unknown): AuditkeepError {
  const why = cause instanceof Error ? (cause.message.split('\n')[0] ?? '') : String(cause);
  return new AuditkeepError('TEMPLATE_SQL', {
    message: `the database does not plan the SQL of ${label}: ${why}`,
    hint: 'src/reports/README.md lists the fact views and their columns',
    cause,
  });
}
