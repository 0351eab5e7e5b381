/** What closes a report: how to read and check it, and after decisions their pages D-1, D-2, ... */
import type { RequirementStatus } from '../status.ts';
import type { Texts } from '../texts.ts';
import { COLOR, FONT, STATUS_COLOR } from './palette.ts';
import { ensureRoom, field, heading, type Sheet, write } from './sheet.ts';
import { drawTable } from './table.ts';

/** One signed act on a report, as the final PDF prints it. */
export interface DecisionEntry {
  /** What the signature means: "Submitted for review", "Reviewed", "Approved", "Rejected". */
  readonly meaning: string;
  readonly person: string;
  /** ISO 8601, UTC. */
  readonly at: string;
  readonly keyFingerprint: string;
  readonly comment: string | null;
  /** SHA-256 of the signed payload. */
  readonly sha256: string;
}

const EXPLAINED: readonly RequirementStatus[] = [
  'pass',
  'pass_with_waiver',
  'fail',
  'error',
  'insufficient_data',
  'stale',
  'no_occurrences',
  'not_applicable',
  'manual_pending',
];

/** Draws the annex. */
export function drawAnnex(sheet: Sheet, texts: Texts): void {
  sheet.doc.addPage();
  heading(sheet, 1, texts('annex.heading'));
  heading(sheet, 2, texts('annex.statuses'));
  drawTable(
    sheet,
    [
      { label: texts('summary.status'), weight: 20 },
      { label: texts('annex.statuses'), weight: 80 },
    ],
    EXPLAINED.map((status) => [
      { text: texts(`status.${status}`), badge: STATUS_COLOR[status] },
      { text: texts(`statusMeaning.${status}`) },
    ]),
  );
  for (const part of ['persons', 'method', 'check']) {
    heading(sheet, 2, texts(`annex.${part}`));
    write(sheet, texts(`annex.${part}Text`), { gapAfter: 4 });
  }
}

/** Draws the decisions on pages of their own: name, time and meaning of each signature (21 CFR 11.50). */
export function drawDecisions(sheet: Sheet, decisions: readonly DecisionEntry[], texts: Texts): void {
  sheet.doc.addPage();
  heading(sheet, 1, texts('decisions.heading'));
  write(sheet, texts('decisions.introduction'), { gapAfter: 8, color: COLOR.quiet });
  for (const [index, decision] of decisions.entries()) {
    ensureRoom(sheet, 130);
    heading(sheet, 2, texts('decisions.decision', { number: index + 1, meaning: decision.meaning }));
    field(sheet, texts('decisions.by'), decision.person);
    field(sheet, texts('decisions.at'), decision.at);
    field(sheet, texts('decisions.key'), decision.keyFingerprint, { mono: true });
    field(sheet, texts('decisions.signature'), decision.sha256, { mono: true });
    if (decision.comment !== null) {
      sheet.doc.y += 3;
      write(sheet, texts('decisions.comment'), { font: FONT.bold, size: 8.8, color: COLOR.brand });
      write(sheet, decision.comment, { gapAfter: 4 });
    }
  }
}
