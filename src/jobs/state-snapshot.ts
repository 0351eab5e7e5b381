/** Daily: what the tables hold that say who may do what, so that a change which was not logged shows. */
import { z } from 'zod';
import { countOf } from '../plural.ts';
import { takeStateSnapshot } from '../reports/evaluate/state-snapshot.ts';
import { defineJob } from './job.ts';

export const stateSnapshotJob = defineJob({
  name: 'state-snapshot',
  summary: 'takes the daily snapshot of users, roles, keys and configuration, and counts changes that no log explains',
  schedule: { cron: '20 0 * * *', timeZone: 'UTC' },
  policy: 'exclusive',
  retryLimit: 5,
  timeLimitSeconds: 1800,
  input: z.strictObject({}),
  async run(ctx) {
    const { tables, differences, unlogged } = await takeStateSnapshot(ctx);
    return {
      summary: `${countOf(tables, 'table')}, ${countOf(differences, 'row')} changed, ${unlogged} of them without a log`,
      counts: { tables, differences, unlogged },
      findings: unlogged > 0,
    };
  },
});
