/** What scheduled reports need to know: which frameworks are reported how often, what is there already, what must be waited for. */
import { z } from 'zod';
import type { Config } from '../../config.ts';
import type { SqlClient } from '../../db/database.ts';
import { queryOne } from '../../db/query.ts';
import { AuditkeepError } from '../../errors.ts';
import type { Frequency } from '../../time/report-period.ts';
import { loadTemplates } from '../template/template.ts';

/**
 * The ids of the frameworks that are reported with a frequency, as auditkeep.yaml says (`reports.frequencies`), or else
 * their templates. @throws CONFIG_INVALID for a framework that does not exist, TEMPLATE_INVALID
 */
export async function frameworksReported(
  { reports }: Pick<Config, 'reports'>,
  frequency: Frequency,
): Promise<string[]> {
  const { frameworks } = await loadTemplates();
  const unknown = Object.keys(reports.frequencies).find((id) => !frameworks.has(id));
  if (unknown !== undefined) {
    throw new AuditkeepError('CONFIG_INVALID', {
      message: `reports.frequencies: there is no framework '${unknown}'`,
      hint: `name some of: ${[...frameworks.keys()].join(', ')}`,
    });
  }
  return [...frameworks.values()]
    .filter(({ id, workflow }) => (reports.frequencies[id] ?? workflow?.frequencies ?? []).includes(frequency))
    .map(({ id }) => id);
}

const shape = z.object({ found: z.boolean() });

/** Whether a report of a framework and a period is there that is not an interim one, whoever made it and whatever became of it. */
export async function isReported(
  client: SqlClient,
  report: { readonly framework: string; readonly startDate: string; readonly endDate: string },
): Promise<boolean> {
  const row = await queryOne(
    client,
    shape,
    `select exists (select from audit.compliance_reports r
                     where r.compliance_framework = $1::text and r.report_period_start = $2::date
                       and r.report_period_end = $3::date and not r.interim) as found`,
    [report.framework, report.startDate, report.endDate],
  );
  return row.found;
}

/**
 * Whether an event of [startAt, endAt), in ISO 8601, is visible and not in the chain yet: reads only what came in since the
 * last sealing.
 */
export async function hasUnsealedEvents(
  client: SqlClient,
  period: { readonly startAt: string; readonly endAt: string },
): Promise<boolean> {
  const row = await queryOne(
    client,
    shape,
    `select exists (
       select from audit.chain_head h
         join audit.audit_log_all e
           on e.event_timestamp >= $1::timestamptz and e.event_timestamp < $2::timestamptz
          and e.txid >= coalesce(pg_catalog.pg_snapshot_xmin(h.snapshot)::text::bigint, 0)
          and (h.snapshot is null or not pg_catalog.pg_visible_in_snapshot(e.txid::text::xid8, h.snapshot))) as found`,
    [period.startAt, period.endAt],
  );
  return row.found;
}
