/** A status that no signed decision led to is told wherever a report is listed; what is unknown is not verified. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { main } from '../../src/cli/main.ts';
import { execute } from '../../src/db/query.ts';
import { inTransaction } from '../../src/db/transaction.ts';
import { evaluateControls } from '../../src/reports/evaluate/evaluate.ts';
import { loadTemplates } from '../../src/reports/template/template.ts';
import { approveReport, reviewReport, submitReport } from '../../src/reports/workflow/workflow.ts';
import { parseReportPeriod } from '../../src/time/report-period.ts';
import { foundRegister } from '../persons/roster.ts';
import { insertDraft } from '../reports/draft.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();
let ctx: TestContext;
let folder: string;
let first: string;
let forged: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'auditkeep-validity-'));
  ctx = await testContext(db);
  const home = join(folder, 'home');
  await mkdir(home, { mode: 0o700 });
  await writeFile(join(folder, 'auditkeep.yaml'), JSON.stringify({ home, databaseUrl: db.url() }));
  const roster = await foundRegister(ctx, folder);
  first = await insertDraft(ctx);
  await submitReport(roster.as(ctx, 'preparer'), { reportId: first });
  await reviewReport(roster.as(ctx, 'reviewer'), { reportId: first });
  await approveReport(roster.as(ctx, 'approver'), { reportId: first });
  forged = await insertDraft(ctx, { supersedes: first });
  await inTransaction(db.as('auditkeep_owner'), async (client) => {
    await execute(client, 'alter table audit.compliance_reports disable trigger user');
    await execute(
      client,
      `update audit.compliance_reports r set status = 'approved', reviewed_by = o.reviewed_by, reviewed_at = now(),
         approved_by = o.approved_by, approved_at = now()
         from audit.compliance_reports o where o.id = $1::uuid and r.id = $2::uuid`,
      [first, forged],
    );
    await execute(client, 'alter table audit.compliance_reports enable always trigger follow_decision');
  });
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const streams = { stdout: new PassThrough(), stderr: new PassThrough() };
  const written = Promise.all([text(streams.stdout), text(streams.stderr)]);
  const code = await main([...args, '--config', join(folder, 'auditkeep.yaml')], streams);
  streams.stdout.end();
  streams.stderr.end();
  const [out, err] = await written;
  return { code, out, err };
}

test.each([['report'], ['decision']])('%s list says that a forged approval is none', async (area) => {
  const { code, out } = await run(area, 'list');
  expect(code).toBe(3);
  expect(out.split('\n').find((line) => line.startsWith(forged))).toContain('INVALID');
});

test('the control on approvals counts the decisions of each version', async () => {
  const { controls } = await loadTemplates();
  const control = controls.get('lg-05');
  if (control === undefined) throw new Error('no control lg-05');
  const period = parseReportPeriod('2025', { now: ctx.clock.now() });
  const { results } = await evaluateControls(ctx, { controls: [control], period, pseudonymize: (value) => value });
  const [result] = results;
  if (result?.result.kind !== 'evaluated') throw new Error('lg-05 was not evaluated');
  expect(result.result.judgement.status).toBe('fail');
  expect(result.result.exceptions.rows.map((row) => row[2])).toEqual(['a signed act is missing']);
});

test.each([
  ['decision verify of nothing', ['decision', 'verify', '00000000']],
  ['decision list of nothing', ['decision', 'list', '--report', '00000000']],
  [
    'a new version of nothing',
    [
      'report',
      'generate',
      '--framework',
      'sox',
      '--period',
      '2025',
      '--supersedes',
      '00000000',
      '--as',
      'preparer@example.org',
    ],
  ],
])('%s ends with 2', async (_, args) => {
  const { code, err } = await run(...args);
  expect(code).toBe(2);
  expect(err).toContain('REPORT_NOT_FOUND');
});
