import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { queryOne, queryRows } from '../../src/db/query.ts';
import { AuditkeepError } from '../../src/errors.ts';
import { readSshKeyFile } from '../../src/keys/ssh-key.ts';
import { NAMESPACES, signSshsig } from '../../src/keys/sshsig.ts';
import { decisionText, type Meaning } from '../../src/persons/decision.ts';
import { generateReport } from '../../src/reports/generate/generate.ts';
import { type ControlComment, splitComment } from '../../src/reports/model/control-comment.ts';
import { beginDecision, insertDecision } from '../../src/reports/workflow/store-workflow.ts';
import { TRANSITIONS } from '../../src/reports/workflow/transition.ts';
import {
  approveReport,
  archiveReport,
  type DecisionMade,
  readDecisions,
  recallReport,
  rejectReport,
  reviewReport,
  submitReport,
} from '../../src/reports/workflow/workflow.ts';
import { emailOf, foundRegister, type Roster } from '../persons/roster.ts';
import { TestClock, type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { insertDraft } from './draft.ts';

const db = useDatabase();
let ctx: TestContext;
let roster: Roster;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'auditkeep-workflow-'));
  // Events before the first partition go to the late table; these belong to today.
  ctx = await testContext(db, { clock: new TestClock(new Date().toISOString()) });
  roster = await foundRegister(ctx, folder);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const STEPS = {
  submit: submitReport,
  review: reviewReport,
  reject: rejectReport,
  recall: recallReport,
  approve: approveReport,
} as const;
type Step = keyof typeof STEPS;

function act(step: Step, who: string, reportId: string): Promise<DecisionMade> {
  return STEPS[step](roster.as(ctx, who), { reportId, comment: `${step} it` });
}

/** A report taken to a status by the people of the roster. */
async function reportThat(status: string): Promise<string> {
  const id = await insertDraft(ctx);
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
  await archiveReport(roster.as(ctx, 'records'), { reportId: id, reason: 'withdrawn' });
  return id;
}

const statusOf = (id: string) =>
  db.engine.withClient(async (client) => {
    const row = await queryOne(
      client,
      z.object({ status: z.string() }),
      'select status from audit.compliance_reports where id = $1::uuid',
      [id],
    );
    return row.status;
  });

describe('the way of a report', () => {
  test('three persons take it from draft to approved, the fourth archives it', async () => {
    const id = await reportThat('archived');
    const checked = await readDecisions(ctx, id);
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
    const events = await db.admin.withClient((client) =>
      queryRows(
        client,
        z.object({ event_type: z.string(), decision: z.string() }),
        `select event_type, additional_data->>'decisionId' as decision from audit.audit_log
          where resource_id = $1::text order by event_type`,
        [id],
      ),
    );
    const { decisions } = await readDecisions(ctx, id);
    expect(events.map((event) => event.event_type)).toEqual(['report.review', 'report.submit']);
    expect(events.map((event) => event.decision).sort()).toEqual(decisions.map((decision) => decision.id).sort());
  });

  test('rejection by the reviewer or the approver goes back to draft and the same persons may go on', async () => {
    const id = await insertDraft(ctx);
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
    expect(await readDecisions(ctx, id)).toMatchObject({ valid: true, findings: [] });
  });

  test('the table of the database and ours are the same', async () => {
    const rows = await db.engine.withClient((client) =>
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
    (Object.keys(STEPS) as Step[])
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
    const manager = roster.as(ctx, 'records');
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
    const id = await insertDraft(ctx, { interim: true });
    await act('submit', 'preparer', id);
    await act('review', 'reviewer', id);
    await expect(act('approve', 'approver', id)).rejects.toMatchObject({ code: 'REPORT_INTERIM' });
  });

  test('a version that was superseded takes no decision but archiving', async () => {
    const first = await insertDraft(ctx);
    const second = await insertDraft(ctx, { supersedes: first });
    await expect(act('submit', 'preparer', first)).rejects.toMatchObject({ code: 'REPORT_SUPERSEDED' });
    await archiveReport(roster.as(ctx, 'records'), { reportId: first, reason: 'superseded' });
    expect((await act('submit', 'preparer', second)).status).toBe('pending_review');
    await expect(insertDraft(ctx, { supersedes: second })).rejects.toMatchObject({ code: 'AK002' });
    await expect(insertDraft(ctx, { supersedes: first })).rejects.toMatchObject({ code: 'AK011' });
    expect(await readDecisions(ctx, second)).toMatchObject({ valid: true });
  });

  test('a rejection needs a reason', async () => {
    const id = await reportThat('pending_review');
    const promise = rejectReport(roster.as(ctx, 'reviewer'), { reportId: id, comment: '  ' });
    await expect(promise).rejects.toMatchObject({ code: 'DECISION_COMMENT' });
  });

  test('a rejection for single controls is one signed comment, and only names controls that the report has', async () => {
    const reject = (id: string, controlComments: readonly ControlComment[], comment?: string) =>
      rejectReport(roster.as(ctx, 'reviewer'), { reportId: id, controlComments, comment });
    const { id } = await generateReport(ctx, { framework: 'sox', period: '2024' });
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
    const { decisions, valid } = await readDecisions(ctx, id);
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
    await expect(submitReport(ctx, { reportId })).rejects.toMatchObject({ code: 'USAGE' });
  });
});

describe('separation of duties', () => {
  test('a role is needed for every step', async () => {
    const refusals: [string, Step, string][] = [
      ['draft', 'submit', 'reviewer'],
      ['pending_review', 'review', 'preparer'],
      ['pending_review', 'reject', 'approver'],
      ['reviewed', 'approve', 'reviewer'],
      ['reviewed', 'recall', 'approver'],
    ];
    for (const [status, step, who] of refusals) {
      const id = await reportThat(status);
      await expect(act(step, who, id)).rejects.toMatchObject({ code: 'ROLE_MISSING' });
    }
  });

  test.each([
    ['submit then review', [['submit', 'everything']], 'review'],
    ['submit then reject', [['submit', 'everything']], 'reject'],
    [
      'submit then approve',
      [
        ['submit', 'everything'],
        ['review', 'everything2'],
      ],
      'approve',
    ],
    [
      'review then approve',
      [
        ['submit', 'everything2'],
        ['review', 'everything'],
      ],
      'approve',
    ],
    [
      'reject then submit',
      [
        ['submit', 'everything2'],
        ['reject', 'everything'],
      ],
      'submit',
    ],
    [
      'reject as approver then review',
      [
        ['submit', 'everything2'],
        ['review', 'everything3'],
        ['reject', 'everything'],
        ['submit', 'everything2'],
      ],
      'review',
    ],
  ] as [string, [Step, string][], Step][])('one person does not %s', async (_, path, last) => {
    const id = await insertDraft(ctx);
    for (const [step, who] of path) await act(step, who, id);
    await expect(act(last, 'everything', id)).rejects.toMatchObject({ code: 'DUTY_SEPARATION' });
    expect((await readDecisions(ctx, id)).decisions).toHaveLength(path.length);
  });

  test('the part holds over the versions of a report', async () => {
    const first = await insertDraft(ctx);
    await act('submit', 'everything', first);
    await act('reject', 'reviewer', first);
    const second = await insertDraft(ctx, { supersedes: first });
    await act('submit', 'everything2', second);
    await expect(act('review', 'everything', second)).rejects.toMatchObject({ code: 'DUTY_SEPARATION' });
    await expect(act('review', 'everything2', second)).rejects.toMatchObject({ code: 'DUTY_SEPARATION' });
    expect((await act('review', 'reviewer', second)).status).toBe('reviewed');
  });

  test('who generated a report neither reviews nor approves it, but may submit it', async () => {
    const id = await insertDraft(ctx, { generatedBy: emailOf('everything') });
    await act('submit', 'preparer', id);
    await expect(act('review', 'everything', id)).rejects.toMatchObject({ code: 'DUTY_SEPARATION' });
    await act('review', 'reviewer', id);
    await expect(act('approve', 'everything', id)).rejects.toMatchObject({ code: 'DUTY_SEPARATION' });
    const own = await insertDraft(ctx, { generatedBy: emailOf('everything') });
    expect((await act('submit', 'everything', own)).status).toBe('pending_review');
  });

  test('only the reviewer recalls, with the same part or not', async () => {
    const id = await reportThat('reviewed');
    await expect(act('recall', 'everything', id)).rejects.toMatchObject({ code: 'DUTY_SEPARATION' });
    expect((await act('recall', 'reviewer', id)).status).toBe('pending_review');
  });

  test('somebody else with my key, and I with somebody else’s, are refused', async () => {
    const id = await reportThat('pending_review');
    const promise = reviewReport(
      { ...ctx, actor: { kind: 'person', email: emailOf('reviewer'), keyFile: roster.keyFile('approver') } },
      { reportId: id },
    );
    await expect(promise).rejects.toMatchObject({ code: 'PERSON_KEY_INVALID' });
    const nobody = reviewReport(
      { ...ctx, actor: { kind: 'person', email: 'nobody@example.org', keyFile: roster.keyFile('approver') } },
      { reportId: id },
    );
    await expect(nobody).rejects.toMatchObject({ code: 'PERSON_UNKNOWN' });
    expect(await statusOf(id)).toBe('pending_review');
  });
});

describe('a quorum', () => {
  /** A reviewed report that two approvers have to approve. */
  async function reviewedForTwo(): Promise<string> {
    const id = await insertDraft(ctx, { approvers: 2 });
    await act('submit', 'preparer', id);
    await act('review', 'reviewer', id);
    return id;
  }

  test('of two is two persons, of whom the second is the approver', async () => {
    const id = await reviewedForTwo();
    expect((await act('approve', 'approver', id)).status).toBe('reviewed');
    await expect(act('approve', 'approver', id)).rejects.toMatchObject({ code: 'DUTY_SEPARATION' });
    for (const who of ['preparer', 'reviewer']) {
      await expect(act('approve', who, id)).rejects.toMatchObject({ code: 'ROLE_MISSING' });
    }
    expect((await act('approve', 'everything', id)).status).toBe('approved');
    const { valid, decisions } = await readDecisions(ctx, id);
    expect(valid).toBe(true);
    expect(decisions.map(({ meaning, to }) => `${meaning} ${to}`)).toEqual([
      'submit pending_review',
      'review reviewed',
      'approve reviewed',
      'approve approved',
    ]);
    await expect(act('approve', 'everything2', id)).rejects.toMatchObject({ code: 'REPORT_TRANSITION' });
    const told = await db.admin.withClient((client) =>
      queryRows(
        client,
        z.object({ kind: z.string() }),
        'select n.kind from ops.notification n where n.report_id = $1::uuid order by n.sequence',
        [id],
      ),
    );
    expect(told.map(({ kind }) => kind)).toEqual(['report-submitted', 'report-reviewed', 'report-approved']);
  });

  test('begins anew after a recalled review and a rejection', async () => {
    const id = await reviewedForTwo();
    await act('approve', 'approver', id);
    await act('recall', 'reviewer', id);
    await act('review', 'reviewer', id);
    expect((await act('approve', 'approver', id)).status).toBe('reviewed');
    await act('reject', 'approver', id);
    await act('submit', 'preparer', id);
    await act('review', 'reviewer', id);
    expect((await act('approve', 'everything', id)).status).toBe('reviewed');
    expect((await act('approve', 'approver', id)).status).toBe('approved');
    expect(await readDecisions(ctx, id)).toMatchObject({ valid: true });
  });

  test('of two who approve at once, one is told and approves again', async () => {
    const id = await reviewedForTwo();
    const both = await Promise.allSettled([act('approve', 'approver', id), act('approve', 'everything', id)]);
    const made = both.filter(({ status }) => status === 'fulfilled').length;
    // The later one may also have begun after the earlier one was done.
    expect([1, 2]).toContain(made);
    if (made === 2) return expect(await statusOf(id)).toBe('approved');
    expect(both.find(({ status }) => status === 'rejected')).toMatchObject({ reason: { code: 'DECISION_CONFLICT' } });
    const second = both[0]?.status === 'fulfilled' ? 'everything' : 'approver';
    expect((await act('approve', second, id)).status).toBe('approved');
  });
});

describe('two at once', () => {
  test('of ten deciders one wins and the others are told', async () => {
    const id = await reportThat('pending_review');
    const who = Array.from({ length: 10 }, (_, index) => (index % 2 === 0 ? 'reviewer' : 'everything'));
    const results = await Promise.allSettled(who.map((name) => act('review', name, id)));
    const told = results.flatMap((result) => (result.status === 'rejected' ? [codeOf(result.reason)] : []));
    expect(told).toHaveLength(9);
    for (const code of told) expect(['DECISION_CONFLICT', 'REPORT_TRANSITION']).toContain(code);
    expect(await readDecisions(ctx, id)).toMatchObject({ valid: true, decisions: { length: 2 } });
  });

  test('two versions of the same draft: one is made', async () => {
    const first = await insertDraft(ctx);
    const results = await Promise.allSettled([1, 2, 3].map(() => insertDraft(ctx, { supersedes: first })));
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1);
  });

  test('a decision on a state that is no longer the last one is void, even past our own refusal', async () => {
    const id = await reportThat('pending_review');
    // The reviewer has begun and is reading; meanwhile it is sent back and handed in again.
    const { head } = await readDecisions(ctx, id);
    const request = await db.engine.withClient((client) =>
      beginDecision(client, id, 'review', { email: emailOf('everything'), previous: head }),
    );
    await act('reject', 'reviewer', id);
    await act('submit', 'preparer', id);
    const key = await readSshKeyFile(roster.keyFile('everything'));
    const payload = decisionText(request, key.publicKey.fingerprint, null);
    const signature = await signSshsig(key, NAMESPACES.reportDecision, Buffer.from(payload));
    await db.engine.withClient((client) => insertDecision(client, { payload, signature, comment: null }));
    const { valid, findings } = await readDecisions(ctx, id);
    expect(valid).toBe(false);
    expect(findings).toContainEqual({
      kind: 'chain',
      decisionId: request.decision_id,
      what: 'it does not follow the last decision that holds',
      void: true,
      payloadSha256: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
      acknowledged: false,
    });
    await act('review', 'reviewer', id);
    expect((await readDecisions(ctx, id)).valid).toBe(true);
  });
});

function codeOf(error: unknown): string | null {
  return error instanceof AuditkeepError ? error.code : null;
}
