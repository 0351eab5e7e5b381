/** Daily: every partitioned table reaches its premake horizon; a year without runs is made up for in one. */
import { z } from 'zod';
import { countOf } from '../plural.ts';
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
    const applied = await applyPartitions(ctx);
    return {
      summary: `${countOf(applied.created, 'partition')} created, ${applied.adopted} adopted`,
      counts: { created: applied.created, adopted: applied.adopted },
    };
  },
});
