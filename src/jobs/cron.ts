/** Cron expressions: the last and the next instant of a schedule. Pure. */
import { CronExpressionParser } from 'cron-parser';
import { AuditkeepError } from '../errors.ts';
import { toInstant, type UtcInstant } from '../time/clock.ts';

export interface CronSchedule {
  /** Five fields: minute, hour, day of month, month, day of week. */
  readonly cron: string;
  /** IANA name; across a change of daylight saving time a skipped local time runs at the next one that exists. */
  readonly timeZone: string;
}

/** The newest instant of the schedule that is not after `now`. @throws INPUT_INVALID */
export function lastDue(schedule: CronSchedule, now: UtcInstant): UtcInstant {
  // prev() is strictly before its start: an instant that is exactly now is due.
  return toInstant(
    parse(schedule, now + 1)
      .prev()
      .getTime(),
  );
}

/** The first instant of the schedule after `now`. @throws INPUT_INVALID */
export function nextDue(schedule: CronSchedule, now: UtcInstant): UtcInstant {
  return toInstant(parse(schedule, now).next().getTime());
}

/** @throws INPUT_INVALID for anything but five valid fields and a known zone */
export function checkSchedule(schedule: CronSchedule, now: UtcInstant): void {
  nextDue(schedule, now);
}

function parse(schedule: CronSchedule, from: number) {
  if (!isZone(schedule.timeZone)) throw notASchedule(schedule, 'there is no such time zone');
  try {
    // cron-parser also takes six fields, with seconds; a schedule by the second is a mistake here.
    if (schedule.cron.trim().split(/\s+/).length !== 5) throw new Error('a schedule has five fields');
    return CronExpressionParser.parse(schedule.cron, { currentDate: new Date(from), tz: schedule.timeZone });
  } catch (cause) {
    throw notASchedule(schedule, cause instanceof Error ? cause.message : '', cause);
  }
}

function isZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).resolvedOptions().timeZone !== '';
  } catch {
    return false; // RangeError: the name is not in the IANA database
  }
}

function notASchedule({ cron, timeZone }: CronSchedule, why: string, cause?: unknown): AuditkeepError {
  return new AuditkeepError('INPUT_INVALID', {
    message: `not a schedule: ${cron} in ${timeZone}: ${why}`,
    hint: 'use five cron fields and an IANA time zone, for example "0 3 * * *" in Europe/Paris',
    cause,
  });
}
