/** Every minute: what the outbox holds is told in the worker's log, at least once each; ids tell repetitions. */
import { z } from 'zod';
import { inTransaction } from '../db/transaction.ts';
import { countOf } from '../plural.ts';
import { takeNotifications } from '../reports/workflow/notification.ts';
import { defineJob } from './job.ts';

const BATCH = 100;
/** Kinds that somebody should look at now. */
const URGENT: readonly string[] = ['critical-findings', 'deadline-over'];

export const notifyJob = defineJob({
  name: 'notify',
  summary: 'tells in the log what waits for whom; other channels read the outbox themselves',
  schedule: { cron: '* * * * *', timeZone: 'UTC' },
  policy: 'exclusive',
  retryLimit: 5,
  timeLimitSeconds: 300,
  input: z.strictObject({}),
  async run(ctx, _input, signal) {
    let notified = 0;
    for (let taken = BATCH; taken === BATCH && !signal.aborted; notified += taken) {
      taken = await inTransaction(ctx.db, async (client) => {
        const notifications = await takeNotifications(client, 'log', BATCH);
        for (const notification of notifications) {
          const line = { event: 'notification', ...notification };
          if (URGENT.includes(notification.kind)) ctx.log.warn(line);
          else ctx.log.info(line);
        }
        return notifications.length;
      });
    }
    return { summary: countOf(notified, 'notification'), counts: { notified } };
  },
});
