/** Each ten minutes: what was signed since the last verification. */
import { verifyJob } from './verify-job.ts';

export const verifyIncrementalJob = verifyJob({
  name: 'verify-incremental',
  summary: 'verifies the audit events that were signed since the last verification',
  level: 'incremental',
  cron: '*/10 * * * *',
  timeLimitSeconds: 3600,
});
