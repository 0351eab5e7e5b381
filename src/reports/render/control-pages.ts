/** One section a control: status, what must hold, figures, exceptions, waivers, what to do and what it does not show. */
import { COLOR, CONTENT_WIDTH, FONT, PAGE } from '../../pdf/page.ts';
import { bullets, decorate, ensureRoom, heading, measure, roomLeft, type Sheet, write } from '../../pdf/sheet.ts';
import { drawTable, type TableColumn } from '../../pdf/table.ts';
import type { ControlModel } from '../model/control-model.ts';
import { formatCount, type Texts } from '../template/texts.ts';
import { STATUS_COLOR } from './palette.ts';

/** Between two controls on a page. */
const GAP = 26;
/** The line above the title, the rule below it, and the strip of figures. */
const HEAD_ROOM = 84;
/** The heading of a table, its header and some of its rows. */
const TABLE_ROOM = 110;
/** Of controls that found nothing there is nothing to do and nothing to list. */
const QUIET: ReadonlySet<ControlModel['status']> = new Set(['pass', 'no_occurrences', 'not_applicable']);
const BADGE_WIDTH = 112;

/** Draws the chapter's head, below which the first control stands. */
export function drawControlsHead(sheet: Sheet, texts: Texts): void {
  heading(sheet, 1, texts('controls.heading'));
  write(sheet, texts('controls.introduction'), { color: COLOR.quiet });
}

/** Moves to where the next control begins: below what came before where its beginning fits, else on a new page. */
export function beginControl(sheet: Sheet, control: ControlModel, texts: Texts): void {
  const { doc } = sheet;
  const words = [control.assertion, reasonText(control, texts), ...(isQuiet(control) ? control.limitations : [])];
  const beginning = words.reduce((sum, text) => sum + measure(sheet, text), measure(sheet, control.title, titleStyle));
  const needed = GAP + beginning + HEAD_ROOM + (isQuiet(control) ? 24 : TABLE_ROOM);
  if (needed > roomLeft(sheet)) doc.addPage();
  else if (doc.y > PAGE.top) doc.y += GAP;
}

/** Draws a control from the current position on. */
export function drawControl(sheet: Sheet, control: ControlModel, texts: Texts): void {
  drawHead(sheet, control, texts);
  write(sheet, control.assertion);
  drawFigures(sheet, control, texts);
  write(sheet, reasonText(control, texts), { font: FONT.bold });
  if (control.population.count === 0) write(sheet, control.population.whenEmptyMeans);
  for (const check of control.checks) {
    if ((check.count ?? 0) > 0)
      write(sheet, texts(`check.${check.kind}`, { ...check, count: formatCount(check.count) }));
  }
  if (!isQuiet(control)) {
    drawExceptions(sheet, control, texts);
    drawWaivers(sheet, control, texts);
    drawParagraph(sheet, texts('control.remediation'), control.remediation);
  }
  if (control.limitations.length === 0) return;
  heading(sheet, 3, texts('control.limitations'), 30);
  bullets(sheet, control.limitations);
}

function isQuiet(control: ControlModel): boolean {
  return QUIET.has(control.status) && (control.exceptions.count ?? 0) === 0;
}

const titleStyle = { font: FONT.bold, size: 15, width: CONTENT_WIDTH - BADGE_WIDTH - 16 } as const;

function drawHead(sheet: Sheet, control: ControlModel, texts: Texts): void {
  const { doc } = sheet;
  const top = doc.y;
  const x = PAGE.left + CONTENT_WIDTH - BADGE_WIDTH;
  const color = STATUS_COLOR[control.status];
  const kicker = `${control.id.toUpperCase()} · ${texts(`group.${control.group}`)}`;
  write(sheet, kicker, { font: FONT.bold, size: 9, color: COLOR.quiet });
  write(sheet, control.title, { ...titleStyle, structure: 'H2' });
  const below = doc.y;
  decorate(sheet, () => doc.roundedRect(x, top + 4, BADGE_WIDTH, 22, 3).fill(color));
  const badge = { font: FONT.bold, size: 10, color: COLOR.paper, x, y: top + 8, width: BADGE_WIDTH } as const;
  write(sheet, texts(`status.${control.status}`), { ...badge, align: 'center' });
  doc.x = PAGE.left;
  doc.y = Math.max(below + 3, top + 32);
  decorate(sheet, () => {
    doc.moveTo(PAGE.left, doc.y).lineTo(PAGE.left + CONTENT_WIDTH, doc.y);
    doc.lineWidth(1.2).stroke(color);
  });
  doc.y += 5;
}

function reasonText(control: ControlModel, texts: Texts): string {
  const reason = texts(`reason.${control.reason}`, {
    exceptions: formatCount(control.exceptions.count),
    population: formatCount(control.population.count),
    independent: formatCount(control.ipe.independentCount),
    sqlState: control.sqlState ?? '-',
  });
  const { count, waived } = control.exceptions;
  const isPartly = waived !== null && count !== null && waived > 0 && waived < count;
  return isPartly ? `${reason} ${texts('control.partlyWaived', { waived: formatCount(waived) })}` : reason;
}

function drawFigures(sheet: Sheet, control: ControlModel, texts: Texts): void {
  const { doc } = sheet;
  ensureRoom(sheet, 60);
  doc.y += 6;
  const { count, waived } = control.exceptions;
  const figures = [
    { label: texts('control.population'), value: formatCount(control.population.count) },
    { label: texts('control.independent'), value: formatCount(control.ipe.independentCount) },
    {
      label: texts('control.exceptions'),
      value: formatCount(count),
      color: (count ?? 0) > (waived ?? 0) ? STATUS_COLOR.fail : COLOR.ink,
    },
    ...((waived ?? 0) > 0 ? [{ label: texts('control.waived'), value: formatCount(waived) }] : []),
    { label: texts('control.severity'), value: texts(`severity.${control.severity}`) },
  ];
  const top = doc.y;
  const width = CONTENT_WIDTH / figures.length;
  decorate(sheet, () => doc.roundedRect(PAGE.left, top, CONTENT_WIDTH, 44, 3).fill(COLOR.shade));
  for (const [index, { label, value, color }] of figures.entries()) {
    const place = { x: PAGE.left + index * width + 12, width: width - 16 } as const;
    write(sheet, label, { ...place, size: 8.4, color: COLOR.quiet, y: top + 5 });
    write(sheet, value, { ...place, font: FONT.bold, size: 15, color: color ?? COLOR.ink, y: top + 17 });
  }
  doc.x = PAGE.left;
  doc.y = top + 50;
}

function drawExceptions(sheet: Sheet, control: ControlModel, texts: Texts): void {
  const { exceptions } = control;
  if (exceptions.count === null || exceptions.count === 0) {
    const words = texts(exceptions.count === null ? 'control.unknown' : 'control.noExceptions');
    drawParagraph(sheet, texts('control.exceptionTable'), `${exceptions.meaning} ${words}`);
    return;
  }
  heading(sheet, 3, texts('control.exceptionTable'), TABLE_ROOM - 30);
  write(sheet, exceptions.meaning, { gapAfter: 4 });
  drawTable(
    sheet,
    exceptions.columns.map((column) => columnOf(column, texts)),
    exceptions.rows.map((row) => row.map((text, index) => ({ text: cellText(text, exceptions.columns[index]?.kind) }))),
    { roomBelow: 16 },
  );
  const shown = exceptions.rows.length;
  const { path = '', sha256 = '' } = exceptions.evidence ?? {};
  const values = { shown: formatCount(shown), count: formatCount(exceptions.count), path, sha256 };
  const key = shown < exceptions.count ? 'control.shown' : 'control.shownAll';
  write(sheet, texts(key, values), { size: 8.4, color: COLOR.quiet });
}

function columnOf(column: ControlModel['exceptions']['columns'][number], texts: Texts): TableColumn {
  return {
    label: column.kind === 'instant' ? texts('control.utc', { label: column.label }) : column.label,
    weight: { pseudonym: 23, text: 22, integer: 13, instant: 22 }[column.kind],
    mono: column.kind === 'pseudonym',
    align: column.kind === 'integer' ? 'right' : 'left',
  };
}

function cellText(text: string | null, kind: string | undefined): string {
  if (text === null) return '–';
  if (kind === 'instant') return text.replace('T', ' ').replace('Z', '');
  return kind === 'integer' && /^\d+$/.test(text) ? formatCount(Number(text)) : text;
}

/** Which exceptions are covered, why, until when and by whose signatures; the texts are in the chapter of statements. */
function drawWaivers(sheet: Sheet, control: ControlModel, texts: Texts): void {
  if (control.waivers.length === 0) return;
  heading(sheet, 3, texts('control.waivers'), TABLE_ROOM - 30);
  drawTable(
    sheet,
    [
      { label: texts('waiver.covered'), weight: 9, align: 'right' },
      { label: texts('waiver.scope'), weight: 26 },
      { label: texts('waiver.reason'), weight: 33 },
      { label: texts('waiver.expires'), weight: 15 },
      { label: texts('waiver.signers'), weight: 27 },
    ],
    control.waivers.map((waiver) => [
      { text: formatCount(waiver.covered) },
      { text: scopeText(waiver.scope, texts) },
      { text: waiver.reason },
      { text: dayOf(waiver.expiresAt) },
      { text: waiver.signers.join('\n') },
    ]),
  );
}

/** What a waiver covers, in words. */
export function scopeText(scope: ControlModel['waivers'][number]['scope'], texts: Texts): string {
  if (scope.length === 0) return texts('waiver.everything');
  return scope.map(({ column, value }) => `${column} = ${value}`).join('\n');
}

/** The day of an ISO instant; what is not one stays as it is. */
function dayOf(instant: string): string {
  return /^(\d{4}-\d{2}-\d{2})T/.exec(instant)?.[1] ?? instant;
}

/** A small heading with its paragraph, together where a page can hold both. */
function drawParagraph(sheet: Sheet, title: string, text: string): void {
  heading(sheet, 3, title, Math.min(measure(sheet, text), 200));
  write(sheet, text);
}
