/**
 * Reports by schedule: of the month, the quarter or the fiscal year that ended before a run was due, for every framework
 * that is reported that often. A run begins when the grace after the period is over and its events are sealed; after
 * downtime one run makes the reports of all periods that were missed (docs/decisions/0213).
 */
import { z } from 'zod';
import type { Context } from '../context.ts';
import { withFreeLock } from '../db/advisory-lock.ts';
import { AuditkeepError } from '../errors.ts';
import { countOf } from '../plural.ts';
import { generateReport } from '../reports/generate/generate.ts';
import { frameworksReported, hasUnsealedEvents, isReported } from '../reports/generate/scheduled.ts';
import { isoOf, parseInstant } from '../time/clock.ts';
import { type Frequency, lastEnded, parseReportPeriod } from '../time/report-period.ts';
import { type AnyJob, defineJob, type JobOutcome } from './job.ts';
import { listOutstanding } from './store.ts';

/** `dueAt`: the instant at which the run was due, ISO 8601; without it the period that ended last is reported. */
const input = z.strictObject({
  dueAt: z
    .string()
    .refine((text) => parseInstant(text) !== null, 'an instant')
    .optional(),
});

export const reportMonthlyJob = scheduledReportJob('monthly', '0 5 2 * *');
export const reportQuarterlyJob = scheduledReportJob('quarterly', '0 5 2 1,4,7,10 *');
export const reportYearlyJob = scheduledReportJob('yearly', '0 5 2 1 *');

function scheduledReportJob(frequency: Frequency, cron: string): AnyJob {
  const name = `report-${frequency}`;
  return defineJob({
    name,
    summary: `generates the ${frequency} reports of the frameworks, as drafts of the service`,
    schedule: { cron, timeZone: 'UTC', paused: true },
    policy: 'exclusive',
    retryLimit: 5,
    timeLimitSeconds: 6 * 3600,
    input,
    dueInput: (dueAt) => ({ dueAt: isoOf(dueAt) }),
    async waitsFor(ctx, dueAt) {
      const text = lastEnded(frequency, dueAt, ctx.config.reports.fiscalYearStart);
      const { startAt, endAt, interim } = parseReportPeriod(text, { ...optionsOf(ctx), interim: true });
      if (interim) return 'the 24 hours after the period are not over';
      const period = { startAt: isoOf(startAt), endAt: isoOf(endAt) };
      const isUnsealed = await ctx.db.withClient((client) => hasUnsealedEvents(client, period));
      return isUnsealed ? 'events of the period are not sealed yet' : null;
    },
    async run(ctx, { dueAt }, signal) {
      const outcome = await ctx.db.withClient((client) =>
        withFreeLock(client, 'reports', 'exclusive', () => makeReports(ctx, { name, frequency, dueAt, signal })),
      );
      return outcome ?? { summary: 'another run makes reports', counts: { made: 0 } };
    },
  });
}

interface ReportRun {
  readonly name: string;
  readonly frequency: Frequency;
  readonly dueAt: string | undefined;
  readonly signal: AbortSignal;
}

/** Makes what is missing, oldest period first. A framework that fails does not stop the others; its error is told at the end. */
async function makeReports(ctx: Context, { name, frequency, dueAt, signal }: ReportRun): Promise<JobOutcome> {
  // A scheduled report is nobody's own, whatever person the worker is configured to act as.
  const service: Context = { ...ctx, actor: { kind: 'service', name } };
  const counts = { made: 0, present: 0, findings: 0 };
  const made: string[] = [];
  const failed: AuditkeepError[] = [];
  for (const period of await periodsOf(ctx, name, frequency, dueAt)) {
    for (const framework of await frameworksReported(ctx.config, frequency)) {
      if (signal.aborted) return { summary: `stopped after ${countOf(counts.made, 'report')}`, counts };
      const { startDate, endDate } = parseReportPeriod(period, optionsOf(ctx));
      if (await ctx.db.withClient((client) => isReported(client, { framework, startDate, endDate }))) {
        counts.present += 1;
        continue;
      }
      try {
        const { model } = await generateReport(service, { framework, period });
        counts.made += 1;
        counts.findings += model.statusCounts.fail + model.statusCounts.error;
        made.push(`${framework} ${period}`);
      } catch (error) {
        if (!(error instanceof AuditkeepError)) throw error;
        failed.push(error);
      }
    }
  }
  const [first] = failed;
  if (first !== undefined) throw first;
  const summary = `${countOf(counts.made, 'report')}${made.length === 0 ? '' : `: ${made.join(', ')}`}; ${counts.present} there already`;
  return { summary, counts, findings: counts.findings > 0 };
}

/** The periods of every due instant that no run took care of, each once, oldest first. */
async function periodsOf(
  ctx: Context,
  name: string,
  frequency: Frequency,
  dueAt: string | undefined,
): Promise<string[]> {
  const due = dueAt === undefined ? null : parseInstant(dueAt);
  const missed = due === null ? [] : await ctx.db.withClient((client) => listOutstanding(client, name, due));
  const instants = missed.map(parseInstant).filter((instant) => instant !== null);
  const { fiscalYearStart } = ctx.config.reports;
  const periods = [...instants, due ?? ctx.clock.now()].map((at) => lastEnded(frequency, at, fiscalYearStart));
  return [...new Set(periods)];
}

function optionsOf({ clock, config }: Pick<Context, 'clock' | 'config'>) {
  return { now: clock.now(), fiscalYearStart: config.reports.fiscalYearStart };
}
