/** What the registry promises: which job runs when, and which level is verified when. */
import { describe, expect, test } from 'vitest';
import { VERIFY_LEVELS } from '../../src/audit/links/finding.ts';
import { findJob, JOBS } from '../../src/jobs/registry.ts';

/** Job, level and cron: the guarantees of docs/design on how long tampering may go unseen rest on these. */
const VERIFICATIONS = [
  ['verify-head', 'head', '* * * * *'],
  ['verify-incremental', 'incremental', '*/10 * * * *'],
  ['verify-rolling', 'rolling', '50 2 * * *'],
  ['verify-chain', 'full', '20 2 * * 0'],
] as const;

test('every job runs when the release says: none loses its schedule unnoticed', () => {
  const schedules = JOBS.map(({ name, schedule }) => [
    name,
    schedule && `${schedule.cron} ${schedule.timeZone}${schedule.paused ? ' paused' : ''}`,
  ]);
  expect(Object.fromEntries(schedules)).toEqual({
    'create-partitions': '10 0 * * * UTC',
    'state-snapshot': '20 0 * * * UTC',
    archive: '40 0 * * * UTC',
    housekeeping: '20 1 * * * UTC',
    'check-sealed-data': '50 1 * * * UTC',
    anonymize: '20 2 * * * UTC',
    purge: '20 2 * * * UTC',
    'seal-chain': '* * * * * UTC',
    notify: '* * * * * UTC',
    'watch-deadlines': '35 * * * * UTC',
    'generate-report': null,
    'report-monthly': '0 5 2 * * UTC paused',
    'report-quarterly': '0 5 2 1,4,7,10 * UTC paused',
    'report-yearly': '0 5 2 1 * UTC paused',
    ...Object.fromEntries(VERIFICATIONS.map(([name, , cron]) => [name, `${cron} UTC`])),
  });
});

describe('verification', () => {
  test('has a job for every level', () => {
    expect(VERIFICATIONS.map(([, level]) => level).sort()).toEqual([...VERIFY_LEVELS].sort());
  });

  test.each(VERIFICATIONS)('%s verifies %s at %s UTC, and nothing else', (name, level, cron) => {
    const job = findJob(name);
    expect(job.schedule).toEqual({ cron, timeZone: 'UTC' });
    expect(job.policy).toBe('exclusive');
    expect(job.input.parse({})).toEqual({ level });
    for (const other of VERIFY_LEVELS) expect(job.input.safeParse({ level: other }).success).toBe(other === level);
  });
});
