/** Nightly: transactions past the policy's age are anonymized, and the risk of all of them is measured again. */
import { z } from 'zod';
import { anonymizeTransactions } from '../privacy/anonymize.ts';
import { percent } from '../privacy/risk.ts';
import { defineJob } from './job.ts';

export const anonymizeJob = defineJob({
  name: 'anonymize',
  summary: 'anonymizes transactions older than two years and measures what an attacker can still link',
  schedule: { cron: '20 2 * * *', timeZone: 'UTC' },
  policy: 'exclusive',
  retryLimit: 3,
  timeLimitSeconds: 4 * 3600,
  input: z.strictObject({
    /** A UTC day; rows of earlier days are due. Absent: the policy's age. */
    before: z.string().optional(),
  }),
  async run(ctx, input, signal) {
    const result = await anonymizeTransactions(ctx, { before: input.before ?? null }, signal);
    const unreadable = Object.values(result.unreadable).reduce((sum, count) => sum + count, 0);
    return {
      summary: `${result.pseudonymized} pseudonymized, ${result.anonymized} anonymous, ${percent(result.risk.uniquelyLinkedShare)} uniquely linked of ${result.risk.rows}`,
      counts: {
        pseudonymized: result.pseudonymized,
        generalized: result.generalized,
        anonymized: result.anonymized,
        unreadable,
        uniquelyLinked: result.risk.uniquelyLinked,
        rows: result.risk.rows,
      },
      findings: unreadable > 0 || !result.risk.thresholdsMet,
    };
  },
});
