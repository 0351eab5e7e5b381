/** The line at the bottom of every page: what the document is on the left, the page's number on the right. */
import { COLOR, CONTENT_WIDTH, FONT, FOOTER_TOP, PAGE } from './page.ts';
import { decorate, type Sheet, write } from './sheet.ts';

/** Draws the footer of the page that is current. */
export function drawFooter(sheet: Sheet, left: string, right: string): void {
  const { doc } = sheet;
  // Text below the bottom margin would begin a new page.
  const { bottom } = doc.page.margins;
  doc.page.margins.bottom = 0;
  const draw = () => {
    doc.moveTo(PAGE.left, FOOTER_TOP - 7).lineTo(PAGE.left + CONTENT_WIDTH, FOOTER_TOP - 7);
    doc.lineWidth(0.5).stroke(COLOR.line);
    const style = { font: FONT.regular, size: 7.8, color: COLOR.quiet, y: FOOTER_TOP } as const;
    write(sheet, left, { ...style, width: CONTENT_WIDTH - 90 });
    write(sheet, right, { ...style, x: PAGE.left + CONTENT_WIDTH - 90, width: 90, align: 'right' });
  };
  decorate(sheet, draw, 'Pagination');
  doc.page.margins.bottom = bottom;
}
