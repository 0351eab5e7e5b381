/** Every job of the product. A job is one file in this folder; add it here and `migrate` makes its queue. */
import { AuditkeepError } from '../errors.ts';
import { anonymizeJob } from './anonymize.ts';
import { archiveJob } from './archive.ts';
import { checkSealedDataJob } from './check-sealed-data.ts';
import { createPartitionsJob } from './create-partitions.ts';
import { generateReportJob } from './generate-report.ts';
import { housekeepingJob } from './housekeeping.ts';
import type { AnyJob } from './job.ts';
import { notifyJob } from './notify.ts';
import { purgeJob } from './purge.ts';
import { reportMonthlyJob, reportQuarterlyJob, reportYearlyJob } from './scheduled-report.ts';
import { sealChainJob } from './seal-chain.ts';
import { stateSnapshotJob } from './state-snapshot.ts';
import { verifyChainJob } from './verify-chain.ts';
import { verifyHeadJob } from './verify-head.ts';
import { verifyIncrementalJob } from './verify-incremental.ts';
import { verifyRollingJob } from './verify-rolling.ts';
import { watchDeadlinesJob } from './watch-deadlines.ts';

export const JOBS: readonly AnyJob[] = [
  createPartitionsJob,
  archiveJob,
  purgeJob,
  housekeepingJob,
  checkSealedDataJob,
  anonymizeJob,
  generateReportJob,
  reportMonthlyJob,
  reportQuarterlyJob,
  reportYearlyJob,
  sealChainJob,
  stateSnapshotJob,
  verifyChainJob,
  verifyHeadJob,
  verifyIncrementalJob,
  verifyRollingJob,
  notifyJob,
  watchDeadlinesJob,
];

/**
 * The job of a name.
 * @throws INPUT_INVALID naming the jobs that exist
 */
export function findJob(name: string, jobs: readonly AnyJob[] = JOBS): AnyJob {
  const job = jobs.find((candidate) => candidate.name === name);
  if (job !== undefined) return job;
  throw new AuditkeepError('INPUT_INVALID', {
    message: `there is no job named ${name}`,
    hint: `jobs: ${jobs.map((candidate) => candidate.name).join(', ')}`,
  });
}
