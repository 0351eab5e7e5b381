/** Reports from draft to archive: which steps lead where, and which are refused. */
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { queryRows } from '../../src/db/query.ts';
import type { Meaning } from '../../src/persons/decision.ts';
import { generateReport } from '../../src/reports/generate/generate.ts';
import { type ControlComment, splitComment } from '../../src/reports/model/control-comment.ts';
import { TRANSITIONS } from '../../src/reports/workflow/transition.ts';
import { archiveReport, readDecisions, rejectReport, submitReport } from '../../src/reports/workflow/workflow.ts';
import { emailOf } from '../persons/roster.ts';
import { type Step, useDesk } from './desk.ts';
import { insertDraft } from './draft.ts';

const { office, act, reportThat, statusOf } = useDesk();

describe('the way of a report', () => {
  test('three persons take it from draft to approved, the fourth archives it', async () => {
    const id = await reportThat('archived');
    const checked = await readDecisions(office.ctx, id);
    expect(checked.findings).toEqual([]);
    expect(checked.decisions.map(({ meaning, person, from, to }) => ({ meaning, person, from, to }))).toEqual([
      { meaning: 'submit', person: emailOf('preparer'), from: 'draft', to: 'pending_review' },
      { meaning: 'review', person: emailOf('reviewer'), from: 'pending_review', to: 'reviewed' },
      { meaning: 'approve', person: emailOf('approver'), from: 'reviewed', to: 'approved' },
      { meaning: 'archive-withdrawn', person: emailOf('records'), from: 'approved', to: 'archived' },
    ]);
    expect(checked.decisions[0]?.name).toBe('Test preparer');
  });

  test('every decision is an audit event in the same transaction', async () => {
    const id = await reportThat('reviewed');
    const events = await office.db.admin.withClient((client) =>
      queryRows(
        client,
        z.object({ event_type: z.string(), decision: z.string() }),
        `select event_type, additional_data->>'decisionId' as decision from audit.audit_log
          where resource_id = $1::text order by event_type`,
        [id],
      ),
    );
    const { decisions } = await readDecisions(office.ctx, id);
    expect(events.map((event) => event.event_type)).toEqual(['report.review', 'report.submit']);
    expect(events.map((event) => event.decision).sort()).toEqual(decisions.map((decision) => decision.id).sort());
  });

  test('rejection by the reviewer or the approver goes back to draft and the same persons may go on', async () => {
    const id = await insertDraft(office.ctx);
    const path: [Step, string, string][] = [
      ['submit', 'preparer', 'pending_review'],
      ['reject', 'reviewer', 'draft'],
      ['submit', 'preparer', 'pending_review'],
      ['review', 'reviewer', 'reviewed'],
      ['recall', 'reviewer', 'pending_review'],
      ['review', 'reviewer', 'reviewed'],
      ['reject', 'approver', 'draft'],
      ['submit', 'preparer', 'pending_review'],
      ['review', 'reviewer', 'reviewed'],
      ['approve', 'approver', 'approved'],
    ];
    for (const [step, who, status] of path) expect((await act(step, who, id)).status).toBe(status);
    expect(await readDecisions(office.ctx, id)).toMatchObject({ valid: true, findings: [] });
  });

  test('the table of the database and ours are the same', async () => {
    const rows = await office.db.engine.withClient((client) =>
      queryRows(
        client,
        z.object({ line: z.string() }),
        `select concat_ws('|', meaning, from_status, to_status, role, coalesce(part, '-')) as line
           from compliance.report_transition order by 1`,
      ),
    );
    const ours = TRANSITIONS.map(({ meaning, from, to, role, part }) =>
      [meaning, from, to, role, part ?? '-'].join('|'),
    );
    expect(rows.map((row) => row.line)).toEqual(ours.sort());
  });
});

describe('order', () => {
  const statuses = ['draft', 'pending_review', 'reviewed', 'approved', 'archived'] as const;
  const whoDoes: Record<Step, readonly string[]> = {
    submit: ['preparer'],
    review: ['reviewer'],
    reject: ['reviewer', 'approver'],
    recall: ['reviewer'],
    approve: ['approver'],
  };
  const illegal = statuses.flatMap((status) =>
    (Object.keys(whoDoes) as Step[])
      .filter((step) => !TRANSITIONS.some((entry) => entry.from === status && entry.meaning === (step as Meaning)))
      .map((step) => [status, step] as const),
  );
  test.each(illegal)('a report that is %s takes no %s', async (status, step) => {
    const id = await reportThat(status);
    for (const who of whoDoes[step]) {
      await expect(act(step, who, id)).rejects.toMatchObject({ code: 'REPORT_TRANSITION' });
    }
    expect(await statusOf(id)).toBe(status);
  });

  test('an archived report takes no archiving and a draft none as distributed or superseded', async () => {
    const archived = await reportThat('archived');
    const manager = office.roster.as(office.ctx, 'records');
    for (const reason of ['withdrawn', 'superseded', 'distributed'] as const) {
      const promise = archiveReport(manager, { reportId: archived, reason });
      await expect(promise).rejects.toMatchObject({ code: 'REPORT_TRANSITION' });
    }
    const approved = await reportThat('approved');
    for (const reason of ['superseded', 'distributed'] as const) {
      const promise = archiveReport(manager, { reportId: approved, reason });
      await expect(promise).rejects.toMatchObject({ code: 'REPORT_TRANSITION' });
    }
  });

  test('an interim report goes through review but is not approved', async () => {
    const id = await insertDraft(office.ctx, { interim: true });
    await act('submit', 'preparer', id);
    await act('review', 'reviewer', id);
    await expect(act('approve', 'approver', id)).rejects.toMatchObject({ code: 'REPORT_INTERIM' });
  });

  test('a version that was superseded takes no decision but archiving', async () => {
    const first = await insertDraft(office.ctx);
    const second = await insertDraft(office.ctx, { supersedes: first });
    await expect(act('submit', 'preparer', first)).rejects.toMatchObject({ code: 'REPORT_SUPERSEDED' });
    await archiveReport(office.roster.as(office.ctx, 'records'), { reportId: first, reason: 'superseded' });
    expect((await act('submit', 'preparer', second)).status).toBe('pending_review');
    await expect(insertDraft(office.ctx, { supersedes: second })).rejects.toMatchObject({ code: 'AK002' });
    await expect(insertDraft(office.ctx, { supersedes: first })).rejects.toMatchObject({ code: 'AK011' });
    expect(await readDecisions(office.ctx, second)).toMatchObject({ valid: true });
  });

  test('a rejection needs a reason', async () => {
    const id = await reportThat('pending_review');
    const promise = rejectReport(office.roster.as(office.ctx, 'reviewer'), { reportId: id, comment: '  ' });
    await expect(promise).rejects.toMatchObject({ code: 'DECISION_COMMENT' });
  });

  test('a rejection for single controls is one signed comment, and only names controls that the report has', async () => {
    const reject = (id: string, controlComments: readonly ControlComment[], comment?: string) =>
      rejectReport(office.roster.as(office.ctx, 'reviewer'), { reportId: id, controlComments, comment });
    const { id } = await generateReport(office.ctx, { framework: 'sox', period: '2024' });
    await act('submit', 'preparer', id);
    const refused = [
      [{ control: 'zz-99', comment: 'x' }],
      [{ control: 'ac-02', comment: ' ' }],
      [{ control: 'ac-02', comment: 'two\nlines' }],
      [
        { control: 'ac-02', comment: 'x' },
        { control: 'ac-02', comment: 'y' },
      ],
    ];
    for (const comments of refused) {
      await expect(reject(id, comments, 'so')).rejects.toMatchObject({ code: 'INPUT_INVALID' });
    }
    expect(await statusOf(id)).toBe('pending_review');
    const comments = [
      { control: 'ac-02', comment: 'who is “svc-7”?' },
      { control: 'op-02', comment: 'the restore test is missing' },
    ];
    await reject(id, comments);
    await act('submit', 'preparer', id);
    await reject(id, comments, 'Not yet.');
    const { decisions, valid } = await readDecisions(office.ctx, id);
    expect(valid).toBe(true);
    const told = decisions.filter(({ meaning }) => meaning === 'reject').map(({ comment }) => splitComment(comment));
    expect(told).toEqual([
      { whole: null, controls: comments },
      { whole: 'Not yet.', controls: comments },
    ]);
    expect(splitComment('see [ac-02] there\n[AC-02] x')).toEqual({
      whole: 'see [ac-02] there\n[AC-02] x',
      controls: [],
    });
  });

  test('an unknown report and an actor without a key are refused', async () => {
    const reportId = '00000000-0000-4000-8000-00000000dead';
    await expect(act('submit', 'preparer', reportId)).rejects.toMatchObject({ code: 'REPORT_NOT_FOUND' });
    await expect(submitReport(office.ctx, { reportId })).rejects.toMatchObject({ code: 'USAGE' });
  });
});
