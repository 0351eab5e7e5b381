/** Who may take which step of a report, how many have to, and which of two at once. */
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { queryRows } from '../../src/db/query.ts';
import { AuditkeepError } from '../../src/errors.ts';
import { readSshKeyFile } from '../../src/keys/ssh-key.ts';
import { NAMESPACES, signSshsig } from '../../src/keys/sshsig.ts';
import { decisionText } from '../../src/persons/decision.ts';
import { beginDecision, insertDecision } from '../../src/reports/workflow/store-workflow.ts';
import { readDecisions, reviewReport } from '../../src/reports/workflow/workflow.ts';
import { emailOf } from '../persons/roster.ts';
import { type Step, useDesk } from './desk.ts';
import { insertDraft } from './draft.ts';

const { office, act, reportThat, statusOf } = useDesk();

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
    const id = await insertDraft(office.ctx);
    for (const [step, who] of path) await act(step, who, id);
    await expect(act(last, 'everything', id)).rejects.toMatchObject({ code: 'DUTY_SEPARATION' });
    expect((await readDecisions(office.ctx, id)).decisions).toHaveLength(path.length);
  });

  test('the part holds over the versions of a report', async () => {
    const first = await insertDraft(office.ctx);
    await act('submit', 'everything', first);
    await act('reject', 'reviewer', first);
    const second = await insertDraft(office.ctx, { supersedes: first });
    await act('submit', 'everything2', second);
    await expect(act('review', 'everything', second)).rejects.toMatchObject({ code: 'DUTY_SEPARATION' });
    await expect(act('review', 'everything2', second)).rejects.toMatchObject({ code: 'DUTY_SEPARATION' });
    expect((await act('review', 'reviewer', second)).status).toBe('reviewed');
  });

  test('who generated a report neither reviews nor approves it, but may submit it', async () => {
    const id = await insertDraft(office.ctx, { generatedBy: emailOf('everything') });
    await act('submit', 'preparer', id);
    await expect(act('review', 'everything', id)).rejects.toMatchObject({ code: 'DUTY_SEPARATION' });
    await act('review', 'reviewer', id);
    await expect(act('approve', 'everything', id)).rejects.toMatchObject({ code: 'DUTY_SEPARATION' });
    const own = await insertDraft(office.ctx, { generatedBy: emailOf('everything') });
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
      {
        ...office.ctx,
        actor: { kind: 'person', email: emailOf('reviewer'), keyFile: office.roster.keyFile('approver') },
      },
      { reportId: id },
    );
    await expect(promise).rejects.toMatchObject({ code: 'PERSON_KEY_INVALID' });
    const nobody = reviewReport(
      {
        ...office.ctx,
        actor: { kind: 'person', email: 'nobody@example.org', keyFile: office.roster.keyFile('approver') },
      },
      { reportId: id },
    );
    await expect(nobody).rejects.toMatchObject({ code: 'PERSON_UNKNOWN' });
    expect(await statusOf(id)).toBe('pending_review');
  });
});

describe('a quorum', () => {
  /** A reviewed report that two approvers have to approve. */
  async function reviewedForTwo(): Promise<string> {
    const id = await insertDraft(office.ctx, { approvers: 2 });
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
    const { valid, decisions } = await readDecisions(office.ctx, id);
    expect(valid).toBe(true);
    expect(decisions.map(({ meaning, to }) => `${meaning} ${to}`)).toEqual([
      'submit pending_review',
      'review reviewed',
      'approve reviewed',
      'approve approved',
    ]);
    await expect(act('approve', 'everything2', id)).rejects.toMatchObject({ code: 'REPORT_TRANSITION' });
    const told = await office.db.admin.withClient((client) =>
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
    expect(await readDecisions(office.ctx, id)).toMatchObject({ valid: true });
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
    expect(await readDecisions(office.ctx, id)).toMatchObject({ valid: true, decisions: { length: 2 } });
  });

  test('two versions of the same draft: one is made', async () => {
    const first = await insertDraft(office.ctx);
    const results = await Promise.allSettled([1, 2, 3].map(() => insertDraft(office.ctx, { supersedes: first })));
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1);
  });

  test('a decision on a state that is no longer the last one is void, even past our own refusal', async () => {
    const id = await reportThat('pending_review');
    // The reviewer has begun and is reading; meanwhile it is sent back and handed in again.
    const { head } = await readDecisions(office.ctx, id);
    const request = await office.db.engine.withClient((client) =>
      beginDecision(client, id, 'review', { email: emailOf('everything'), previous: head }),
    );
    await act('reject', 'reviewer', id);
    await act('submit', 'preparer', id);
    const key = await readSshKeyFile(office.roster.keyFile('everything'));
    const payload = decisionText(request, key.publicKey.fingerprint, null);
    const signature = await signSshsig(key, NAMESPACES.reportDecision, Buffer.from(payload));
    await office.db.engine.withClient((client) => insertDecision(client, { payload, signature, comment: null }));
    const { valid, findings } = await readDecisions(office.ctx, id);
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
    expect((await readDecisions(office.ctx, id)).valid).toBe(true);
  });
});

function codeOf(error: unknown): string | null {
  return error instanceof AuditkeepError ? error.code : null;
}
