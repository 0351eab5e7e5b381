/** `auditkeep report generate | list | show` */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AuditkeepError, EXIT } from '../errors.ts';
import { type GeneratedReport, generateReport } from '../reports/generate.ts';
import type { ReportModel } from '../reports/model.ts';
import { listReports, type ReadReport, readReport } from '../reports/read.ts';
import { renderJson } from '../reports/render/json.ts';
import { renderPdf } from '../reports/render/pdf.ts';
import { formatCount } from '../reports/texts.ts';
import { readDecisions } from '../reports/workflow.ts';
import { type AnyCommand, defineCommand } from './command.ts';
import { dryRunOption, NOTHING_CHANGED } from './dry-run.ts';

const outOption = { type: 'string', describe: 'folder for the review PDF and the model JSON' } as const;

export const reportCommands: readonly AnyCommand[] = [
  defineCommand({
    path: ['report', 'generate'],
    summary: 'evaluate the controls of a framework over a period and store the report as a draft',
    examples: [
      ['auditkeep report generate --framework gdpr --period 2026-Q1', 'a draft for the first quarter'],
      ['auditkeep report generate --framework sox --period last-full-month --out out', 'and its files in out/'],
      ['auditkeep report generate --framework hipaa --period 2026-01-01..2026-03-31 --json', 'any dates, as JSON'],
    ],
    options: (yargs) =>
      yargs.options({
        framework: { type: 'string', demandOption: true, describe: 'gdpr, sox or hipaa' },
        period: {
          type: 'string',
          demandOption: true,
          describe: '2026-Q1, 2026, 2026-05, last-full-month, or two dates 2026-01-01..2026-03-31',
        },
        interim: { type: 'boolean', default: false, describe: 'allow a period that still runs; never approvable' },
        supersedes: { type: 'string', describe: 'id of the report that this is a new version of' },
        out: outOption,
        'dry-run': dryRunOption,
      }),
    async run(session, args) {
      const { framework, period, interim, supersedes, 'dry-run': dryRun } = args;
      const report = await generateReport(await session.context({ dryRun }), {
        framework,
        period,
        interim,
        supersedes: supersedes ?? null,
      });
      if (dryRun) {
        // The report that was tried is gone with its id; the figures stand.
        const tried = { ...summaryOf(report), id: null, hash: null, pdfSha256: null, files: [] };
        return { data: tried, text: triedText(report) };
      }
      const files = args.out === undefined ? [] : await writeFiles(args.out, report.model);
      return { data: { ...summaryOf(report), files }, text: generatedText(report, files) };
    },
  }),
  defineCommand({
    path: ['report', 'list'],
    summary: 'list the reports, newest first',
    examples: [
      ['auditkeep report list', 'id, framework, period and status'],
      ['auditkeep report list --json', 'as JSON'],
    ],
    options: (yargs) => yargs,
    async run(session) {
      const ctx = await session.context();
      const rows = await Promise.all(
        (await listReports(ctx)).map(async (row) => ({ ...row, valid: (await readDecisions(ctx, row.id)).valid })),
      );
      const lines = rows.map(
        (row) =>
          `${row.id}  v${row.version}  ${row.framework.padEnd(6)} ${row.periodStart} to ${row.periodEnd}  ${row.status}${row.interim ? ' (interim)' : ''}${row.valid ? '' : '  INVALID'}`,
      );
      return {
        data: rows.map(({ id, version, framework, periodStart, periodEnd, status, valid, hash, generatedAt }) => {
          return { id, version, framework, periodStart, periodEnd, status, valid, hash, generatedAt };
        }),
        text: lines.length === 0 ? 'There are no reports yet.' : lines.join('\n'),
        exitCode: rows.every((row) => row.valid) ? EXIT.done : EXIT.findings,
      };
    },
  }),
  defineCommand({
    path: ['report', 'show'],
    positionals: '<id>',
    summary: 'show a report: its status and what each control found',
    examples: [
      ['auditkeep report show 1b4e28ba', 'by the first digits of its id'],
      ['auditkeep report show 1b4e28ba --out out', 'write its review PDF and model JSON'],
    ],
    options: (yargs) => yargs.positional('id', { type: 'string', demandOption: true }).options({ out: outOption }),
    async run(session, args) {
      const ctx = await session.context();
      const report = await readReport(ctx, args.id);
      const { valid } = await readDecisions(ctx, report.row.id);
      const files = args.out === undefined ? [] : await writeFiles(args.out, report.model);
      const exitCode = valid ? EXIT.done : EXIT.findings;
      return { data: { ...shownReport(report), valid }, text: shownText(report, valid, files), exitCode };
    },
  }),
];

/** The contract of `report show --json`. */
function shownReport({ row, model }: ReadReport) {
  return {
    id: row.id,
    version: row.version,
    framework: row.framework,
    periodStart: row.periodStart,
    periodEnd: row.periodEnd,
    status: row.status,
    hash: row.hash,
    controls: controlsOf(model),
  };
}

function controlsOf(model: ReportModel) {
  return model.controls.map((control) => ({
    id: control.id,
    status: control.status,
    population: control.population.count,
    exceptions: control.exceptions.count,
  }));
}

function summaryOf({ id, version, hash, pdfSha256, opinion, model }: GeneratedReport) {
  return { id, version, hash, pdfSha256, opinion, controls: controlsOf(model) };
}

function generatedText(report: GeneratedReport, files: readonly string[]): string {
  const { model } = report;
  return [
    `Report ${report.id}, version ${report.version}: ${model.framework.name} ${model.period.startDate} to ${model.period.endDate}.`,
    ...controlLines(model),
    `H ${report.hash}`,
    ...files.map((file) => `wrote ${file}`),
    `Next: auditkeep report submit ${report.id} --as EMAIL --key FILE`,
  ].join('\n');
}

function triedText({ model, version }: GeneratedReport): string {
  const { framework, period } = model;
  return [
    `Version ${version} of a report would be stored: ${framework.name} ${period.startDate} to ${period.endDate}.`,
    ...controlLines(model),
    NOTHING_CHANGED,
  ].join('\n');
}

function shownText({ row, model }: ReadReport, valid: boolean, files: readonly string[]): string {
  return [
    `Report ${row.id}, version ${row.version}: ${model.framework.name} ${row.periodStart} to ${row.periodEnd}, ${row.status}.`,
    ...(valid ? [] : ['INVALID: its status does not rest on signed decisions; see `auditkeep decision verify`']),
    ...controlLines(model),
    `H ${row.hash}`,
    ...files.map((file) => `wrote ${file}`),
  ].join('\n');
}

function controlLines(model: ReportModel): string[] {
  return model.controls.map((control) => {
    const figures = `${formatCount(control.exceptions.count)} of ${formatCount(control.population.count)}`;
    return `  ${control.id}  ${control.status.padEnd(17)} ${figures.padStart(14)}  ${control.title}`;
  });
}

async function writeFiles(folder: string, model: ReportModel): Promise<string[]> {
  const { framework, period, report } = model;
  const name = `${framework.id}-${period.startDate}-${period.endDate}-${report.id.slice(0, 8)}`;
  const files = [
    { path: join(folder, `${name}.pdf`), bytes: await renderPdf(model, null) },
    { path: join(folder, `${name}.json`), bytes: renderJson(model) },
  ];
  try {
    await mkdir(folder, { recursive: true });
    for (const file of files) await writeFile(file.path, file.bytes, { mode: 0o600 });
  } catch (cause) {
    throw new AuditkeepError('INPUT_FILE', {
      message: `the folder ${folder} cannot be written`,
      hint: 'give --out a folder that you may write; the report itself is stored',
      cause,
    });
  }
  return files.map((file) => file.path);
}
