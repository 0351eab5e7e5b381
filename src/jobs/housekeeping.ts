/** Daily: what ended by itself is removed or marked, and restored copies whose time is over are dropped. */
import { z } from 'zod';
import { countOf } from '../plural.ts';
import { keepHouse } from '../retention/housekeeping.ts';
import { expireCopies } from '../retention/restore.ts';
import { defineJob } from './job.ts';

export const housekeepingJob = defineJob({
  name: 'housekeeping',
  summary:
    'removes ended tokens, sessions and rate-limit windows; marks expired grants and attestations; drops expired copies',
  schedule: { cron: '20 1 * * *', timeZone: 'UTC' },
  policy: 'exclusive',
  retryLimit: 3,
  timeLimitSeconds: 3600,
  input: z.strictObject({}),
  async run(ctx, _input, signal) {
    const done = await keepHouse(ctx, { signal });
    const total = Object.values(done).reduce((sum, rows) => sum + rows, 0);
    const copies = await expireCopies(ctx, { signal });
    const dropped = copies === 0 ? '' : `, ${countOf(copies, 'restored copy', 'restored copies')} dropped`;
    return {
      summary: `${countOf(total, 'row')} removed or marked${dropped}`,
      counts: { ...done, restored_copies: copies },
    };
  },
});
