/** Generates one compliance report as a draft, on request. */
import { z } from 'zod';
import { generateReport } from '../reports/generate/generate.ts';
import { defineJob } from './job.ts';

export const generateReportJob = defineJob({
  name: 'generate-report',
  summary: 'generates a compliance report of a framework and a period, as a draft',
  schedule: null,
  policy: 'standard',
  retryLimit: 2,
  timeLimitSeconds: 45 * 60,
  input: z.strictObject({
    framework: z.string().min(1),
    period: z.string().min(1).default('last-full-month'),
    interim: z.boolean().default(false),
  }),
  async run(ctx, input) {
    const { id, model } = await generateReport(ctx, input);
    const { pass, fail, error } = model.statusCounts;
    return {
      summary: `report ${id}: ${model.framework.name} ${model.period.startDate} to ${model.period.endDate}, ${pass} pass, ${fail} fail`,
      counts: { controls: model.controls.length, pass, fail, error },
      findings: fail + error > 0,
    };
  },
});
