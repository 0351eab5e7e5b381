/**
 * A tagged PDF/A-3a document being written from top to bottom: headings, paragraphs, lists and page breaks over pdfkit.
 * Nothing here is random or reads a clock, so that the same calls give the same bytes.
 */
import PDFDocument from 'pdfkit';
import { COLOR, CONTENT_WIDTH, FONT, type FontName, PAGE } from './page.ts';
import './pdfkit-options.ts';
import { type FitText, registerTypefaces } from './typeface.ts';

export interface SheetInfo {
  readonly title: string;
  readonly subject: string;
  /** Milliseconds since the epoch; stands in the document as creation and modification date. */
  readonly at: number;
}

export interface Sheet {
  readonly doc: PDFKit.PDFDocument;
  readonly fit: FitText;
  /** The structure element that what is written now belongs to. */
  section: PDFKit.PDFStructureElement;
  /** What is written now is decoration of a page and in no structure element. */
  isArtifact: boolean;
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
      Title: asMetadata(info.title),
      Subject: asMetadata(info.subject),
      Author: 'auditkeep',
      Creator: 'auditkeep',
      Producer: 'pdfkit',
      CreationDate: date,
      ModDate: date,
    },
  });
  const modified = `${date.toISOString().slice(0, 19)}Z`;
  const xmp = 'xmlns:xmp="http://ns.adobe.com/xap/1.0/"';
  doc.appendXML(`<rdf:Description rdf:about="" ${xmp}><xmp:ModifyDate>${modified}</xmp:ModifyDate></rdf:Description>`);
  const fit = registerTypefaces(doc);
  const chunks: Buffer[] = [];
  doc.on('data', (chunk: Buffer) => chunks.push(chunk));
  const section = doc.struct('Document');
  doc.addStructure(section);
  const finish = () =>
    new Promise<Buffer>((resolve, reject) => {
      doc.on('end', () => resolve(Buffer.concat(chunks)));
      doc.on('error', reject);
      section.end();
      doc.end();
    });
  return { doc, fit, section, isArtifact: false, finish };
}

/** pdfkit writes title and subject into the XMP packet as they are: markup characters would break it. */
function asMetadata(text: string): string {
  return text.replace(/&/g, 'and').replace(/[<>]/g, ' ');
}

/** Writes what fn writes into a structure element of its own, closed afterwards. */
export function within(
  sheet: Sheet,
  type: string,
  fn: () => void,
  options: PDFKit.Mixins.StructureElementOptions = {},
): void {
  if (sheet.isArtifact) {
    fn();
    return;
  }
  const outer = sheet.section;
  const inner = sheet.doc.struct(type, options);
  outer.add(inner);
  sheet.section = inner;
  fn();
  inner.end();
  sheet.section = outer;
}

/** Keeps a place in the reading order for what is written later: a structure element that the returned function fills. */
export function reserve(sheet: Sheet, type: string): (fn: () => void) => void {
  const kept = sheet.doc.struct(type);
  sheet.section.add(kept);
  return (fn) => {
    const outer = sheet.section;
    sheet.section = kept;
    fn();
    kept.end();
    sheet.section = outer;
  };
}

/** Draws decoration that assistive technology skips: pictures, or texts that a page repeats. */
export function decorate(sheet: Sheet, draw: () => void, type: 'Layout' | 'Pagination' = 'Layout'): void {
  const outer = sheet.isArtifact;
  if (!outer) sheet.doc.markContent('Artifact', { type });
  sheet.isArtifact = true;
  draw();
  sheet.isArtifact = outer;
  if (!outer) sheet.doc.endMarkedContent();
}

/** Draws a picture as one figure that assistive technology reads as its alternative text. */
export function drawFigure(
  sheet: Sheet,
  alt: string,
  box: { readonly x: number; readonly y: number; readonly width: number; readonly height: number },
  draw: () => void,
): void {
  const bbox: [number, number, number, number] = [box.x, box.y, box.x + box.width, box.y + box.height];
  within(sheet, 'Figure', () => markContent(sheet, 'Figure', draw), { alt, bbox });
}

/**
 * Marks what fn draws as content of the current structure element. The element gets it when it is drawn, so that what
 * went over a page break belongs to it on both pages.
 */
function markContent(sheet: Sheet, tag: string, draw: () => void): void {
  if (sheet.isArtifact) {
    draw();
    return;
  }
  const content = sheet.doc.markStructureContent(tag);
  draw();
  sheet.doc.endMarkedContent();
  sheet.section.add(content);
}

/** How much room is left on the current page. */
export function roomLeft(sheet: Sheet): number {
  return PAGE.height - PAGE.bottom - sheet.doc.y;
}

/** Begins a new page unless this much room is left on the current one. */
export function ensureRoom(sheet: Sheet, height: number): void {
  if (height > roomLeft(sheet)) sheet.doc.addPage();
}

/** How text looks and where it goes; from the left margin over the whole width unless said otherwise. */
export interface TextStyle {
  readonly font?: FontName;
  readonly size?: number;
  readonly color?: string;
  readonly x?: number;
  readonly y?: number;
  readonly width?: number;
  readonly gapAfter?: number;
  /** The structure type; null writes into the current element itself. */
  readonly structure?: string | null;
  readonly align?: 'left' | 'right' | 'center';
}

/** Size of running text in points. */
const TEXT_SIZE = 10;

/** Writes text as one structure element and moves on below it. */
export function write(sheet: Sheet, text: string, style: TextStyle = {}): void {
  const { doc } = sheet;
  const size = style.size ?? TEXT_SIZE;
  const { face, text: drawn, lineGap, drop } = sheet.fit(text, style.font ?? FONT.regular);
  const draw = (tag: string) =>
    markContent(sheet, tag, () => {
      doc.font(face, size).fillColor(style.color ?? COLOR.ink);
      const options = { width: style.width ?? CONTENT_WIDTH, align: style.align ?? 'left', lineGap: lineGap * size };
      doc.text(drawn, style.x ?? PAGE.left, (style.y ?? doc.y) + drop * size, options);
    });
  if (style.structure === null) draw('Span');
  else within(sheet, style.structure ?? 'P', () => draw(style.structure ?? 'P'));
  doc.y += (style.gapAfter ?? 0) - drop * size;
}

/** The height that text will take, without the gap after it. */
export function measure(sheet: Sheet, text: string, style: TextStyle = {}): number {
  const size = style.size ?? TEXT_SIZE;
  const { face, text: drawn, lineGap } = sheet.fit(text, style.font ?? FONT.regular);
  sheet.doc.font(face, size);
  const options = { width: style.width ?? CONTENT_WIDTH, lineGap: lineGap * size };
  return sheet.doc.heightOfString(drawn === '' ? ' ' : drawn, options);
}

/** A heading of level 1 to 3 that stays with at least `keepWith` points of what follows. */
export function heading(sheet: Sheet, level: 1 | 2 | 3, text: string, keepWith = 60): void {
  const size = { 1: 22, 2: 14, 3: 10.5 }[level];
  const style = { font: FONT.bold, size, color: level === 3 ? COLOR.brand : COLOR.ink } as const;
  const above = { 1: 0, 2: 10, 3: 8 }[level];
  ensureRoom(sheet, above + measure(sheet, text, style) + keepWith);
  if (sheet.doc.y > PAGE.top) sheet.doc.y += above;
  write(sheet, text, { ...style, gapAfter: { 1: 8, 2: 4, 3: 1 }[level], structure: `H${level}` });
}

/** A list with a bullet before each item. */
export function bullets(sheet: Sheet, items: readonly string[]): void {
  const indent = 12;
  const style = { x: PAGE.left + indent, width: CONTENT_WIDTH - indent } as const;
  within(sheet, 'L', () => {
    for (const item of items) {
      const height = measure(sheet, item, style);
      if (height < PAGE.height / 3) ensureRoom(sheet, height);
      within(sheet, 'LI', () => {
        const { y } = sheet.doc;
        write(sheet, '•', { y, width: indent, color: COLOR.brand, structure: 'Lbl' });
        write(sheet, item, { ...style, y, structure: 'LBody', gapAfter: 2 });
      });
    }
  });
  sheet.doc.x = PAGE.left;
}

/** Makes the current place a target of links. */
export function nameDestination(sheet: Sheet, name: string): void {
  sheet.doc.addNamedDestination(name, 'XYZ', 0, Math.max(0, sheet.doc.y - 12), null);
}

/** Puts a link over an area of the current page, inside the current structure element. */
export function linkArea(
  sheet: Sheet,
  area: { readonly x: number; readonly y: number; readonly width: number; readonly height: number },
  target: { readonly name: string; readonly description: string },
  draw: () => void,
): void {
  within(sheet, 'Link', () => {
    draw();
    const options = { structParent: sheet.section, Contents: new String(target.description) };
    sheet.doc.goTo(area.x, area.y, area.width, area.height, target.name, options);
  });
}
