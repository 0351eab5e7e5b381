/**
 * A chart of stacked bars beside the table of its figures. Each part has a colour, a pattern and a column with its word and
 * numbers: nothing is told by colour alone. Assistive technology reads the bars as one figure with an alternative text.
 */
import { COLOR, CONTENT_WIDTH, FONT, PAGE } from './page.ts';
import { decorate, drawFigure, ensureRoom, measure, type Sheet, within, write } from './sheet.ts';

/** White lines over the colour, so that parts differ without it. */
export type Pattern = 'plain' | 'rising' | 'falling' | 'crossed' | 'upright' | 'level';

export interface Series {
  readonly label: string;
  readonly color: string;
  readonly pattern: Pattern;
}

export interface BarRow {
  readonly label: string;
  /** A second line, quiet. */
  readonly note?: string;
  /** One number a series. */
  readonly values: readonly number[];
}

export interface BarChart {
  /** What the rows are. */
  readonly heading: string;
  readonly alt: string;
  readonly series: readonly Series[];
  readonly rows: readonly BarRow[];
  /** How long bars are: `total`, comparable with each other, or `share`, each over the whole width. */
  readonly length: 'total' | 'share';
  readonly format: (value: number) => string;
}

const LABEL_WIDTH = 118;
const MOST_NUMBER_WIDTH = 46;
const BAR_HEIGHT = 11;
const HEADER_SIZE = 7.8;
const SIZE = 9;
const GAP = 10;

interface Layout {
  readonly numberWidth: number;
  readonly barWidth: number;
  readonly headerHeight: number;
  readonly rowHeight: number;
}

/** Draws the chart on one page, from the current position on. */
export function drawBarChart(sheet: Sheet, chart: BarChart): void {
  const { doc } = sheet;
  const layout = layOut(sheet, chart);
  const height = layout.headerHeight + chart.rows.length * layout.rowHeight;
  ensureRoom(sheet, height + 10);
  const top = doc.y;
  drawRules(sheet, chart, layout, top);
  const x = PAGE.left + LABEL_WIDTH;
  const barsTop = top + layout.headerHeight;
  const box = { x, y: barsTop, width: layout.barWidth, height: height - layout.headerHeight };
  drawFigure(sheet, chart.alt, box, () => drawBars(sheet, chart, layout, { x, y: barsTop }));
  within(sheet, 'Table', () => {
    within(sheet, 'TR', () => drawHeader(sheet, chart, layout, top));
    for (const [index, row] of chart.rows.entries()) {
      within(sheet, 'TR', () => drawNumbers(sheet, chart, layout, { row, y: barsTop + index * layout.rowHeight }));
    }
  });
  doc.x = PAGE.left;
  doc.y = top + height + 10;
}

function layOut(sheet: Sheet, { series, rows }: BarChart): Layout {
  const numberWidth = Math.min(MOST_NUMBER_WIDTH, ((CONTENT_WIDTH - LABEL_WIDTH) * 0.75) / Math.max(1, series.length));
  const barWidth = CONTENT_WIDTH - LABEL_WIDTH - GAP - numberWidth * series.length;
  const labels = series.map(({ label }) => measure(sheet, label, { size: HEADER_SIZE, width: numberWidth - 4 }));
  const hasNotes = rows.some(({ note }) => note !== undefined);
  return { numberWidth, barWidth, headerHeight: Math.max(...labels, 12) + 16, rowHeight: hasNotes ? 29 : 21 };
}

function drawRules(sheet: Sheet, { rows }: BarChart, layout: Layout, top: number): void {
  const { doc } = sheet;
  decorate(sheet, () => {
    for (let index = 0; index <= rows.length; index += 1) {
      const y = top + layout.headerHeight + index * layout.rowHeight;
      doc.moveTo(PAGE.left, y).lineTo(PAGE.left + CONTENT_WIDTH, y);
      doc.lineWidth(index === 0 ? 1 : 0.5).stroke(index === 0 ? COLOR.brand : COLOR.line);
    }
  });
}

function drawBars(
  sheet: Sheet,
  chart: BarChart,
  layout: Layout,
  origin: { readonly x: number; readonly y: number },
): void {
  const totals = chart.rows.map(({ values }) => values.reduce((sum, value) => sum + value, 0));
  const longest = Math.max(...totals, 1);
  for (const [index, row] of chart.rows.entries()) {
    const total = totals[index] ?? 0;
    const scale = layout.barWidth / (chart.length === 'share' ? Math.max(total, 1) : longest);
    const y = origin.y + index * layout.rowHeight + (layout.rowHeight - BAR_HEIGHT) / 2;
    let { x } = origin;
    for (const [part, value] of row.values.entries()) {
      const series = chart.series[part];
      if (series === undefined || value === 0) continue;
      fillPatterned(sheet, series, { x, y, width: Math.max(value * scale - 1, 1), height: BAR_HEIGHT });
      x += value * scale;
    }
  }
}

interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

function fillPatterned(sheet: Sheet, { color, pattern }: Series, box: Box): void {
  const { doc } = sheet;
  doc.rect(box.x, box.y, box.width, box.height).fill(color);
  if (pattern === 'plain') return;
  doc.save();
  doc.rect(box.x, box.y, box.width, box.height).clip();
  const { x, y, width, height } = box;
  const step = 4;
  if (pattern === 'level') {
    for (let at = y + 2.5; at < y + height; at += 3) doc.moveTo(x, at).lineTo(x + width, at);
  } else if (pattern === 'upright') {
    for (let at = x + 2; at < x + width; at += step) doc.moveTo(at, y).lineTo(at, y + height);
  } else {
    for (let at = x - height; at < x + width; at += step) {
      if (pattern !== 'falling') doc.moveTo(at, y + height).lineTo(at + height, y);
      if (pattern !== 'rising') doc.moveTo(at, y).lineTo(at + height, y + height);
    }
  }
  doc.lineWidth(0.7).stroke(COLOR.paper);
  doc.restore();
}

function drawHeader(sheet: Sheet, chart: BarChart, layout: Layout, top: number): void {
  const style = { size: HEADER_SIZE, color: COLOR.quiet, structure: null } as const;
  within(
    sheet,
    'TH',
    () => write(sheet, chart.heading, { ...style, y: top + layout.headerHeight - 14, width: LABEL_WIDTH - 8 }),
    { scope: 'Column' },
  );
  for (const [index, series] of chart.series.entries()) {
    const x = numberLeft(layout, index);
    decorate(sheet, () =>
      fillPatterned(sheet, series, { x: x + layout.numberWidth - 16, y: top, width: 14, height: 9 }),
    );
    const label = { ...style, x: x + 2, y: top + 11, width: layout.numberWidth - 4, align: 'right' } as const;
    within(sheet, 'TH', () => write(sheet, series.label, label), { scope: 'Column' });
  }
}

function drawNumbers(
  sheet: Sheet,
  chart: BarChart,
  layout: Layout,
  { row, y }: { readonly row: BarRow; readonly y: number },
): void {
  const style = { size: SIZE, structure: null } as const;
  const middle = y + (layout.rowHeight - SIZE * 1.424) / 2;
  const labelTop = row.note === undefined ? middle : y + 2;
  const label = () => {
    write(sheet, row.label, { ...style, font: FONT.bold, y: labelTop, width: LABEL_WIDTH - 8 });
    if (row.note === undefined) return;
    write(sheet, row.note, {
      ...style,
      size: HEADER_SIZE,
      color: COLOR.quiet,
      y: labelTop + 13,
      width: LABEL_WIDTH - 8,
    });
  };
  within(sheet, 'TH', label, { scope: 'Row' });
  for (const [index, value] of row.values.entries()) {
    const color = value === 0 ? COLOR.quiet : COLOR.ink;
    const x = numberLeft(layout, index) + 2;
    const place = { ...style, color, x, y: middle, width: layout.numberWidth - 4, align: 'right' } as const;
    within(sheet, 'TD', () =>
      write(sheet, chart.format(value), { ...place, font: value === 0 ? FONT.regular : FONT.bold }),
    );
  }
}

function numberLeft(layout: Layout, index: number): number {
  return PAGE.left + LABEL_WIDTH + layout.barWidth + GAP + index * layout.numberWidth;
}
