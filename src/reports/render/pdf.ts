/**
 * Draws a report as PDF from its model alone: same model (and decisions), same bytes, for one release of engine and
 * Node. Decision pages come after the body and change none of its pages.
 */
import { AuditkeepError } from '../../errors.ts';
import { parseInstant } from '../../time/clock.ts';
import { freezeModel, type ReportModel } from '../model.ts';
import { openTexts, type Texts } from '../texts.ts';
import { beginControl, drawControl, drawEvidence } from './control-pages.ts';
import { type DecisionEntry, drawAnnex, drawDecisions } from './end-pages.ts';
import { type ContentsEntry, contentsPageCount, drawContents, drawOverview, drawTitlePage } from './front-pages.ts';
import { COLOR, CONTENT_WIDTH, FONT, PAGE, STATUS_COLOR } from './palette.ts';
import { openSheet, type Sheet, within } from './sheet.ts';

export type { DecisionEntry } from './end-pages.ts';

/**
 * The report as PDF. With null the review PDF (its SHA-256 is P0), with decisions the final one.
 * @throws TEMPLATE_INVALID when the text pack lacks a word, REPORT_TOO_LARGE
 */
export async function renderPdf(model: ReportModel, decisions: readonly DecisionEntry[] | null): Promise<Buffer> {
  const texts = await openTexts('en');
  const { hash } = freezeModel(model);
  const at = parseInstant(model.generated.at);
  if (at === null) {
    throw new AuditkeepError('INPUT_INVALID', { message: 'the model has no valid time', hint: 'generate it again' });
  }
  const { name, title } = model.framework;
  const { startDate: start, endDate: end } = model.period;
  const sheet = openSheet({
    title: texts('document.title', { framework: name, start, end }),
    subject: texts('document.subject', { title }),
    at,
  });
  const left = texts('footer.left', { name, start, end, hash: hash.slice(0, 16) });
  const pages = drawBody(sheet, model, hash, texts);
  // Footers of the body come before the decisions: a glyph that only decisions use must not renumber those of the body.
  drawFooters(sheet, 0, left, (page) => texts('footer.page', { page, pages }));
  if (decisions !== null) {
    within(sheet, 'Sect', () => drawDecisions(sheet, decisions, texts));
    sheet.doc.switchToPage(pages);
    sheet.doc.outline.addItem(texts('decisions.heading'));
    drawFooters(sheet, pages, left, (page) => texts('footer.decisionPage', { page }));
  }
  sheet.section.end();
  return sheet.finish();
}

/** Draws everything but the decisions and gives the number of pages. */
function drawBody(sheet: Sheet, model: ReportModel, hash: string, texts: Texts): number {
  const { doc } = sheet;
  within(sheet, 'Sect', () => drawTitlePage(sheet, model, hash, texts));
  const contentsFirst = pageCount(sheet);
  const entries: ContentsEntry[] = [];
  for (let left = contentsPageCount(model.controls.length + 4); left > 0; left -= 1) doc.addPage();
  const add = (level: 1 | 2, title: string, note = '', color: string = COLOR.quiet) =>
    entries.push({ level, title, note, color, page: pageCount(sheet) + 1 });
  const begin = (title: string) => {
    add(1, title);
    return title;
  };
  const overview = begin(texts('summary.heading'));
  within(sheet, 'Sect', () => drawOverview(sheet, model, texts));
  const top = [
    { title: texts('contents.heading'), page: contentsFirst },
    { title: overview, page: contentsFirst + contentsPageCount(model.controls.length + 4) },
  ];
  const controls = begin(texts('controls.heading'));
  const controlPages: { title: string; page: number }[] = [];
  for (const control of model.controls) {
    const title = `${control.id.toUpperCase()}  ${control.title}`;
    beginControl(sheet, controlPages.length === 0);
    const page = pageCount(sheet);
    controlPages.push({ title, page: page - 1 });
    entries.push({
      level: 2,
      title,
      note: texts(`status.${control.status}`),
      color: STATUS_COLOR[control.status],
      page,
    });
    within(sheet, 'Sect', () => drawControl(sheet, control, texts));
  }
  const evidence = begin(texts('control.evidence'));
  const evidencePage = pageCount(sheet);
  within(sheet, 'Sect', () => drawEvidence(sheet, model.controls, texts));
  const annex = begin(texts('annex.heading'));
  const annexPage = pageCount(sheet);
  within(sheet, 'Sect', () => drawAnnex(sheet, texts));
  const pages = pageCount(sheet);
  drawContents(sheet, contentsFirst, entries, texts);
  addBookmarks(sheet, [
    ...top,
    { title: controls, page: controlPages[0]?.page ?? evidencePage, children: controlPages },
    { title: evidence, page: evidencePage },
    { title: annex, page: annexPage },
  ]);
  doc.switchToPage(pages - 1);
  return pages;
}

interface Bookmark {
  readonly title: string;
  /** 0-based. */
  readonly page: number;
  readonly children?: readonly Bookmark[];
}

/** A bookmark points at the page that is current when it is made. */
function addBookmarks(sheet: Sheet, bookmarks: readonly Bookmark[]): void {
  for (const bookmark of bookmarks) {
    sheet.doc.switchToPage(bookmark.page);
    const item = sheet.doc.outline.addItem(bookmark.title, { expanded: true });
    for (const child of bookmark.children ?? []) {
      sheet.doc.switchToPage(child.page);
      item.addItem(child.title);
    }
  }
}

/**
 * Footers from a page (0-based) to the last. Body pages are numbered 1 to m, decision pages D-1, D-2, ..., so that
 * decisions leave the body as it was.
 */
function drawFooters(sheet: Sheet, firstPage: number, left: string, numberOf: (page: number) => string): void {
  const { doc } = sheet;
  const all = pageCount(sheet);
  for (let index = firstPage; index < all; index += 1) {
    doc.switchToPage(index);
    // Text below the bottom margin would begin a new page.
    const bottom = doc.page.margins.bottom;
    doc.page.margins.bottom = 0;
    doc.markContent('Artifact', { type: 'Pagination', attached: ['Bottom'] });
    const y = PAGE.height - 42;
    doc
      .moveTo(PAGE.left, y - 8)
      .lineTo(PAGE.left + CONTENT_WIDTH, y - 8)
      .lineWidth(0.5)
      .stroke(COLOR.line);
    doc.font(FONT.regular, 7.2).fillColor(COLOR.quiet);
    doc.text(left, PAGE.left, y, { width: CONTENT_WIDTH - 90, lineBreak: false });
    const right = { width: 90, align: 'right', lineBreak: false } as const;
    doc.text(numberOf(index - firstPage + 1), PAGE.left + CONTENT_WIDTH - 90, y, right);
    doc.endMarkedContent();
    doc.page.margins.bottom = bottom;
  }
}

function pageCount(sheet: Sheet): number {
  return sheet.doc.bufferedPageRange().count;
}
