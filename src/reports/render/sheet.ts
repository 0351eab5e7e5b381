/**
 * A document being written from top to bottom: fonts, headings, paragraphs, fields and page breaks over pdfkit. Nothing
 * here is random or reads a clock, so that the same calls give the same bytes.
 */
import { createRequire } from 'node:module';
import PDFDocument from 'pdfkit';
import { COLOR, CONTENT_WIDTH, FONT, PAGE } from './palette.ts';

const require = createRequire(import.meta.url);

export interface SheetInfo {
  readonly title: string;
  readonly subject: string;
  /** Milliseconds since the epoch; stands in the document as creation and modification date. */
  readonly at: number;
}

export interface Sheet {
  readonly doc: PDFKit.PDFDocument;
  /** The structure element that what is written now belongs to. */
  section: PDFKit.PDFStructureElement;
  /** Gives the finished bytes. */
  finish(): Promise<Buffer>;
}

/** Opens an empty document without pages. */
export function openSheet(info: SheetInfo): Sheet {
  const date = new Date(info.at);
  const doc = new PDFDocument({
    size: 'A4',
    autoFirstPage: false,
    bufferPages: true,
    tagged: true,
    subset: 'PDF/A-3a',
    pdfVersion: '1.7',
    lang: 'en',
    displayTitle: true,
    margins: { top: PAGE.top, bottom: PAGE.bottom, left: PAGE.left, right: PAGE.right },
    info: {
      Title: info.title,
      Subject: info.subject,
      Author: 'auditkeep',
      Creator: 'auditkeep',
      Producer: 'pdfkit',
      CreationDate: date,
      ModDate: date,
    },
  });
  doc.registerFont(FONT.regular, require.resolve('dejavu-fonts-ttf/ttf/DejaVuSans.ttf'));
  doc.registerFont(FONT.bold, require.resolve('dejavu-fonts-ttf/ttf/DejaVuSans-Bold.ttf'));
  doc.registerFont(FONT.mono, require.resolve('dejavu-fonts-ttf/ttf/DejaVuSansMono.ttf'));
  const chunks: Buffer[] = [];
  doc.on('data', (chunk: Buffer) => chunks.push(chunk));
  const section = doc.struct('Document');
  doc.addStructure(section);
  const finish = () =>
    new Promise<Buffer>((resolve, reject) => {
      doc.on('end', () => resolve(Buffer.concat(chunks)));
      doc.on('error', reject);
      doc.end();
    });
  return { doc, section, finish };
}

/** Writes what fn writes into a structure element of its own, closed afterwards. */
export function within(sheet: Sheet, type: string, fn: () => void): void {
  const outer = sheet.section;
  const inner = sheet.doc.struct(type);
  outer.add(inner);
  sheet.section = inner;
  fn();
  inner.end();
  sheet.section = outer;
}

/** Draws decoration that assistive technology skips. */
export function decorate(sheet: Sheet, draw: () => void): void {
  sheet.doc.markContent('Artifact', { type: 'Layout' });
  draw();
  sheet.doc.endMarkedContent();
}

/** Begins a new page unless this much room is left on the current one. */
export function ensureRoom(sheet: Sheet, height: number): void {
  if (sheet.doc.y + height > PAGE.height - PAGE.bottom) sheet.doc.addPage();
}

/** How text looks and where it goes; from the left margin over the whole width unless said otherwise. */
export interface TextStyle {
  readonly font?: string;
  readonly size?: number;
  readonly color?: string;
  readonly x?: number;
  readonly y?: number;
  readonly width?: number;
  readonly gapAfter?: number;
  readonly structure?: string;
  readonly align?: 'left' | 'right' | 'center';
}

/** Writes text as one structure element and moves on below it. */
export function write(sheet: Sheet, text: string, style: TextStyle = {}): void {
  const { doc } = sheet;
  doc.font(style.font ?? FONT.regular, style.size ?? 9.5).fillColor(style.color ?? COLOR.ink);
  doc.text(text, style.x ?? PAGE.left, style.y ?? doc.y, {
    width: style.width ?? CONTENT_WIDTH,
    align: style.align ?? 'left',
    lineGap: (style.size ?? 9.5) * 0.28,
    structParent: sheet.section,
    structType: style.structure ?? 'P',
  });
  doc.y += style.gapAfter ?? 0;
}

/** A heading of level 1 to 3 that stays with at least `keepWith` points of what follows. */
export function heading(sheet: Sheet, level: 1 | 2 | 3, text: string, keepWith = 60): void {
  const size = { 1: 18, 2: 13, 3: 9.5 }[level];
  ensureRoom(sheet, size * 2 + keepWith);
  if (level > 1) sheet.doc.y += level === 2 ? 8 : 7;
  write(sheet, text, {
    font: FONT.bold,
    size,
    color: level === 3 ? COLOR.brand : COLOR.ink,
    gapAfter: { 1: 8, 2: 5, 3: 2 }[level],
    structure: `H${level}`,
  });
}

/** A label on the left and its value beside it; long values wrap, and both stay together on a page. */
export function field(sheet: Sheet, label: string, value: string, options: { readonly mono?: boolean } = {}): void {
  const { doc } = sheet;
  const labelWidth = 128;
  const size = options.mono === true ? 7.8 : 8.8;
  const valueWidth = CONTENT_WIDTH - labelWidth;
  doc.font(options.mono === true ? FONT.mono : FONT.regular, size);
  const height = doc.heightOfString(value, { width: valueWidth, lineGap: size * 0.28 });
  ensureRoom(sheet, height + 3);
  const y = doc.y;
  write(sheet, label, { size: 8.8, color: COLOR.quiet, y, width: labelWidth - 8 });
  const labelBottom = doc.y;
  write(sheet, value, {
    font: options.mono === true ? FONT.mono : FONT.regular,
    size,
    x: PAGE.left + labelWidth,
    y: options.mono === true ? y + 0.8 : y,
    width: valueWidth,
  });
  doc.y = Math.max(doc.y, labelBottom) + 3;
}
