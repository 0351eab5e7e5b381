/** Each minute: links what was committed since and signs the new head. */
import { z } from 'zod';
import { sealChain } from '../audit/seal.ts';
import { signCheckpoint } from '../audit/sign.ts';
import { defineJob } from './job.ts';

export const sealChainJob = defineJob({
  name: 'seal-chain',
  summary: 'links new audit events into the chain and signs a checkpoint',
  schedule: { cron: '* * * * *', timeZone: 'UTC' },
  policy: 'exclusive',
  retryLimit: 3,
  timeLimitSeconds: 3600,
  input: z.strictObject({}),
  async run(ctx, _input, signal) {
    const { sealed, size, complete } = await sealChain(ctx, { signal });
    const { fresh } = await signCheckpoint(ctx);
    const rest = complete ? '' : ', more to do';
    return {
      summary: `${sealed} events sealed, ${size} in the chain${rest}`,
      counts: { sealed, size: Number(size), checkpoints: fresh ? 1 : 0 },
    };
  },
});
