/** Daily: units older than their table's hot period are sealed and moved to the archive. */
import { z } from 'zod';
import { AuditkeepError } from '../errors.ts';
import { countOf } from '../plural.ts';
import { type ArchivalRun, runArchival } from '../retention/archival.ts';
import { overdue } from '../retention/archive.ts';
import { runRequested } from '../retention/archive-request.ts';
import { FAMILIES } from '../retention/policy.ts';
import { parseInstant } from '../time/clock.ts';
import { defineJob } from './job.ts';

export const archiveJob = defineJob({
  name: 'archive',
  summary: 'moves partitions that are past their hot period to the archive',
  schedule: { cron: '40 0 * * *', timeZone: 'UTC' },
  policy: 'exclusive',
  retryLimit: 5,
  timeLimitSeconds: 4 * 3600,
  input: z.strictObject({
    table: z.enum(FAMILIES).optional(),
    /** ISO 8601 with a zone; units that end by then leave, whatever the policy's age. */
    before: z
      .string()
      .transform((text, check) => {
        const instant = parseInstant(text);
        if (instant === null) check.addIssue({ code: 'custom', message: 'not an instant in ISO 8601' });
        return instant ?? z.NEVER;
      })
      .optional(),
    reason: z.string().min(1).optional(),
  }),
  async run(ctx, input, signal) {
    const asked = { ...input, reason: input.reason ?? 'past the hot period of its policy', signal };
    const requested = await runRequested(ctx, { signal });
    const daily = await runArchival(ctx, asked);
    const run = {
      ...daily,
      units: [...requested.flatMap(({ units }) => units), ...daily.units],
      late: [...requested.flatMap(({ late }) => late), ...daily.late],
    };
    const counts = countOutcomes(run);
    const outcomes = [...run.units, ...run.late].map(({ outcome }) => outcome);
    const failed = outcomes.flatMap((outcome) => (outcome.kind === 'failed' ? [outcome.error] : []));
    if (failed.length > 0) {
      throw new AuditkeepError('RETENTION_FAILED', {
        message: `${failed.length} of ${outcomes.length} units could not be archived`,
        hint: 'auditkeep archive run --dry-run lists them; the next run tries again',
        details: counts,
        cause: failed[0],
      });
    }
    const waiting = overdue(run, ctx.clock.now());
    if (waiting.length > 0) {
      throw new AuditkeepError('RETENTION_FAILED', {
        message: `${waiting.length} of ${run.units.length} units are overdue by more than a week, and still postponed`,
        hint: 'auditkeep archive run says what stands in the way; auditkeep status shows the sealer and held locks',
        details: { ...counts, overdue: waiting.length },
      });
    }
    return {
      summary: `${countOf(counts.archived, 'unit')} (${countOf(counts.rows, 'row')}) archived, ${counts.postponed} postponed`,
      counts,
    };
  },
});

function countOutcomes(run: ArchivalRun) {
  const lateRows = run.late.reduce((sum, { outcome }) => sum + (outcome.kind === 'collected' ? outcome.rows : 0), 0);
  const counts = { archived: 0, postponed: 0, failed: 0, rows: 0, late: lateRows };
  for (const { outcome } of run.units) {
    counts[outcome.kind] += 1;
    if (outcome.kind === 'archived') counts.rows += outcome.rows;
  }
  return counts;
}
