/** Until when a report is to be submitted, reviewed and approved, by the workflow of its framework. Pure, but for reading templates. */
import { isoOf, parseInstant, toInstant, type UtcInstant } from '../../time/clock.ts';
import type { ReportRow } from '../model/store.ts';
import { type FrameworkTemplate, loadTemplates } from '../template/template.ts';

export interface Deadline {
  readonly step: 'submit' | 'review' | 'approve';
  /** ISO 8601. */
  readonly dueAt: string;
  /** near: two days are left or less. */
  readonly state: 'open' | 'near' | 'over';
}

type Workflow = FrameworkTemplate['workflow'];
type DeadlineRow = Pick<ReportRow, 'status' | 'interim' | 'superseded' | 'generatedAt'>;

const DAY_MS = 86_400_000;
const NEAR_MS = 2 * DAY_MS;
const STEPS = { draft: 'submit', pending_review: 'review', reviewed: 'approve' } as const;

/**
 * The deadline of the step that a report waits for; null where it waits for none: approved, archived, interim, superseded, or
 * of a framework without deadlines. Counted from when the version was generated, so a rejection gives no more time.
 */
export function deadlineOf(report: DeadlineRow, workflow: Workflow, now: UtcInstant): Deadline | null {
  const generatedAt = parseInstant(report.generatedAt);
  const step = isWaiting(report.status) ? STEPS[report.status] : null;
  if (workflow === undefined || step === null || generatedAt === null || report.interim || report.superseded)
    return null;
  const dueAt = toInstant(generatedAt + workflow.deadlines[step] * DAY_MS);
  return { step, dueAt: isoOf(dueAt), state: now > dueAt ? 'over' : now >= dueAt - NEAR_MS ? 'near' : 'open' };
}

function isWaiting(status: string): status is keyof typeof STEPS {
  return Object.hasOwn(STEPS, status);
}

/** The deadlines of reports, by id, as the templates have them now; reports without one are left out. @throws TEMPLATE_INVALID */
export async function readDeadlines(
  reports: readonly (DeadlineRow & Pick<ReportRow, 'id' | 'framework'>)[],
  now: UtcInstant,
): Promise<ReadonlyMap<string, Deadline>> {
  const { frameworks } = await loadTemplates();
  return new Map(
    reports.flatMap((report) => {
      const deadline = deadlineOf(report, frameworks.get(report.framework.toLowerCase())?.workflow, now);
      return deadline === null ? [] : [[report.id, deadline]];
    }),
  );
}
