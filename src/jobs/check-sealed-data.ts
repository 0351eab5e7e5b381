/** Daily: sealed enclave data is still what was sealed, and may still be unsealed by whom it says. */
import { z } from 'zod';
import { countOf } from '../plural.ts';
import { checkSealedData } from '../retention/sealed-data.ts';
import { defineJob } from './job.ts';

export const checkSealedDataJob = defineJob({
  name: 'check-sealed-data',
  summary: 'checks sealed enclave data: integrity hash, expiry, access policy, attestation',
  schedule: { cron: '50 1 * * *', timeZone: 'UTC' },
  policy: 'exclusive',
  retryLimit: 3,
  timeLimitSeconds: 3600,
  input: z.strictObject({}),
  async run(ctx, _input, signal) {
    const { checked, findings } = await checkSealedData(ctx, signal);
    return {
      summary: `${countOf(checked, 'piece')} of sealed data checked, ${findings.length} with findings`,
      counts: { checked, findings: findings.length },
      findings: findings.length > 0,
    };
  },
});
