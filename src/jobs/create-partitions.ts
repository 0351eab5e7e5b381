/** Daily: every partitioned table reaches its premake horizon; a year without runs is made up for in one. */
import { z } from 'zod';
import { countOf } from '../plural.ts';
import { raiseHorizonAlarm } from '../retention/horizon.ts';
import { applyPartitions } from '../retention/partition.ts';
import { defineJob } from './job.ts';

export const createPartitionsJob = defineJob({
  name: 'create-partitions',
  summary: 'makes the partitions that the coming months and days need',
  schedule: { cron: '10 0 * * *', timeZone: 'UTC' },
  policy: 'exclusive',
  retryLimit: 5,
  timeLimitSeconds: 1800,
  input: z.strictObject({}),
  async run(ctx) {
    try {
      const { created, adopted, repaired, blocked } = await applyPartitions(ctx);
      const short = await raiseHorizonAlarm(ctx);
      const trouble = [
        ...(blocked > 0 ? [`${countOf(blocked, 'partition')} to look at (auditkeep partition plan)`] : []),
        ...short.map(({ branch }) => `${branch} ends within a step`),
      ];
      return {
        summary: [`${countOf(created, 'partition')} created, ${adopted} adopted`, ...trouble].join('; '),
        counts: { created, adopted, repaired, blocked, short: short.length },
        findings: trouble.length > 0,
      };
    } catch (error) {
      // What stopped the run is what makes a horizon short. That the alarm fails too is less than the first error.
      await raiseHorizonAlarm(ctx).catch(() => null);
      throw error;
    }
  },
});
