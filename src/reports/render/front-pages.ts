/** Title page, contents and the overview of requirements. */
import type { ReportModel } from '../model.ts';
import { CONTROL_STATUSES, type Opinion } from '../status.ts';
import { formatCount, type Texts } from '../texts.ts';
import { COLOR, CONTENT_WIDTH, FONT, PAGE, STATUS_COLOR } from './palette.ts';
import { decorate, field, heading, type Sheet, within, write } from './sheet.ts';
import { drawTable } from './table.ts';

const OPINION_COLOR: Readonly<Record<Opinion, string>> = {
  satisfied: STATUS_COLOR.pass,
  exceptions: STATUS_COLOR.fail,
  inconclusive: STATUS_COLOR.insufficient_data,
};

/** The first page: what, when, the conclusion, the counts, and the facts that identify the report. */
export function drawTitlePage(sheet: Sheet, model: ReportModel, hash: string, texts: Texts): void {
  const { doc } = sheet;
  doc.addPage();
  const { framework, period } = model;
  const bandHeight = 214;
  decorate(sheet, () => doc.rect(0, 0, PAGE.width, bandHeight).fill(COLOR.brand));
  write(sheet, texts('title.kicker'), { font: FONT.bold, size: 9, color: '#b9cbe0', y: 58, gapAfter: 10 });
  write(sheet, framework.name, { font: FONT.bold, size: 34, color: COLOR.paper, structure: 'H1', gapAfter: 2 });
  write(sheet, framework.title, { size: 12, color: COLOR.paper, gapAfter: 10 });
  write(sheet, texts('title.period', { start: period.startDate, end: period.endDate, zone: period.zone }), {
    font: FONT.bold,
    size: 10.5,
    color: COLOR.paper,
  });
  doc.y = bandHeight + 24;
  if (period.interim) {
    write(sheet, texts('title.interim'), { font: FONT.bold, size: 10, color: STATUS_COLOR.fail, gapAfter: 12 });
  }
  drawOpinion(sheet, model, texts);
  drawTiles(sheet, model, texts);
  heading(sheet, 2, texts('title.facts'));
  drawFacts(sheet, model, hash, texts);
  drawFindings(sheet, model, texts);
}

function drawOpinion(sheet: Sheet, model: ReportModel, texts: Texts): void {
  const { doc } = sheet;
  const { pass, fail } = model.statusCounts;
  const text = texts(`opinionText.${model.opinion}`, { pass, fail, total: model.controls.length });
  const top = doc.y;
  const height = 74;
  decorate(sheet, () => {
    doc.roundedRect(PAGE.left, top, CONTENT_WIDTH, height, 4).fill(COLOR.shade);
    doc.rect(PAGE.left, top, 5, height).fill(OPINION_COLOR[model.opinion]);
  });
  const x = PAGE.left + 18;
  const width = CONTENT_WIDTH - 32;
  write(sheet, texts('title.opinion'), { size: 8, color: COLOR.quiet, x, y: top + 9, width, gapAfter: 1 });
  write(sheet, texts(`opinion.${model.opinion}`), {
    font: FONT.bold,
    size: 13,
    color: OPINION_COLOR[model.opinion],
    x,
    width,
    structure: 'H2',
    gapAfter: 2,
  });
  write(sheet, text, { size: 8.8, x, width });
  doc.y = top + height + 16;
}

function drawTiles(sheet: Sheet, model: ReportModel, texts: Texts): void {
  const { doc } = sheet;
  const gap = 7;
  const width = (CONTENT_WIDTH - gap * (CONTROL_STATUSES.length - 1)) / CONTROL_STATUSES.length;
  const top = doc.y;
  for (const [index, status] of CONTROL_STATUSES.entries()) {
    const x = PAGE.left + index * (width + gap);
    const count = model.statusCounts[status];
    const color = count === 0 ? COLOR.line : STATUS_COLOR[status];
    decorate(sheet, () => {
      doc.roundedRect(x, top, width, 54, 3).lineWidth(0.8).stroke(COLOR.line);
      doc.rect(x, top, width, 3.5).fill(color);
    });
    const ink = count === 0 ? COLOR.quiet : STATUS_COLOR[status];
    write(sheet, String(count), { font: FONT.bold, size: 17, color: ink, x, y: top + 10, width, align: 'center' });
    write(sheet, texts(`status.${status}`), { size: 7.2, color: COLOR.quiet, x, y: top + 35, width, align: 'center' });
  }
  doc.x = PAGE.left;
  doc.y = top + 64;
}

function drawFacts(sheet: Sheet, model: ReportModel, hash: string, texts: Texts): void {
  const { framework, generated, source, report } = model;
  field(sheet, texts('field.id'), texts('field.version', report));
  field(sheet, texts('field.framework'), texts('field.frameworkValue', framework));
  field(sheet, texts('field.generated'), texts('field.generatedValue', generated));
  field(sheet, texts('field.hash'), hash, { mono: true });
  const engine = { engine: generated.engineVersion, node: generated.nodeVersion };
  field(sheet, texts('field.engine'), texts('field.engineValue', engine));
  const database = { database: source.database, server: source.serverVersion, schema: source.schemaVersion };
  field(sheet, texts('field.database'), texts('field.databaseValue', database));
  field(sheet, texts('field.snapshot'), source.snapshot, { mono: true });
  const chain = { size: formatCount(source.chainSize), unsealed: formatCount(source.unsealedEvents) };
  field(sheet, texts('field.chain'), texts('field.chainValue', chain));
  if (source.chainHead !== null) field(sheet, texts('field.chainHead'), source.chainHead, { mono: true });
}

const SHOWN_FINDINGS = 6;

/** What a reader in a hurry wants first: the controls that are neither satisfied nor without occurrences. */
function drawFindings(sheet: Sheet, model: ReportModel, texts: Texts): void {
  const attention: readonly string[] = ['fail', 'error', 'insufficient_data'];
  const findings = model.controls.filter((control) => attention.includes(control.status));
  if (findings.length === 0) return;
  heading(sheet, 2, texts('title.findings'));
  drawTable(
    sheet,
    [
      { label: texts('title.findingsControl'), weight: 56 },
      { label: texts('control.severity'), weight: 13 },
      { label: texts('control.exceptions'), weight: 13, align: 'right' },
      { label: texts('summary.status'), weight: 20 },
    ],
    findings
      .slice(0, SHOWN_FINDINGS)
      .map((control) => [
        { text: `${control.id.toUpperCase()}  ${control.title}` },
        { text: texts(`severity.${control.severity}`) },
        { text: formatCount(control.exceptions.count) },
        { text: texts(`status.${control.status}`), badge: STATUS_COLOR[control.status] },
      ]),
  );
  const more = findings.length - SHOWN_FINDINGS;
  if (more > 0) write(sheet, texts('title.moreFindings', { count: more }), { size: 8, color: COLOR.quiet });
}

/** An entry of the contents. The page is 1-based. */
export interface ContentsEntry {
  readonly title: string;
  readonly page: number;
  readonly level: 1 | 2;
  readonly note: string;
  readonly color: string;
}

const LINES_PER_PAGE = 36;

/** How many pages the contents take; known before what they list. */
export function contentsPageCount(entries: number): number {
  return Math.max(1, Math.ceil(entries / LINES_PER_PAGE));
}

/** Writes the contents onto the pages kept for them, the first of which has this 0-based index. */
export function drawContents(sheet: Sheet, firstPage: number, entries: readonly ContentsEntry[], texts: Texts): void {
  const { doc } = sheet;
  within(sheet, 'TOC', () => {
    for (const [index, entry] of entries.entries()) {
      if (index % LINES_PER_PAGE === 0) {
        doc.switchToPage(firstPage + index / LINES_PER_PAGE);
        doc.x = PAGE.left;
        doc.y = PAGE.top;
        if (index === 0) heading(sheet, 1, texts('contents.heading'));
      }
      drawContentsLine(sheet, entry);
    }
  });
}

function drawContentsLine(sheet: Sheet, entry: ContentsEntry): void {
  const { doc } = sheet;
  const y = doc.y;
  const indent = entry.level === 2 ? 14 : 0;
  const font = entry.level === 1 ? FONT.bold : FONT.regular;
  within(sheet, 'TOCI', () => {
    write(sheet, entry.title, { font, size: 9, x: PAGE.left + indent, y, width: CONTENT_WIDTH - 150 - indent });
    const below = doc.y;
    if (entry.note !== '') {
      const x = PAGE.left + CONTENT_WIDTH - 140;
      write(sheet, entry.note, { font: FONT.bold, size: 8, color: entry.color, x, y: y + 0.7, width: 108 });
    }
    const right = { x: PAGE.left + CONTENT_WIDTH - 30, y, width: 30, align: 'right' } as const;
    write(sheet, String(entry.page), { font, size: 9, ...right });
    doc.y = Math.max(below, doc.y) + 3.5;
    doc.x = PAGE.left;
  });
}

/** Requirements, a bar of the statuses, and the table of what rests on what. */
export function drawOverview(sheet: Sheet, model: ReportModel, texts: Texts): void {
  sheet.doc.addPage();
  heading(sheet, 1, texts('summary.heading'));
  write(sheet, model.framework.introduction, { gapAfter: 6 });
  write(sheet, texts('summary.introduction'), { gapAfter: 12 });
  drawStatusBar(sheet, model, texts);
  drawTable(
    sheet,
    [
      { label: texts('summary.citation'), weight: 17 },
      { label: texts('summary.requirement'), weight: 47 },
      { label: texts('summary.coverage'), weight: 13 },
      { label: texts('summary.controls'), weight: 15 },
      { label: texts('summary.status'), weight: 19 },
    ],
    model.requirements.map((requirement) => [
      { text: requirement.citation },
      { lead: requirement.title, text: requirement.note },
      { text: texts(`coverage.${requirement.coverage}`) },
      { text: requirement.controls.map((id) => id.toUpperCase()).join(', ') },
      { text: texts(`status.${requirement.status}`), badge: STATUS_COLOR[requirement.status] },
    ]),
  );
}

/** One bar, each status as wide as its share; its alternative text names the counts. */
function drawStatusBar(sheet: Sheet, model: ReportModel, texts: Texts): void {
  const { doc } = sheet;
  const present = CONTROL_STATUSES.filter((status) => model.statusCounts[status] > 0);
  const counts = present.map((status) => `${texts(`status.${status}`)} ${model.statusCounts[status]}`);
  const top = doc.y;
  const figure = doc.struct('Figure', { alt: texts('summary.chart', { counts: counts.join(', ') }) }, () => {
    let x: number = PAGE.left;
    for (const status of present) {
      const width = (CONTENT_WIDTH * model.statusCounts[status]) / model.controls.length;
      doc.rect(x, top, Math.max(width - 1.5, 1), 12).fill(STATUS_COLOR[status]);
      x += width;
    }
  });
  sheet.section.add(figure);
  figure.end();
  doc.y = top + 16;
  write(sheet, counts.join('   ·   '), { size: 8, color: COLOR.quiet, gapAfter: 12 });
}
