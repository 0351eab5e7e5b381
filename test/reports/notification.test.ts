/** Who is told what and when: rows in the transaction of what they tell, deadlines once, and channels that take each row at least once. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { SqlClient } from '../../src/db/database.ts';
import { execute, queryOne, queryRows } from '../../src/db/query.ts';
import { inTransaction } from '../../src/db/transaction.ts';
import { findJob } from '../../src/jobs/registry.ts';
import { generateReport } from '../../src/reports/generate/generate.ts';
import { deadlineOf } from '../../src/reports/workflow/deadline.ts';
import { notifyGenerated, takeNotifications } from '../../src/reports/workflow/notification.ts';
import {
  approveReport,
  recallReport,
  rejectReport,
  reviewReport,
  submitReport,
} from '../../src/reports/workflow/workflow.ts';
import { parseInstant, toInstant } from '../../src/time/clock.ts';
import { emailOf, foundRegister, type Roster } from '../persons/roster.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { insertDraft } from './draft.ts';

const db = useDatabase();
let ctx: TestContext;
let roster: Roster;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'auditkeep-notify-'));
  ctx = await testContext(db);
  roster = await foundRegister(ctx, folder);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const toldShape = z.object({ kind: z.string(), recipients: z.array(z.string()), details: z.unknown() });
const take = (client: SqlClient, channel = 'mail') =>
  queryRows(client, toldShape, 'select kind, recipients, details from ops.take_notifications($1::text, 100)', [
    channel,
  ]);
const told = () => inTransaction(db.engine, (client) => take(client));
const kinds = async () => (await told()).map(({ kind }) => kind);
const run = (job: string) => findJob(job).run(ctx, {} as never, new AbortController().signal);
const at = (text: string) => parseInstant(text) ?? toInstant(Number.NaN);

describe('a report', () => {
  test('tells at each step who is next, and of a rejection the one who submitted', async () => {
    const reportId = await insertDraft(ctx);
    await submitReport(roster.as(ctx, 'preparer'), { reportId });
    await reviewReport(roster.as(ctx, 'reviewer'), { reportId });
    await recallReport(roster.as(ctx, 'reviewer'), { reportId });
    await rejectReport(roster.as(ctx, 'reviewer'), { reportId, comment: 'page 3' });
    await submitReport(roster.as(ctx, 'preparer'), { reportId });
    await reviewReport(roster.as(ctx, 'reviewer'), { reportId });
    await approveReport(roster.as(ctx, 'approver'), { reportId });
    const rows = await told();
    const to = (kind: string) => rows.find((row) => row.kind === kind)?.recipients;
    expect(rows.map(({ kind }) => kind)).toEqual([
      'report-submitted',
      'report-reviewed',
      'report-recalled',
      'report-rejected',
      'report-submitted',
      'report-reviewed',
      'report-approved',
    ]);
    expect(to('report-submitted')).toContain(emailOf('reviewer'));
    expect(to('report-submitted')).not.toContain(emailOf('approver'));
    expect(to('report-reviewed')).toContain(emailOf('approver'));
    expect(to('report-rejected')).toEqual([emailOf('preparer')]);
    expect(to('report-approved')).toContain(emailOf('records'));
    expect(JSON.stringify(rows.map(({ details }) => details))).not.toContain('page 3');
  });

  test('that is refused tells nobody', async () => {
    const reportId = await insertDraft(ctx);
    await expect(submitReport(roster.as(ctx, 'reviewer'), { reportId })).rejects.toMatchObject({
      code: 'ROLE_MISSING',
    });
    expect(await kinds()).toEqual([]);
  });

  test('that was generated waits for a preparer, unless it is an interim one; critical failures are told', async () => {
    const { model } = await generateReport(ctx, { framework: 'sox', period: '2026-01' });
    const critical = model.controls.filter(({ severity, status }) => severity === 'critical' && status === 'fail');
    expect(critical).toEqual([]);
    expect(await kinds()).toEqual(['report-generated']);
    const interim = await generateReport(ctx, { framework: 'sox', period: '2026-03', interim: true });
    expect(await kinds()).toEqual([]);
    const controls = interim.model.controls.map((control) => ({ ...control, status: 'fail' as const }));
    const ids = controls.filter(({ severity }) => severity === 'critical').map(({ id }) => id);
    expect(ids.length).toBeGreaterThan(0);
    for (const _ of [1, 2]) {
      await db.engine.withClient((client) => notifyGenerated(client, ctx.clock.now(), { ...interim.model, controls }));
    }
    expect(await told()).toMatchObject([{ kind: 'critical-findings', details: { controls: ids } }]);
  });
});

describe('a deadline', () => {
  const workflow = { frequencies: [], deadlines: { submit: 5, review: 15, approve: 20 } };
  const row = { status: 'draft', interim: false, superseded: false, generatedAt: '2026-04-02 00:00:00+00' };
  const deadline = (over: Partial<typeof row>, now: string) => deadlineOf({ ...row, ...over }, workflow, at(now));

  test.each([
    ['draft', '2026-04-04T23:59:59Z', 'submit', '2026-04-07T00:00:00.000Z', 'open'],
    ['draft', '2026-04-05T00:00:00Z', 'submit', '2026-04-07T00:00:00.000Z', 'near'],
    ['draft', '2026-04-07T00:00:00Z', 'submit', '2026-04-07T00:00:00.000Z', 'near'],
    ['draft', '2026-04-07T00:00:01Z', 'submit', '2026-04-07T00:00:00.000Z', 'over'],
    ['pending_review', '2026-04-08T00:00:00Z', 'review', '2026-04-17T00:00:00.000Z', 'open'],
    ['reviewed', '2026-05-01T00:00:00Z', 'approve', '2026-04-22T00:00:00.000Z', 'over'],
  ])('of a report that is %s at %s is to %s by %s: %s', (status, now, step, dueAt, state) => {
    expect(deadline({ status }, now)).toEqual({ step, dueAt, state });
  });

  test('is of no report that is decided, interim or superseded, nor of a framework without them', () => {
    const now = '2026-05-01T00:00:00Z';
    for (const status of ['approved', 'archived']) expect(deadline({ status }, now)).toBeNull();
    expect(deadline({ interim: true }, now)).toBeNull();
    expect(deadline({ superseded: true }, now)).toBeNull();
    expect(deadlineOf(row, undefined, at(now))).toBeNull();
  });

  test('is told once when it is near and once when it is over', async () => {
    await insertDraft(ctx);
    const { n } = await db.admin.withClient((client) =>
      queryOne(
        client,
        z.object({ n: z.int() }),
        `select count(*)::int as n from audit.compliance_reports
        where status = 'draft' and not interim and generated_at = '2026-04-02T00:00:00Z'`,
      ),
    );
    // Drafts that other tests generated are of the test's now, which these clocks pass as well.
    const others = 1;
    await told();
    ctx.clock.set('2026-04-01T00:00:00Z');
    expect((await run('watch-deadlines')).counts).toMatchObject({ told: others });
    ctx.clock.set('2026-04-06T00:00:00Z');
    expect((await run('watch-deadlines')).counts).toEqual({ waiting: n + others, overdue: others, told: n });
    expect((await run('watch-deadlines')).counts).toMatchObject({ told: 0 });
    ctx.clock.set('2026-04-08T00:00:00Z');
    expect((await run('watch-deadlines')).counts).toEqual({ waiting: n + others, overdue: n + others, told: n });
    expect((await run('watch-deadlines')).counts).toMatchObject({ told: 0 });
    const rows = await told();
    expect(rows.filter(({ kind }) => kind === 'deadline-near')).toHaveLength(n);
    expect(rows.filter(({ kind }) => kind === 'deadline-over')).toHaveLength(n + others);
    expect(rows[1]?.recipients).toContain(emailOf('preparer'));
  });
});

describe('a channel', () => {
  test('gets each row once that it committed, and again what it rolled back', async () => {
    const reportId = await insertDraft(ctx);
    await submitReport(roster.as(ctx, 'preparer'), { reportId });
    const failed = inTransaction(db.engine, async (client) => {
      expect(await take(client)).toHaveLength(1);
      throw new Error('the mail server is away');
    });
    await expect(failed).rejects.toThrow('mail server');
    expect(await kinds()).toEqual(['report-submitted']);
    expect(await kinds()).toEqual([]);
  });

  test('shares its rows between two that take at once', async () => {
    for (const _ of [1, 2]) await submitReport(roster.as(ctx, 'preparer'), { reportId: await insertDraft(ctx) });
    await inTransaction(db.engine, async (first) => {
      expect(await takeNotifications(first, 'mail', 1)).toHaveLength(1);
      expect(await kinds()).toEqual(['report-submitted']);
    });
    expect(await kinds()).toEqual([]);
  });

  test('is the worker’s log, which names no address and passes on everything that other channels took', async () => {
    const lines: string[] = [];
    const log = pino({ level: 'info' }, { write: (line: string) => lines.push(line) });
    const outcome = await findJob('notify').run({ ...ctx, log }, {} as never, new AbortController().signal);
    const rows = await db.admin.withClient((client) =>
      queryRows(client, z.object({ id: z.string() }), 'select id::text from ops.notification order by sequence'),
    );
    const logged = lines.map((line) => z.looseObject({ event: z.string(), id: z.string() }).parse(JSON.parse(line)));
    expect(logged.map(({ id }) => id)).toEqual(rows.map(({ id }) => id));
    expect(new Set(logged.map(({ event }) => event))).toEqual(new Set(['notification']));
    expect(lines.join('')).not.toContain('@');
    expect(outcome.counts).toEqual({ notified: rows.length });
    expect((await run('notify')).counts).toEqual({ notified: 0 });
  });

  test('is a login of its own that may call the function and nothing else', async () => {
    await db.admin.withClient(async (client) => {
      await client.query('begin');
      await client.query('create role test_mailer');
      await client.query('grant usage on schema ops to test_mailer');
      await client.query('grant execute on function ops.take_notifications(text, integer) to test_mailer');
      await client.query('set local role test_mailer');
      expect((await take(client, 'other')).length).toBeGreaterThan(0);
      await client.query('savepoint before');
      for (const forbidden of [
        'select 1 from ops.notification',
        'select 1 from compliance.person',
        `select ops.notify('x', 'x', now(), null, null, null, '{}')`,
      ]) {
        await expect(client.query(forbidden), forbidden).rejects.toMatchObject({ code: '42501' });
        await client.query('rollback to before');
      }
      await client.query('rollback');
    });
  });

  test.each([
    `update ops.notification set kind = 'x'`,
    'delete from ops.notification',
    'truncate ops.notification_delivery',
    'delete from ops.notification_delivery',
  ])('nobody changes what was told: %s', async (statement) => {
    for (const role of ['auditkeep_engine', 'auditkeep_owner']) {
      const refusal = db.as(role).withClient((client) => execute(client, statement));
      await expect(refusal, role).rejects.toMatchObject({ code: 'DB_PRIVILEGE' });
    }
  });
});
