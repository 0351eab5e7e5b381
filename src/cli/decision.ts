/** `auditkeep decision list | show | verify`: the signed acts on reports. */
import { EXIT } from '../errors.ts';
import { countOf } from '../plural.ts';
import { findReport, listReports } from '../reports/model/read.ts';
import type { CheckedDecisions, ReportDecision } from '../reports/workflow/decision-check.ts';
import { readDecision, readDecisionsOf } from '../reports/workflow/workflow.ts';
import { type AnyCommand, defineCommand } from './command.ts';

/** What is waiting in each status, for people. */
const WAITING: Readonly<Record<string, string>> = {
  draft: 'waits for submit by a preparer',
  pending_review: 'waits for review by a reviewer',
  reviewed: 'waits for approve by an approver',
};

/** `decision list | show | verify`. */
export const decisionCommands: readonly AnyCommand[] = [
  defineCommand({
    path: ['decision', 'list'],
    summary: 'reports that wait for a decision, and the decisions made on them',
    examples: [
      ['auditkeep decision list', 'everything that waits or was decided'],
      ['auditkeep decision list --report 1b4e28ba', 'one report and its versions'],
    ],
    options: (yargs) => yargs.option('report', { type: 'string', describe: 'id of a report' }),
    async run(session, { report }) {
      const ctx = await session.context();
      const rows = report === undefined ? await listReports(ctx) : [await findReport(ctx, report)];
      const checked = await readDecisionsOf(ctx, rows);
      const entries = [];
      for (const { id, root, status, framework, version } of rows) {
        const { valid = false, decisions = [] } = checked.get(root) ?? {};
        const own = decisions.filter((decision) => decision.reportId === id);
        entries.push({
          reportId: id,
          framework,
          version,
          status,
          valid,
          waiting: WAITING[status] ?? null,
          decisions: own,
        });
      }
      const text = entries.flatMap(({ reportId, framework, version, status, valid, waiting, decisions }) => [
        `${reportId}  ${framework} v${version}  ${status}${valid ? '' : '  INVALID'}${waiting === null ? '' : `  (${waiting})`}`,
        ...decisions.map(decisionLine),
      ]);
      const exitCode = entries.every((entry) => entry.valid) ? EXIT.done : EXIT.findings;
      return { data: entries, text: text.length === 0 ? 'There are no reports yet.' : text.join('\n'), exitCode };
    },
  }),
  defineCommand({
    path: ['decision', 'show'],
    positionals: '<id>',
    summary: 'the signed text of a decision and its signature, as ssh-keygen -Y verify takes them',
    examples: [['auditkeep decision show 8b7c1f0e-0000-4000-8000-000000000000', 'payload, signature and comment']],
    options: (yargs) => yargs.positional('id', { type: 'string', demandOption: true }),
    async run(session, { id }) {
      const decision = await readDecision(await session.context(), id);
      const comment = decision.comment === null ? '' : `\ncomment: ${decision.comment}`;
      return { data: decision, text: `${decision.payload}\n${decision.signature}${comment}` };
    },
  }),
  defineCommand({
    path: ['decision', 'verify'],
    positionals: '[report]',
    summary:
      'check every signature, the order and the separation of duties of one report or of all; acknowledged findings are shown',
    examples: [
      ['auditkeep decision verify', 'all reports; ends with 3 when one is invalid'],
      ['auditkeep decision verify 1b4e28ba', 'one report and its versions'],
    ],
    options: (yargs) => yargs.positional('report', { type: 'string' }),
    async run(session, { report }) {
      const ctx = await session.context();
      const rows = report === undefined ? await listReports(ctx) : [await findReport(ctx, report)];
      const checked = await readDecisionsOf(ctx, rows);
      const results = rows.flatMap(({ id, root }) => {
        const found = checked.get(root);
        return found === undefined ? [] : [{ reportId: id, ...found }];
      });
      const invalid = results.filter((result) => !result.valid);
      const found = results.filter((result) => result.findings.length > 0);
      const isNew = found.some((result) => result.findings.some((entry) => !entry.acknowledged));
      const text = [
        ...found.flatMap(({ reportId, valid, findings }) => [
          `${reportId}  ${valid ? 'valid, without what is void' : 'INVALID'}`,
          ...findings.map((entry) => `  finding: ${entry.decisionId ?? 'report'}: ${entry.what}${voidText(entry)}`),
        ]),
        `${countOf(results.length, 'report')} checked, ${invalid.length} invalid`,
      ];
      return { data: results, text: text.join('\n'), exitCode: isNew ? EXIT.findings : EXIT.done };
    },
  }),
];

function voidText({ void: isVoid, acknowledged }: CheckedDecisions['findings'][number]): string {
  if (!isVoid) return '';
  return acknowledged ? ' (void, acknowledged)' : ' (void)';
}

function decisionLine({ time, meaning, person, id, comment }: ReportDecision): string {
  return `  ${time}  ${meaning.padEnd(7)}  ${person}  ${id}${comment === null ? '' : `  "${comment}"`}`;
}
