/** Tables that break between rows, repeat their header on every page and are tagged row by row. */
import { COLOR, CONTENT_WIDTH, FONT, PAGE } from './palette.ts';
import { decorate, type Sheet, within, write } from './sheet.ts';

export interface TableColumn {
  readonly label: string;
  /** Share of the width. */
  readonly weight: number;
  readonly mono?: boolean;
  readonly align?: 'left' | 'right';
}

export interface TableCell {
  readonly text: string;
  /** A line in bold above the text. */
  readonly lead?: string;
  /** A coloured badge behind white text. */
  readonly badge?: string;
}

const SIZE = 7.8;
const PADDING = { x: 5, y: 4 } as const;

/** Draws a table from the current position on. */
export function drawTable(
  sheet: Sheet,
  columns: readonly TableColumn[],
  rows: readonly (readonly TableCell[])[],
): void {
  const total = columns.reduce((sum, column) => sum + column.weight, 0);
  const widths = columns.map((column) => (CONTENT_WIDTH * column.weight) / total);
  const header = columns.map((column) => ({ text: column.label }));
  const { doc } = sheet;
  within(sheet, 'Table', () => {
    const headerHeight = rowHeight(sheet, columns, widths, header, true);
    const drawHeader = () => drawRow(sheet, { columns, widths, cells: header, height: headerHeight, kind: 'header' });
    const first = rows[0] === undefined ? 0 : rowHeight(sheet, columns, widths, rows[0], false);
    if (doc.y + headerHeight + first > PAGE.height - PAGE.bottom) doc.addPage();
    drawHeader();
    for (const [index, cells] of rows.entries()) {
      const height = rowHeight(sheet, columns, widths, cells, false);
      if (doc.y + height > PAGE.height - PAGE.bottom) {
        doc.addPage();
        drawHeader();
      }
      drawRow(sheet, { columns, widths, cells, height, kind: index % 2 === 0 ? 'plain' : 'shaded' });
    }
  });
  doc.y += 8;
}

interface Row {
  readonly columns: readonly TableColumn[];
  readonly widths: readonly number[];
  readonly cells: readonly TableCell[];
  readonly height: number;
  readonly kind: 'header' | 'plain' | 'shaded';
}

function drawRow(sheet: Sheet, row: Row): void {
  const { doc } = sheet;
  const top = doc.y;
  decorate(sheet, () => {
    const fill = { header: COLOR.brand, plain: COLOR.paper, shaded: COLOR.shade }[row.kind];
    doc.rect(PAGE.left, top, CONTENT_WIDTH, row.height).fill(fill);
    doc.moveTo(PAGE.left, top + row.height).lineTo(PAGE.left + CONTENT_WIDTH, top + row.height);
    doc.lineWidth(0.5).stroke(COLOR.line);
  });
  within(sheet, 'TR', () => {
    let x: number = PAGE.left;
    for (const [index, column] of row.columns.entries()) {
      const width = row.widths[index] ?? 0;
      drawCell(sheet, row.cells[index] ?? { text: '' }, { x, top, width, column, header: row.kind === 'header' });
      x += width;
    }
  });
  doc.x = PAGE.left;
  doc.y = top + row.height;
}

interface CellPlace {
  readonly x: number;
  readonly top: number;
  readonly width: number;
  readonly column: TableColumn;
  readonly header: boolean;
}

function drawCell(sheet: Sheet, cell: TableCell, place: CellPlace): void {
  const { doc } = sheet;
  const { badge } = cell;
  const inner = place.width - 2 * PADDING.x;
  const font = fontOf(place.column, place.header, badge !== undefined);
  if (badge !== undefined) {
    doc.font(font, SIZE);
    const height = doc.heightOfString(cell.text, { width: inner, lineGap: SIZE * 0.28 });
    decorate(sheet, () => {
      doc.roundedRect(place.x + 2, place.top + PADDING.y - 2, place.width - 4, height + 3, 2.5).fill(badge);
    });
  }
  if (cell.lead !== undefined) {
    const lead = { font: FONT.bold, size: SIZE, x: place.x + PADDING.x, width: inner };
    write(sheet, cell.lead, { ...lead, y: place.top + PADDING.y, structure: 'TD' });
  }
  write(sheet, cell.text, {
    font,
    size: SIZE,
    color: place.header || badge !== undefined ? COLOR.paper : COLOR.ink,
    x: place.x + PADDING.x,
    y: cell.lead === undefined ? place.top + PADDING.y : doc.y,
    width: inner,
    align: badge === undefined ? (place.column.align ?? 'left') : 'center',
    structure: place.header ? 'TH' : 'TD',
  });
}

function rowHeight(
  sheet: Sheet,
  columns: readonly TableColumn[],
  widths: readonly number[],
  cells: readonly TableCell[],
  header: boolean,
): number {
  const heights = columns.map((column, index) => {
    const cell = cells[index];
    const options = { width: (widths[index] ?? 0) - 2 * PADDING.x, lineGap: SIZE * 0.28 };
    sheet.doc.font(FONT.bold, SIZE);
    const lead = cell?.lead === undefined ? 0 : sheet.doc.heightOfString(cell.lead, options);
    sheet.doc.font(fontOf(column, header, cell?.badge !== undefined), SIZE);
    return lead + sheet.doc.heightOfString(cell?.text === '' ? ' ' : (cell?.text ?? ' '), options);
  });
  return Math.max(...heights) + 2 * PADDING.y;
}

function fontOf(column: TableColumn, header: boolean, badge: boolean): string {
  if (header || badge) return FONT.bold;
  return column.mono === true ? FONT.mono : FONT.regular;
}
