/** The contents: a line for each part and control, linked to its page, and the bookmarks that mirror it. */
import { CONTENT_WIDTH, FONT, PAGE } from '../../pdf/page.ts';
import { heading, linkArea, measure, nameDestination, type Sheet, within, write } from '../../pdf/sheet.ts';
import type { Texts } from '../template/texts.ts';

/** An entry of the contents. */
export interface ContentsEntry {
  readonly title: string;
  readonly level: 1 | 2;
  /** A status beside the title, in its colour. */
  readonly note?: { readonly text: string; readonly color: string };
}

const SIZE = 10;
const GAP = 3;

/** How many pages the contents take; known before the pages that they list. */
export function contentsPageCount(sheet: Sheet, entries: readonly ContentsEntry[], texts: Texts): number {
  return 1 + (layOut(sheet, entries, texts).at(-1)?.page ?? 0);
}

/** Page (0 is the first of the contents) and height of each line. */
function layOut(sheet: Sheet, entries: readonly ContentsEntry[], texts: Texts): { page: number; height: number }[] {
  let page = 0;
  let y = PAGE.top + measure(sheet, texts('contents.heading'), { font: FONT.bold, size: 22 }) + 8;
  return entries.map((entry) => {
    const height = measure(sheet, entry.title, titleStyle(entry)) + GAP;
    if (y + height > PAGE.height - PAGE.bottom) {
      page += 1;
      y = PAGE.top;
    }
    y += height;
    return { page, height };
  });
}

function titleStyle({ level }: ContentsEntry) {
  const indent = level === 2 ? 14 : 0;
  const font = level === 1 ? FONT.bold : FONT.regular;
  return { font, size: SIZE, x: PAGE.left + indent, width: CONTENT_WIDTH - 150 - indent, structure: null } as const;
}

/** Names the current place as what the nth entry (0-based) leads to. */
export function nameEntry(sheet: Sheet, index: number): void {
  nameDestination(sheet, destinationOf(index));
}

function destinationOf(index: number): string {
  return `entry-${String(index).padStart(4, '0')}`;
}

/** Writes the contents onto the pages kept for them, the first of which has this 0-based index. */
export function drawContents(
  sheet: Sheet,
  firstPage: number,
  entries: readonly (ContentsEntry & { readonly page: number })[],
  texts: Texts,
): void {
  const { doc } = sheet;
  const lines = layOut(sheet, entries, texts);
  doc.switchToPage(firstPage);
  doc.y = PAGE.top;
  heading(sheet, 1, texts('contents.heading'));
  within(sheet, 'TOC', () => {
    let current = 0;
    for (const [index, entry] of entries.entries()) {
      const { page, height } = lines[index] ?? { page: 0, height: 0 };
      if (page !== current) {
        current = page;
        doc.switchToPage(firstPage + page);
        doc.y = PAGE.top;
      }
      drawLine(sheet, entry, { height, index, texts });
    }
  });
}

function drawLine(
  sheet: Sheet,
  entry: ContentsEntry & { readonly page: number },
  place: { readonly height: number; readonly index: number; readonly texts: Texts },
): void {
  const { doc } = sheet;
  const { y } = doc;
  const area = { x: PAGE.left, y, width: CONTENT_WIDTH, height: place.height - 1 };
  const target = {
    name: destinationOf(place.index),
    description: place.texts('contents.link', { title: entry.title, page: entry.page }),
  };
  const style = { y, structure: null } as const;
  within(sheet, 'TOCI', () => {
    linkArea(sheet, area, target, () => {
      write(sheet, entry.title, { ...titleStyle(entry), y });
      if (entry.note !== undefined) {
        const x = PAGE.left + CONTENT_WIDTH - 140;
        const { text, color } = entry.note;
        write(sheet, text, { ...style, font: FONT.bold, size: 9, color, x, y: y + 1, width: 108 });
      }
      const { font } = titleStyle(entry);
      const x = PAGE.left + CONTENT_WIDTH - 30;
      write(sheet, String(entry.page), { ...style, font, size: SIZE, x, width: 30, align: 'right' });
    });
  });
  doc.x = PAGE.left;
  doc.y = y + place.height;
}

/** A bookmark and where it leads: page (0-based) and distance from its top. */
export interface Bookmark {
  readonly title: string;
  readonly page: number;
  readonly top: number;
  readonly children?: readonly Bookmark[];
}

/** Adds bookmarks. pdfkit lets each point at the page that is current when it is made, and counts `left` from the right. */
export function addBookmarks(sheet: Sheet, bookmarks: readonly Bookmark[]): void {
  const add = (outline: PDFKit.PDFOutline, { title, page, top }: Bookmark) => {
    sheet.doc.switchToPage(page);
    const options = { expanded: true, top: Math.max(0, top - 12), left: PAGE.width };
    return outline.addItem(title, options);
  };
  for (const bookmark of bookmarks) {
    const item = add(sheet.doc.outline, bookmark);
    for (const child of bookmark.children ?? []) add(item, child);
  }
}
