/** Notes every instant at which schedules were due, also those at which no worker ran (migration 0136). */
import type { SqlClient } from '../db/database.ts';
import { parseInstant, type UtcInstant } from '../time/clock.ts';
import { type CronSchedule, nextDue } from './cron.ts';
import { listUnnoted, noteDue } from './store.ts';

/** Most instants of one job that a pass notes; a schedule by the minute takes three passes for a week. */
const MOST = 4000;

/** The instants of a schedule after one and not after another, oldest first. Pure. @throws INPUT_INVALID */
export function dueBetween(schedule: CronSchedule, after: UtcInstant, until: UtcInstant): UtcInstant[] {
  const due: UtcInstant[] = [];
  for (let at = nextDue(schedule, after); at <= until && due.length < MOST; at = nextDue(schedule, at)) due.push(at);
  return due;
}

/** Notes what was due of the given jobs since it was last noted, or since their schedules came into force. */
export async function noteDueRuns(client: SqlClient, names: readonly string[], now: UtcInstant): Promise<void> {
  for (const { after, ...schedule } of await listUnnoted(client)) {
    const since = parseInstant(after);
    if (since === null || !names.includes(schedule.job)) continue;
    const due = dueBetween(schedule, since, now);
    if (due.length > 0) await noteDue(client, { job: schedule.job, version: schedule.version, due });
  }
}
