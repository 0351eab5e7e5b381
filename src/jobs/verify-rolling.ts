/** Nightly: a thirtieth of the chain in a secret order, and the sweep for events that were never sealed. */
import { verifyJob } from './verify-job.ts';

export const verifyRollingJob = verifyJob({
  name: 'verify-rolling',
  summary: 'verifies a thirtieth of the audit chain and looks for unsealed events',
  level: 'rolling',
  cron: '50 2 * * *',
  timeLimitSeconds: 4 * 3600,
});
