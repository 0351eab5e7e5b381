/** What a newcomer just saw, where it lies and what to try next. */
import type { Config } from '../../config.ts';
import type { ImportReport } from '../../import/report.ts';
import { countOf } from '../../plural.ts';
import type { Exposure } from '../../privacy/exposure.ts';
import { percent, type RiskReport } from '../../privacy/risk.ts';
import type { Approved, DemoReport } from './report.ts';
import type { JobLine } from './stage.ts';
import type { Tampered } from './tamper.ts';

export interface DemoResult {
  readonly imports: readonly ImportReport[];
  readonly archive: JobLine;
  readonly anonymize: JobLine;
  readonly risk: { readonly before: Exposure; readonly after: RiskReport };
  readonly verify: JobLine;
  readonly period: string;
  readonly reports: readonly DemoReport[];
  readonly approved: Approved | null;
  readonly tampered: Tampered | null;
  readonly out: string;
}

/** One line: what an attack with the public chain links before and after. */
export function riskText(before: Exposure, after: RiskReport): string {
  const exposed = before.rows === 0 ? 'none was left' : `${percent(before.uniquelyLinkedShare)} of ${before.rows} rows`;
  const left = `${percent(after.uniquelyLinkedShare)} of the ${countOf(after.rows, 'row')} old enough to be processed`;
  return `  linked with certainty to the public chain: before ${exposed}, after ${left}`;
}

function importText({ kind, imported, duplicates }: ImportReport): string {
  return `${countOf(imported, `${kind} record`)}${duplicates > 0 ? ` (${duplicates} were there already)` : ''}`;
}

/** The last words of the demo. */
export function summaryText(result: DemoResult, config: Config): string {
  const { approved, tampered } = result;
  const imported = result.imports.map(importText).join(', ');
  const show = 'npx auditkeep';
  return [
    'What you just saw',
    `  Imported: ${imported}; personal columns are committed or encrypted.`,
    `  Archive: ${result.archive.summary}. No row was copied to do it.`,
    `  Transactions: ${result.anonymize.summary}.`,
    `  Chain: ${result.verify.summary}.`,
    ...result.reports.map(({ framework, pdf }) => `  ${framework.toUpperCase()} report for ${result.period}: ${pdf}`),
    ...(approved === null
      ? []
      : [
          `  Approved by three persons, encrypted for a recipient: ${approved.bundle}`,
          `  Opened again: ${approved.opened}`,
        ]),
    tampered === null
      ? '  Tampering was left out (see above).'
      : `  Tampering: event ${tampered.eventId} in ${tampered.partition} of a copy was changed; verification calls it ${tampered.found.class} at seq ${tampered.found.seq ?? '?'}.`,
    '',
    'Try next',
    `  ${show} status`,
    `  ${show} chain verify --json`,
    `  ${show} archive list`,
    `  ${show} anonymize risk`,
    `  ${show} report list`,
    '  and docs/guide, for operators, compliance staff, DBAs and auditors',
    ...(config.databaseUrl === null
      ? [
          `  psql "$(${show} db url)"`,
          `  ${show} db down`,
          `That stops the embedded server; its data stays in ${config.home}.`,
        ]
      : []),
  ].join('\n');
}
