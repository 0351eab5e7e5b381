/** `auditkeep report diff A B` */
import type { ComparableReport } from '../reports/diff/comparable.ts';
import { type ControlDiff, type ControlOutcome, compareReports, type ReportDiff } from '../reports/diff/compare.ts';
import type { ExceptionsDiff } from '../reports/diff/exceptions.ts';
import { isReportId, readReportFile, readStoredReport } from '../reports/diff/read-compared.ts';
import { formatCount } from '../reports/template/texts.ts';
import { type AnyCommand, defineCommand, type Session } from './command.ts';

/** `report diff`; without a database where both are files. */
export const reportDiffCommands: readonly AnyCommand[] = [
  defineCommand({
    path: ['report', 'diff'],
    positionals: '<a> <b>',
    summary: 'compare two reports of a framework: what is new, fixed and recurring',
    examples: [
      ['auditkeep report diff 1b4e28ba 9c2e60f1', 'two reports of the database, the earlier one first'],
      ['auditkeep report diff q1/report.zip q2/report.zip', 'two bundles or model files; needs no database'],
    ],
    options: (yargs) =>
      yargs
        .positional('a', { type: 'string', demandOption: true, describe: 'id or file of the earlier report' })
        .positional('b', { type: 'string', demandOption: true, describe: 'id or file of the later report' }),
    async run(session, { a, b }) {
      const diff = compareReports(await readCompared(session, a), await readCompared(session, b));
      return { data: diff, text: diffText(diff) };
    },
  }),
];

async function readCompared(session: Session, given: string): Promise<ComparableReport> {
  if (!isReportId(given)) return readReportFile(given);
  return readStoredReport(await session.context(), given);
}

/** The worst first; what is the same in both is counted only. */
const OUTCOMES: readonly ControlOutcome[] = [
  'new',
  'recurring',
  'undecided',
  'waived',
  'fixed',
  'changed',
  'added',
  'removed',
];

function diffText(diff: ReportDiff): string {
  const listed = OUTCOMES.flatMap((outcome) => diff.controls.filter((control) => control.outcome === outcome));
  const quiet = diff.controls.filter((control) => control.outcome === 'same');
  const moved = quiet.filter(({ exceptions, templateChanged }) => exceptions.a !== exceptions.b || templateChanged);
  const requirements = diff.requirements.filter(({ status }) => status.a !== status.b);
  return [
    ...(['a', 'b'] as const).map((side) => {
      const { id, version, framework, periodStart, periodEnd, opinion, hash, interim } = diff[side];
      const period = `${periodStart} to ${periodEnd}${interim ? ' (interim)' : ''}`;
      return `${side.toUpperCase()}  ${id} v${version}  ${framework} ${period}  ${opinion}  H ${hash}`;
    }),
    ...[...listed, ...moved].flatMap(controlLines),
    `${quiet.length - moved.length} of ${diff.controls.length} controls are as they were.`,
    ...requirements.map(({ id, status }) => `requirement ${id}  ${status.a ?? 'none'} -> ${status.b ?? 'none'}`),
    'Pseudonyms are of one report each: exceptions were matched by their other columns, so figures are bounds unless they say exactly.',
  ].join('\n');
}

function controlLines(control: ControlDiff): string[] {
  const { id, title, outcome, status, population, exceptions, templateVersion } = control;
  const template = `template v${templateVersion.a ?? '-'} -> v${templateVersion.b ?? '-'}`;
  return [
    `${outcome.padEnd(9)}  ${id}  ${status.a ?? 'none'} -> ${status.b ?? 'none'}  ${title}`,
    `           population ${formatCount(population.a)} -> ${formatCount(population.b)}, exceptions ${formatCount(exceptions.a)} -> ${formatCount(exceptions.b)}${boundsText(exceptions)}`,
    ...(control.templateChanged
      ? [`           asks something else than before: ${template}, or other parameters`]
      : []),
  ];
}

function boundsText({ matching, newAtLeast, fixedAtLeast, recurringAtMost }: ExceptionsDiff): string {
  if (matching === 'none' || (newAtLeast === 0 && fixedAtLeast === 0 && recurringAtMost === 0)) return '';
  if (matching === 'rows') return `: exactly ${newAtLeast} new, ${fixedAtLeast} fixed, ${recurringAtMost} recurring`;
  const by = matching === 'counts' ? ' (by their counts)' : '';
  return `: at least ${newAtLeast} new, at least ${fixedAtLeast} fixed, at most ${recurringAtMost} recurring${by}`;
}
