/** Nightly: verifies every link, event, checkpoint and trigger of the audit chain. */
import { z } from 'zod';
import { verifyChain } from '../audit/verify.ts';
import { defineJob } from './job.ts';

export const verifyChainJob = defineJob({
  name: 'verify-chain',
  summary: 'verifies the whole audit chain and reports every finding',
  schedule: { cron: '20 2 * * *', timeZone: 'UTC' },
  policy: 'exclusive',
  retryLimit: 2,
  timeLimitSeconds: 4 * 3600,
  input: z.strictObject({ level: z.literal('full').default('full') }),
  async run(ctx, input) {
    const { checked, findings, intact, to } = await verifyChain(ctx, input);
    return {
      summary: intact ? `${checked} events verified, no findings` : `${findings.length} findings in ${checked} events`,
      counts: { checked, links: to, findings: findings.length },
      findings: !intact,
    };
  },
});
