/** Daily: plans of destruction that have begun go on, from quarantine to the certificate. It begins none by itself. */
import { z } from 'zod';
import { AuditkeepError } from '../errors.ts';
import { countOf } from '../plural.ts';
import { readUnfinished, runPurge } from '../retention/purge-run.ts';
import { defineJob } from './job.ts';

export const purgeJob = defineJob({
  name: 'purge',
  summary: 'goes on with approved plans of destruction that have begun',
  schedule: { cron: '20 2 * * *', timeZone: 'UTC' },
  policy: 'exclusive',
  retryLimit: 5,
  timeLimitSeconds: 4 * 3600,
  input: z.strictObject({}),
  async run(ctx, _input, signal) {
    const counts = { purged: 0, waiting: 0, held: 0, failed: 0 };
    let failure: unknown = null;
    for (const plan of await readUnfinished(ctx)) {
      const run = await runPurge(ctx, { plan: plan.plan_id, reason: 'goes on with its plan', signal });
      for (const { outcome } of run.units) {
        counts[outcome.kind] += 1;
        if (outcome.kind === 'failed') failure ??= outcome.error;
      }
    }
    if (counts.failed > 0) {
      throw new AuditkeepError('RETENTION_FAILED', {
        message: `${countOf(counts.failed, 'unit')} could not be destroyed`,
        hint: 'auditkeep purge list shows the plans; the next run tries again',
        details: counts,
        cause: failure,
      });
    }
    return {
      summary: `${countOf(counts.purged, 'unit')} purged, ${counts.waiting} waiting, ${counts.held} held`,
      counts,
    };
  },
});
