/** Every hour: whoever has to submit, review or approve a report is told when the deadline is near and when it is over, once each. */
import { z } from 'zod';
import { inTransaction } from '../db/transaction.ts';
import { countOf } from '../plural.ts';
import { listReports } from '../reports/model/read.ts';
import { readDeadlines } from '../reports/workflow/deadline.ts';
import { notifyDeadline } from '../reports/workflow/notification.ts';
import { defineJob } from './job.ts';

export const watchDeadlinesJob = defineJob({
  name: 'watch-deadlines',
  summary: 'tells who has to submit, review or approve a report that the time is nearly or wholly over',
  schedule: { cron: '35 * * * *', timeZone: 'UTC' },
  policy: 'exclusive',
  retryLimit: 3,
  timeLimitSeconds: 600,
  input: z.strictObject({}),
  async run(ctx) {
    const now = ctx.clock.now();
    const deadlines = await readDeadlines(await listReports(ctx), now);
    const over = [...deadlines.values()].filter(({ state }) => state === 'over').length;
    const told = await inTransaction(ctx.db, async (client) => {
      let fresh = 0;
      for (const [reportId, deadline] of deadlines) {
        if (await notifyDeadline(client, now, { reportId, ...deadline })) fresh += 1;
      }
      return fresh;
    });
    return {
      summary: `${countOf(deadlines.size, 'report')} waiting, ${over} overdue, ${countOf(told, 'notification')}`,
      counts: { waiting: deadlines.size, overdue: over, told },
    };
  },
});
