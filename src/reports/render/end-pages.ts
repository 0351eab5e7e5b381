/** What closes a report: how to read and check it, and after decisions their pages D-1, D-2, ... */
import { COLOR } from '../../pdf/page.ts';
import { ensureRoom, heading, measure, type Sheet, write } from '../../pdf/sheet.ts';
import { drawFields, drawTable, type Field, measureFields } from '../../pdf/table.ts';
import { splitComment } from '../model/control-comment.ts';
import type { RequirementStatus } from '../model/status.ts';
import type { Texts } from '../template/texts.ts';
import { STATUS_COLOR } from './palette.ts';

/** One signed act on a report, as the final PDF prints it. */
export interface DecisionEntry {
  /** What the signature means: "Submitted for review", "Reviewed", "Approved", "Rejected". */
  readonly meaning: string;
  /** Full name, as signed. */
  readonly name: string;
  readonly email: string;
  /** What the person was entitled to act as: "reviewer", "records manager". */
  readonly role: string;
  /** The version of the report that it is about. */
  readonly version: number;
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

/** Draws the annex from the current position on. */
export function drawAnnex(sheet: Sheet, texts: Texts): void {
  heading(sheet, 1, texts('annex.heading'));
  heading(sheet, 2, texts('annex.statuses'), 100);
  drawTable(
    sheet,
    [
      { label: texts('summary.status'), weight: 20 },
      { label: texts('annex.meaning'), weight: 80 },
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
    const fields = fieldsOf(decision, texts);
    const title = texts('decisions.decision', { number: index + 1, meaning: decision.meaning });
    const height = measureFields(sheet, fields) + measure(sheet, title, { size: 14 }) + 20;
    if (height < 500) ensureRoom(sheet, height);
    heading(sheet, 2, title, 100);
    drawFields(sheet, fields);
  }
}

function fieldsOf(decision: DecisionEntry, texts: Texts): Field[] {
  const { whole, controls } = splitComment(decision.comment);
  return [
    { label: texts('decisions.by'), value: texts('decisions.byValue', { name: decision.name, email: decision.email }) },
    { label: texts('decisions.role'), value: decision.role },
    { label: texts('decisions.at'), value: decision.at },
    { label: texts('decisions.version'), value: String(decision.version) },
    { label: texts('decisions.key'), value: decision.keyFingerprint, mono: true },
    { label: texts('decisions.signature'), value: decision.sha256, mono: true },
    ...(whole === null ? [] : [{ label: texts('decisions.comment'), value: whole }]),
    ...controls.map(({ control, comment }) => ({
      label: texts('decisions.commentOn', { control: control.toUpperCase() }),
      value: comment,
    })),
  ];
}
