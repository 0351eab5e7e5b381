/** Each minute: links what was committed since and signs the new head. */
import { z } from 'zod';
import { signCheckpoint } from '../audit/publish/sign.ts';
import { sealChain } from '../audit/seal/seal.ts';
import { lockedBy, readLockHolders } from '../db/advisory-lock.ts';
import { countOf } from '../plural.ts';
import { isoOf } from '../time/clock.ts';
import { defineJob } from './job.ts';
import { readChain } from './overview.ts';

/** A sealer of ours links something within this time; a lock that is held beyond it, while events wait, is no sealer's. */
const LONGEST_SEAL_LAG_SECONDS = 300;

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
    if (sealed === 0 && !complete && !signal.aborted) {
      await ctx.db.withClient(async (client) => {
        const { sealLagSeconds, unsealed } = await readChain(client, isoOf(ctx.clock.now()));
        const holders = await readLockHolders(client);
        const isHeld = holders.some(({ lock }) => lock === 'sealer');
        if (isHeld && unsealed > 0 && sealLagSeconds > LONGEST_SEAL_LAG_SECONDS) throw lockedBy('sealer', holders);
      });
    }
    const { fresh } = await signCheckpoint(ctx);
    const rest = complete ? '' : ', more to do';
    return {
      summary: `${countOf(sealed, 'event')} sealed, ${size} in the chain${rest}`,
      counts: { sealed, size: Number(size), checkpoints: fresh ? 1 : 0 },
    };
  },
});
