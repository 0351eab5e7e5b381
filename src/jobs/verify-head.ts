/** Each minute: the end of the chain against what was signed. */
import { verifyJob } from './verify-job.ts';

export const verifyHeadJob = verifyJob({
  name: 'verify-head',
  summary: 'verifies that the head of the audit chain is what was signed',
  level: 'head',
  cron: '* * * * *',
  timeLimitSeconds: 300,
});
