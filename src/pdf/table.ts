/**
 * Tables that break between rows, repeat their header on every page (as an artifact: the tags hold it once) and are tagged
 * row by row. A row higher than a page goes on in a row below it.
 */
import { COLOR, CONTENT_WIDTH, FONT, type FontName, PAGE } from './page.ts';
import { decorate, measure, roomLeft, type Sheet, type TextStyle, within, write } from './sheet.ts';

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

const SIZE = 8.6;
/** DejaVu Sans Mono is wide for its size. */
const MONO_SIZE = 7.1;
const PADDING = { x: 5, y: 3.5 } as const;
const HIGHEST_ROW = PAGE.height - PAGE.top - PAGE.bottom - 60;

interface PlacedColumn extends TableColumn {
  readonly x: number;
  readonly width: number;
}

/**
 * Draws a table from the current position on.
 * @param options.roomBelow points that stay free below the last row, for a line that belongs to the table
 */
export function drawTable(
  sheet: Sheet,
  columns: readonly TableColumn[],
  rows: readonly (readonly TableCell[])[],
  options: { readonly roomBelow?: number } = {},
): void {
  const placed = placeColumns(columns);
  const header = columns.map((column) => ({ text: column.label }));
  const headerRow = { columns: placed, cells: header, height: rowHeight(sheet, placed, header, true) };
  const { doc } = sheet;
  const cut = rows.flatMap((cells) => splitRow(sheet, placed, cells));
  within(sheet, 'Table', () => {
    const first = cut[0] === undefined ? 0 : rowHeight(sheet, placed, cut[0], false);
    if (headerRow.height + first > roomLeft(sheet)) doc.addPage();
    drawRow(sheet, { ...headerRow, kind: 'header' });
    for (const [index, cells] of cut.entries()) {
      const height = rowHeight(sheet, placed, cells, false);
      const below = index === cut.length - 1 ? (options.roomBelow ?? 0) : 0;
      if (height + below > roomLeft(sheet)) {
        doc.addPage();
        drawRow(sheet, { ...headerRow, kind: 'repeated' });
      }
      drawRow(sheet, { columns: placed, cells, height, kind: index % 2 === 0 ? 'plain' : 'shaded' });
    }
  });
  doc.y += 8;
}

/** A label and its value; long values wrap. */
export interface Field {
  readonly label: string;
  readonly value: string;
  readonly mono?: boolean;
}

const LABEL_WIDTH = 122;
const FIELD_GAP = 2.5;

/** Draws fields below each other from the current position on. */
export function drawFields(sheet: Sheet, fields: readonly Field[]): void {
  const { doc } = sheet;
  within(sheet, 'Table', () => {
    for (const field of fields) {
      const height = fieldHeight(sheet, field);
      if (height < HIGHEST_ROW && height > roomLeft(sheet)) doc.addPage();
      const y = doc.y;
      const value = { ...valueStyle(field), x: PAGE.left + LABEL_WIDTH, y: y + (field.mono === true ? 1.6 : 0) };
      within(sheet, 'TR', () => {
        within(sheet, 'TH', () => write(sheet, field.label, { ...LABEL_STYLE, y }), { scope: 'Row' });
        within(sheet, 'TD', () => write(sheet, field.value, value));
      });
      doc.y = height < HIGHEST_ROW ? y + height + FIELD_GAP : doc.y + FIELD_GAP;
    }
  });
  doc.x = PAGE.left;
}

/** The height that fields will take on one page. */
export function measureFields(sheet: Sheet, fields: readonly Field[]): number {
  return fields.reduce((sum, field) => sum + fieldHeight(sheet, field) + FIELD_GAP, 0);
}

const LABEL_STYLE = { size: 9.2, color: COLOR.quiet, width: LABEL_WIDTH - 8, structure: null } as const;

function valueStyle({ mono }: Field): TextStyle {
  const face = mono === true ? { font: FONT.mono, size: 7.6 } : { font: FONT.regular, size: 9.2 };
  return { ...face, width: CONTENT_WIDTH - LABEL_WIDTH, structure: null };
}

function fieldHeight(sheet: Sheet, field: Field): number {
  return Math.max(measure(sheet, field.label, LABEL_STYLE), measure(sheet, field.value, valueStyle(field)));
}

function placeColumns(columns: readonly TableColumn[]): PlacedColumn[] {
  const total = columns.reduce((sum, column) => sum + column.weight, 0);
  let x: number = PAGE.left;
  return columns.map((column) => {
    const width = (CONTENT_WIDTH * column.weight) / total;
    const placed = { ...column, x, width };
    x += width;
    return placed;
  });
}

interface Row {
  readonly columns: readonly PlacedColumn[];
  readonly cells: readonly TableCell[];
  readonly height: number;
  readonly kind: 'header' | 'repeated' | 'plain' | 'shaded';
}

function drawRow(sheet: Sheet, row: Row): void {
  const { doc } = sheet;
  const top = doc.y;
  const isHeader = row.kind === 'header' || row.kind === 'repeated';
  decorate(sheet, () => {
    const fill = { header: COLOR.brand, repeated: COLOR.brand, plain: COLOR.paper, shaded: COLOR.shade }[row.kind];
    doc.rect(PAGE.left, top, CONTENT_WIDTH, row.height).fill(fill);
    doc.moveTo(PAGE.left, top + row.height).lineTo(PAGE.left + CONTENT_WIDTH, top + row.height);
    doc.lineWidth(0.5).stroke(COLOR.line);
  });
  const drawCells = () => {
    for (const [index, column] of row.columns.entries()) {
      drawCell(sheet, row.cells[index] ?? { text: '' }, { top, column, header: isHeader });
    }
  };
  if (row.kind === 'repeated') decorate(sheet, drawCells, 'Pagination');
  else within(sheet, 'TR', drawCells);
  doc.x = PAGE.left;
  doc.y = top + row.height;
}

interface CellPlace {
  readonly top: number;
  readonly column: PlacedColumn;
  readonly header: boolean;
}

function drawCell(sheet: Sheet, cell: TableCell, place: CellPlace): void {
  const { top, column, header } = place;
  const { badge } = cell;
  const style = styleOf(column, header, badge !== undefined);
  if (badge !== undefined) {
    const height = measure(sheet, cell.text, style);
    decorate(sheet, () => {
      sheet.doc.roundedRect(column.x + 2, top + PADDING.y - 1, column.width - 4, height + 2, 2.5).fill(badge);
    });
  }
  const draw = () => {
    let y = top + PADDING.y;
    if (cell.lead !== undefined) {
      write(sheet, cell.lead, { ...style, font: FONT.bold, y });
      y = sheet.doc.y;
    }
    if (cell.text !== '')
      write(sheet, cell.text, { ...style, y, ...(cell.lead === undefined ? { structure: null } : {}) });
  };
  if (header) within(sheet, 'TH', draw, { scope: 'Column' });
  else within(sheet, 'TD', draw);
}

function styleOf(column: PlacedColumn, header: boolean, badge: boolean): TextStyle {
  const font: FontName = header || badge ? FONT.bold : column.mono === true ? FONT.mono : FONT.regular;
  return {
    font,
    size: font === FONT.mono ? MONO_SIZE : SIZE,
    color: header || badge ? COLOR.paper : COLOR.ink,
    x: column.x + PADDING.x,
    width: column.width - 2 * PADDING.x,
    align: badge ? 'center' : (column.align ?? 'left'),
  };
}

function rowHeight(
  sheet: Sheet,
  columns: readonly PlacedColumn[],
  cells: readonly TableCell[],
  header: boolean,
): number {
  const heights = columns.map((column, index) => {
    const cell = cells[index] ?? { text: '' };
    const style = styleOf(column, header, cell.badge !== undefined);
    const lead = cell.lead === undefined ? 0 : measure(sheet, cell.lead, { ...style, font: FONT.bold });
    return lead + measure(sheet, cell.text, style);
  });
  return Math.max(...heights) + 2 * PADDING.y;
}

/** A row that no page can hold as several: each cell's text goes on where it left off. */
function splitRow(sheet: Sheet, columns: readonly PlacedColumn[], cells: readonly TableCell[]): TableCell[][] {
  if (rowHeight(sheet, columns, cells, false) <= HIGHEST_ROW) return [[...cells]];
  const parts: TableCell[][] = [];
  let rest: TableCell[] = [...cells];
  while (rest.some((cell) => cell.text !== '')) {
    const fitting = columns.map((column, index) => fittingLength(sheet, column, rest[index] ?? { text: '' }));
    parts.push(rest.map((cell, index) => ({ ...cell, text: cell.text.slice(0, fitting[index]).trimEnd() })));
    rest = rest.map(({ text }, index) => ({ text: text.slice(fitting[index]).trimStart() }));
  }
  return parts;
}

/** How many characters of a cell fit a page, up to a word's end where there is one. */
function fittingLength(sheet: Sheet, column: PlacedColumn, cell: TableCell): number {
  const style = styleOf(column, false, cell.badge !== undefined);
  const limit = HIGHEST_ROW - 60;
  let low = 0;
  let high = cell.text.length;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (measure(sheet, cell.text.slice(0, middle), style) <= limit) low = middle;
    else high = middle - 1;
  }
  if (low === cell.text.length) return low;
  const wordEnd = cell.text.lastIndexOf(' ', low);
  return wordEnd > low / 2 ? wordEnd : Math.max(1, low);
}
