/** Reports that people take through their states. */
import { z } from 'zod';
import type { JsonValue } from '../../src/canonical-json.ts';
import { queryOne } from '../../src/db/query.ts';
import {
  approveReport,
  archiveReport,
  type DecisionMade,
  recallReport,
  rejectReport,
  reviewReport,
  submitReport,
} from '../../src/reports/workflow/workflow.ts';
import { type Office, useOffice } from '../persons/office.ts';
import { insertDraft } from './draft.ts';

const STEPS = {
  submit: submitReport,
  review: reviewReport,
  reject: rejectReport,
  recall: recallReport,
  approve: approveReport,
} as const;
export type Step = keyof typeof STEPS;

export interface Desk {
  readonly office: Office;
  act(step: Step, who: string, reportId: string): Promise<DecisionMade>;
  /** A report taken to a status by the people of the roster. */
  reportThat(status: string): Promise<string>;
  statusOf(id: string): Promise<string>;
}

/** Call it at the top of a test file. */
export function useDesk(): Desk {
  // Events before the first partition go to the late table; these belong to today.
  const office = useOffice(new Date().toISOString());
  const act = (step: Step, who: string, reportId: string) =>
    STEPS[step](office.roster.as(office.ctx, who), { reportId, comment: `${step} it` });
  const reportThat = async (status: string) => {
    const id = await insertDraft(office.ctx);
    const path: [string, Step, string][] = [
      ['pending_review', 'submit', 'preparer'],
      ['reviewed', 'review', 'reviewer'],
      ['approved', 'approve', 'approver'],
    ];
    if (status === 'draft') return id;
    for (const [reached, step, who] of path) {
      await act(step, who, id);
      if (reached === status) return id;
    }
    await archiveReport(office.roster.as(office.ctx, 'records'), { reportId: id, reason: 'withdrawn' });
    return id;
  };
  const statusOf = (id: string) =>
    office.db.engine.withClient(async (client) => {
      const row = await queryOne(
        client,
        z.object({ status: z.string() }),
        'select status from audit.compliance_reports where id = $1::uuid',
        [id],
      );
      return row.status;
    });
  return { office, act, reportThat, statusOf };
}

/** A value as its JSON says it. */
export function jsonOf(value: unknown): JsonValue {
  return JSON.parse(JSON.stringify(value)) as JsonValue;
}
