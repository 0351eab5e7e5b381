/** One section a control: status, what must hold, figures, exceptions, what to do; and the annex of how figures were made. */
import type { ControlModel } from '../model.ts';
import { formatCount, type Texts } from '../texts.ts';
import { COLOR, CONTENT_WIDTH, FONT, PAGE, STATUS_COLOR } from './palette.ts';
import { decorate, ensureRoom, field, heading, type Sheet, write } from './sheet.ts';
import { drawTable } from './table.ts';

/** Room that a control's head, assertion, result and figures take; with less of it left it begins on the next page. */
const BEGINNING = 230;
/** Between two controls on a page. */
const GAP = 22;
/** Of controls that found nothing there is nothing to do and nothing to list. */
const QUIET: ReadonlySet<ControlModel['status']> = new Set(['pass', 'no_occurrences', 'not_applicable']);

/** Moves to where the next control begins: the first on a new page, another below the one before where it fits. */
export function beginControl(sheet: Sheet, isFirst: boolean): void {
  const { doc } = sheet;
  if (isFirst || doc.y + GAP + BEGINNING > PAGE.height - PAGE.bottom) doc.addPage();
  else doc.y += GAP;
}

/** Draws a control from the current position on. */
export function drawControl(sheet: Sheet, control: ControlModel, texts: Texts): void {
  drawHead(sheet, control, texts);
  heading(sheet, 3, texts('control.assertion'));
  write(sheet, control.assertion, { gapAfter: 4 });
  heading(sheet, 3, texts('control.result'));
  write(sheet, reasonText(control, texts), { gapAfter: 2 });
  if (control.population.count === 0) write(sheet, control.population.whenEmptyMeans);
  drawFigures(sheet, control, texts);
  const isQuiet = QUIET.has(control.status) && control.exceptions.count === 0;
  if (!isQuiet) {
    drawExceptions(sheet, control, texts);
    heading(sheet, 3, texts('control.remediation'));
    write(sheet, control.remediation);
  }
  drawList(sheet, texts('control.limitations'), control.limitations);
}

function drawHead(sheet: Sheet, control: ControlModel, texts: Texts): void {
  const { doc } = sheet;
  const top = doc.y;
  const badgeWidth = 118;
  const x = PAGE.left + CONTENT_WIDTH - badgeWidth;
  const color = STATUS_COLOR[control.status];
  write(sheet, `${control.id.toUpperCase()} · ${texts(`group.${control.group}`)}`, {
    font: FONT.bold,
    size: 8.5,
    color: COLOR.quiet,
    gapAfter: 1,
  });
  write(sheet, control.title, {
    font: FONT.bold,
    size: 16,
    width: CONTENT_WIDTH - badgeWidth - 16,
    structure: 'H2',
    gapAfter: 6,
  });
  const below = doc.y;
  decorate(sheet, () => doc.roundedRect(x, top + 2, badgeWidth, 22, 3).fill(color));
  write(sheet, texts(`status.${control.status}`), {
    font: FONT.bold,
    size: 9.5,
    color: COLOR.paper,
    x,
    y: top + 7.4,
    width: badgeWidth,
    align: 'center',
  });
  doc.x = PAGE.left;
  doc.y = Math.max(below, top + 30);
  decorate(sheet, () => {
    doc.moveTo(PAGE.left, doc.y).lineTo(PAGE.left + CONTENT_WIDTH, doc.y);
    doc.lineWidth(1.2).stroke(color);
  });
  doc.y += 4;
}

function reasonText(control: ControlModel, texts: Texts): string {
  return texts(`reason.${control.reason}`, {
    exceptions: formatCount(control.exceptions.count),
    population: formatCount(control.population.count),
    independent: formatCount(control.ipe.independentCount),
    sqlState: control.sqlState ?? '-',
  });
}

function drawFigures(sheet: Sheet, control: ControlModel, texts: Texts): void {
  const { doc } = sheet;
  ensureRoom(sheet, 60);
  doc.y += 8;
  const figures = [
    [texts('control.population'), formatCount(control.population.count)],
    [texts('control.independent'), formatCount(control.ipe.independentCount)],
    [texts('control.exceptions'), formatCount(control.exceptions.count)],
    [texts('control.severity'), texts(`severity.${control.severity}`)],
  ] as const;
  const top = doc.y;
  const width = CONTENT_WIDTH / figures.length;
  decorate(sheet, () => doc.roundedRect(PAGE.left, top, CONTENT_WIDTH, 46, 3).fill(COLOR.shade));
  for (const [index, [label, value]] of figures.entries()) {
    const x = PAGE.left + index * width + 12;
    write(sheet, label, { size: 7.8, color: COLOR.quiet, x, y: top + 8, width: width - 16 });
    const color = index === 2 && (control.exceptions.count ?? 0) > 0 ? STATUS_COLOR.fail : COLOR.ink;
    write(sheet, value, { font: FONT.bold, size: 14, color, x, y: top + 20, width: width - 16 });
  }
  doc.x = PAGE.left;
  doc.y = top + 54;
}

function drawExceptions(sheet: Sheet, control: ControlModel, texts: Texts): void {
  const { exceptions } = control;
  heading(sheet, 3, texts('control.exceptionTable'), 80);
  write(sheet, exceptions.meaning, { gapAfter: 4 });
  if (exceptions.count === null || exceptions.count === 0) {
    write(sheet, texts(exceptions.count === null ? 'control.unknown' : 'control.noExceptions'), { gapAfter: 4 });
    return;
  }
  drawTable(
    sheet,
    exceptions.columns.map((column) => ({
      label: column.kind === 'instant' ? texts('control.utc', { label: column.label }) : column.label,
      weight: { pseudonym: 24, text: 22, integer: 13, instant: 24 }[column.kind],
      mono: column.kind === 'pseudonym',
      align: column.kind === 'integer' ? 'right' : 'left',
    })),
    exceptions.rows.map((row) => row.map((text, index) => ({ text: cellText(text, exceptions.columns[index]?.kind) }))),
  );
  const shown = exceptions.rows.length;
  const values = { shown: formatCount(shown), count: formatCount(exceptions.count), sha256: exceptions.sha256 };
  const key = shown < exceptions.count ? 'control.shown' : 'control.shownAll';
  write(sheet, texts(key, values), { size: 7.8, color: COLOR.quiet, gapAfter: 4 });
}

function cellText(text: string | null, kind: string | undefined): string {
  if (text === null) return '–';
  if (kind === 'instant') return text.replace('T', ' ').replace('Z', '');
  return kind === 'integer' && /^\d+$/.test(text) ? formatCount(Number(text)) : text;
}

function drawList(sheet: Sheet, title: string, items: readonly string[]): void {
  if (items.length === 0) return;
  heading(sheet, 3, title, 30);
  for (const item of items) write(sheet, `•  ${item}`, { gapAfter: 1 });
}

/** Draws the annex of how the figures of each control were made. */
export function drawEvidence(sheet: Sheet, controls: readonly ControlModel[], texts: Texts): void {
  sheet.doc.addPage();
  heading(sheet, 1, texts('control.evidence'));
  for (const control of controls) drawFigureEvidence(sheet, control, texts);
}

function drawFigureEvidence(sheet: Sheet, control: ControlModel, texts: Texts): void {
  const { ipe } = control;
  heading(sheet, 2, `${control.id.toUpperCase()}  ${control.title}`, 130);
  field(sheet, texts('control.mode'), texts(`mode.${control.mode}`));
  field(sheet, texts('control.frequency'), control.frequency);
  field(sheet, texts('evidence.population'), control.population.meaning);
  const completeness = {
    meaning: ipe.completenessMeaning,
    independent: formatCount(ipe.independentCount),
    difference: formatCount(ipe.difference),
  };
  field(sheet, texts('evidence.completeness'), texts('evidence.completenessValue', completeness));
  for (const parameter of ipe.parameters) {
    const value = { ...parameter, value: formatCount(parameter.value) };
    field(sheet, texts('control.parameters'), texts('control.parameter', value));
  }
  field(sheet, texts('evidence.template'), ipe.templateSha256, { mono: true });
  field(sheet, texts('evidence.populationSql'), ipe.populationSqlSha256, { mono: true });
  field(sheet, texts('evidence.exceptionsSql'), ipe.exceptionsSqlSha256, { mono: true });
  field(sheet, texts('evidence.completenessSql'), ipe.completenessSqlSha256, { mono: true });
}
