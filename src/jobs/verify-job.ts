/** The jobs that verify the audit chain differ in level and schedule only. */
import { z } from 'zod';
import type { VerifyLevel } from '../audit/links/finding.ts';
import { verifyChain } from '../audit/verify/verify.ts';
import { countOf } from '../plural.ts';
import { type AnyJob, defineJob } from './job.ts';

/** A job that verifies the chain at one level. */
export function verifyJob(job: {
  readonly name: string;
  readonly summary: string;
  readonly level: VerifyLevel;
  /** In UTC. */
  readonly cron: string;
  readonly timeLimitSeconds: number;
}): AnyJob {
  const { name, summary, level, timeLimitSeconds } = job;
  return defineJob({
    ...{ name, summary, timeLimitSeconds, policy: 'exclusive', retryLimit: 2 },
    schedule: { cron: job.cron, timeZone: 'UTC' },
    input: z.strictObject({ level: z.literal(level).default(level) }),
    async run(ctx) {
      const { checked, findings, intact, from, to, resumed } = await verifyChain(ctx, { level });
      const taken = resumed === null || resumed.units === 0 ? '' : `, resumed: ${countOf(resumed.units, 'unit')}`;
      return {
        summary: intact
          ? `${countOf(checked, 'event')} verified, no findings${taken}`
          : `${countOf(findings.length, 'finding')} in ${countOf(checked, 'event')}${taken}`,
        counts: { checked, links: to - from, findings: findings.length },
        findings: !intact,
      };
    },
  });
}
