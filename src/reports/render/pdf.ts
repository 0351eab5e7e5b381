/**
 * Draws a report as PDF from its model alone: same model (and decisions), same bytes, for one release of engine and
 * Node. Decision pages come after the body and change none of its pages. The model itself is embedded as model.json.
 */
import { AuditkeepError } from '../../errors.ts';
import { drawFooter } from '../../pdf/footer.ts';
import { openSheet, reserve, type Sheet, within } from '../../pdf/sheet.ts';
import { parseInstant } from '../../time/clock.ts';
import { freezeModel, type ReportModel } from '../model/model.ts';
import { openTexts, type Texts } from '../template/texts.ts';
import {
  addBookmarks,
  type Bookmark,
  type ContentsEntry,
  contentsPageCount,
  drawContents,
  nameEntry,
} from './contents.ts';
import { beginControl, drawControl, drawControlsHead } from './control-pages.ts';
import { type DecisionEntry, drawAnnex, drawDecisions } from './end-pages.ts';
import { drawEvidence } from './evidence-pages.ts';
import { drawFiles, drawSamples } from './files-pages.ts';
import { drawGlance } from './glance.ts';
import { STATUS_COLOR } from './palette.ts';
import { drawRequirements } from './requirements.ts';
import { drawStatements } from './statements-pages.ts';
import { drawTitlePage } from './title-page.ts';

export type { DecisionEntry } from './end-pages.ts';

/**
 * The report as PDF. With null the review PDF (its SHA-256 is P0), with decisions the final one.
 * @throws TEMPLATE_INVALID when the text pack lacks a word, REPORT_TOO_LARGE
 */
export async function renderPdf(model: ReportModel, decisions: readonly DecisionEntry[] | null): Promise<Buffer> {
  const texts = await openTexts('en');
  const { bytes, hash } = freezeModel(model);
  const sheet = openReport(model, bytes, texts);
  const { name } = model.framework;
  const { startDate: start, endDate: end } = model.period;
  const left = texts('footer.left', { name, start, end, hash: hash.slice(0, 16) });
  const pages = drawBody(sheet, model, hash, texts);
  // Footers of the body come before the decisions: a glyph that only decisions use must not renumber those of the body.
  drawFooters(sheet, 0, left, (page) => texts('footer.page', { page, pages }));
  if (decisions !== null) {
    within(sheet, 'Sect', () => drawDecisions(sheet, decisions, texts));
    addBookmarks(sheet, [{ title: texts('decisions.heading'), page: pages, top: 0 }]);
    drawFooters(sheet, pages, left, (page) => texts('footer.decisionPage', { page }));
  }
  return sheet.finish();
}

function openReport(model: ReportModel, bytes: Buffer, texts: Texts): Sheet {
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
  sheet.doc.file(bytes, {
    name: 'model.json',
    type: 'application/json',
    description: texts('document.model'),
    relationship: 'Source',
    creationDate: new Date(at),
    modifiedDate: new Date(at),
  });
  return sheet;
}

/** A part of the body: its line in the contents, where it begins, and what it draws. */
interface Part {
  readonly entry: ContentsEntry;
  readonly begin: () => void;
  readonly draw: () => void;
}

function partsOf(sheet: Sheet, model: ReportModel, texts: Texts): Part[] {
  const onNewPage = () => {
    sheet.doc.addPage();
  };
  const chapter = (key: string, draw: () => void): Part => ({
    entry: { level: 1, title: texts(key) },
    begin: onNewPage,
    draw,
  });
  const controls = model.controls.map((control): Part => {
    const note = { text: texts(`status.${control.status}`), color: STATUS_COLOR[control.status] };
    return {
      entry: { level: 2, title: `${control.id.toUpperCase()}  ${control.title}`, note },
      begin: () => beginControl(sheet, control, texts),
      draw: () => drawControl(sheet, control, texts),
    };
  });
  return [
    chapter('glance.heading', () => drawGlance(sheet, model, texts)),
    chapter('summary.heading', () => drawRequirements(sheet, model, texts)),
    chapter('controls.heading', () => drawControlsHead(sheet, texts)),
    ...controls,
    chapter('statements.heading', () => drawStatements(sheet, model, texts)),
    chapter('control.evidence', () => drawEvidence(sheet, model.controls, texts)),
    chapter('samples.heading', () => drawSamples(sheet, model.controls, texts)),
    chapter('files.heading', () => drawFiles(sheet, model.controls, texts)),
    chapter('annex.heading', () => drawAnnex(sheet, texts)),
  ];
}

/** Draws everything but the decisions and gives the number of pages. */
function drawBody(sheet: Sheet, model: ReportModel, hash: string, texts: Texts): number {
  const { doc } = sheet;
  within(sheet, 'Sect', () => drawTitlePage(sheet, model, hash, texts));
  const parts = partsOf(sheet, model, texts);
  const contentsFirst = pageCount(sheet);
  const entries = parts.map(({ entry }) => entry);
  for (let left = contentsPageCount(sheet, entries, texts); left > 0; left -= 1) doc.addPage();
  // Written last, when the pages are known, but read at its place.
  const writeContents = reserve(sheet, 'Sect');
  const places = parts.map(({ entry, begin, draw }, index) => {
    begin();
    nameEntry(sheet, index);
    const place = { ...entry, page: pageCount(sheet), top: doc.y };
    within(sheet, 'Sect', draw);
    return place;
  });
  const pages = pageCount(sheet);
  writeContents(() => drawContents(sheet, contentsFirst, places, texts));
  addBookmarks(sheet, [
    { title: texts('contents.heading'), page: contentsFirst, top: 0 },
    ...places.flatMap((place, index) => {
      if (place.level === 2) return [];
      const later = places.slice(index + 1);
      const next = later.findIndex(({ level }) => level === 1);
      const children = later.slice(0, next === -1 ? later.length : next);
      return [{ ...bookmarkOf(place), children: children.map(bookmarkOf) }];
    }),
  ]);
  doc.switchToPage(pages - 1);
  return pages;
}

function bookmarkOf({ title, page, top }: { title: string; page: number; top: number }): Bookmark {
  return { title, page: page - 1, top };
}

function drawFooters(sheet: Sheet, firstPage: number, left: string, numberOf: (page: number) => string): void {
  const all = pageCount(sheet);
  for (let index = firstPage; index < all; index += 1) {
    sheet.doc.switchToPage(index);
    drawFooter(sheet, left, numberOf(index - firstPage + 1));
  }
}

function pageCount(sheet: Sheet): number {
  return sheet.doc.bufferedPageRange().count;
}
