/** What earlier reports of a framework counted, for the chart of the last six periods. */
import type { Context } from '../../context.ts';
import { AuditkeepError } from '../../errors.ts';
import type { ReportModel, TrendEntry } from '../model/model.ts';
import { readReport } from '../model/read.ts';
import { listReportRows, type ReportRow } from '../model/store.ts';

const EARLIER_PERIODS = 5;
/** Months have 28 to 31 days: periods are alike when the longer is at most this much longer. */
const ALIKE = 1.15;
const DAY_MS = 86_400_000;

type Period = Pick<ReportModel['period'], 'startDate' | 'endDate'>;

/**
 * One report over each of the last periods of this length that ended before this one began, the oldest first: an approved
 * one where there is one, else the newest version. A report that cannot be read (its model is of another release, its key is gone)
 * is left out: that is a finding elsewhere, and no reason to make no report.
 */
export async function readTrend(
  ctx: Pick<Context, 'db' | 'keys'>,
  framework: string,
  period: Period,
): Promise<TrendEntry[]> {
  const rows = await ctx.db.withClient(listReportRows);
  const entries: TrendEntry[] = [];
  for (const row of chooseEarlier(rows, framework, period)) {
    if (entries.length === EARLIER_PERIODS) break;
    const model = await readModelOrNull(ctx, row.id);
    if (model === null) continue;
    const { startDate, endDate } = model.period;
    const { id: reportId, hash: reportHash, status } = row;
    entries.push({ reportId, reportHash, status, startDate, endDate, statusCounts: model.statusCounts });
  }
  return entries.reverse();
}

async function readModelOrNull(ctx: Pick<Context, 'db' | 'keys'>, id: string): Promise<ReportModel | null> {
  try {
    return (await readReport(ctx, id)).model;
  } catch (error) {
    if (error instanceof AuditkeepError) return null;
    throw error;
  }
}

/** The rows to compare with, the latest period first. Of rows that are the newest first. Pure. */
export function chooseEarlier(rows: readonly ReportRow[], framework: string, period: Period): ReportRow[] {
  const chosen = new Map<string, ReportRow>();
  const days = daysOf(period);
  for (const row of rows) {
    if (row.framework !== framework || row.interim || row.periodEnd >= period.startDate) continue;
    const others = daysOf({ startDate: row.periodStart, endDate: row.periodEnd });
    if (Math.max(days, others) / Math.min(days, others) > ALIKE) continue;
    const key = `${row.periodEnd} ${row.periodStart}`;
    const known = chosen.get(key);
    if (known === undefined || rankOf(row) < rankOf(known)) chosen.set(key, row);
  }
  return [...chosen].sort(([a], [b]) => (a < b ? 1 : -1)).map(([, row]) => row);
}

/** Approved, else not superseded, else the newest. */
function rankOf({ status, superseded }: ReportRow): number {
  if (status === 'approved') return 0;
  return superseded ? 2 : 1;
}

/** Days of a period, both counted. */
function daysOf({ startDate, endDate }: Period): number {
  return (Date.parse(`${endDate}T00:00:00Z`) - Date.parse(`${startDate}T00:00:00Z`)) / DAY_MS + 1;
}
