/** Weekly: verifies every link, event, checkpoint and trigger of the audit chain. */
import { verifyJob } from './verify-job.ts';

export const verifyChainJob = verifyJob({
  name: 'verify-chain',
  summary: 'verifies the whole audit chain and reports every finding',
  level: 'full',
  cron: '20 2 * * 0',
  timeLimitSeconds: 4 * 3600,
});
