/** The first page: what, when, the conclusion, the counts, what needs attention, and the facts that identify the report. */
import { COLOR, CONTENT_WIDTH, FONT, PAGE } from '../../pdf/page.ts';
import { decorate, heading, measure, roomLeft, type Sheet, within, write } from '../../pdf/sheet.ts';
import { drawFields, drawTable, type Field, measureFields } from '../../pdf/table.ts';
import { SERVICE_PERSON } from '../../persons/roles.ts';
import type { ControlModel } from '../model/control-model.ts';
import type { ReportModel } from '../model/model.ts';
import { CONTROL_STATUSES, type Opinion } from '../model/status.ts';
import { formatCount, type Texts } from '../template/texts.ts';
import { STATUS_COLOR } from './palette.ts';

const OPINION_COLOR: Readonly<Record<Opinion, string>> = {
  satisfied: STATUS_COLOR.pass,
  exceptions: STATUS_COLOR.fail,
  inconclusive: STATUS_COLOR.insufficient_data,
};
const BAND_HEIGHT = 190;

/** Draws the page. */
export function drawTitlePage(sheet: Sheet, model: ReportModel, hash: string, texts: Texts): void {
  sheet.doc.addPage();
  drawBand(sheet, model, texts);
  drawOpinion(sheet, model, texts);
  drawTiles(sheet, model, texts);
  const facts = factsOf(model, hash, texts);
  const factsHeight = measureFields(sheet, facts) + 46;
  drawFindings(sheet, model.controls, factsHeight, texts);
  heading(sheet, 2, texts('title.facts'), 0);
  drawFields(sheet, facts);
}

function drawBand(sheet: Sheet, { framework, period }: ReportModel, texts: Texts): void {
  const { doc } = sheet;
  decorate(sheet, () => doc.rect(0, 0, PAGE.width, BAND_HEIGHT).fill(COLOR.brand));
  write(sheet, texts('title.kicker'), { font: FONT.bold, size: 10, color: COLOR.onBrand, y: 44 });
  write(sheet, framework.name, { font: FONT.bold, size: 34, color: COLOR.paper, structure: 'H1' });
  write(sheet, framework.title, { size: 13, color: COLOR.paper, gapAfter: 6 });
  const values = { start: period.startDate, end: period.endDate, zone: period.zone };
  write(sheet, texts('title.period', values), { font: FONT.bold, size: 11, color: COLOR.paper });
  doc.y = Math.max(BAND_HEIGHT, doc.y) + 18;
  if (!period.interim) return;
  write(sheet, texts('title.interim'), { font: FONT.bold, size: 11, color: STATUS_COLOR.fail, gapAfter: 10 });
}

function drawOpinion(sheet: Sheet, model: ReportModel, texts: Texts): void {
  const { doc } = sheet;
  const x = PAGE.left + 18;
  const width = CONTENT_WIDTH - 32;
  const color = OPINION_COLOR[model.opinion];
  const text = opinionText(model, texts);
  const top = doc.y;
  const height = 46 + measure(sheet, text, { width });
  decorate(sheet, () => {
    doc.roundedRect(PAGE.left, top, CONTENT_WIDTH, height, 4).fill(COLOR.shade);
    doc.rect(PAGE.left, top, 5, height).fill(color);
  });
  write(sheet, texts('title.opinion'), { size: 8.6, color: COLOR.quiet, x, y: top + 7, width });
  const title = { font: FONT.bold, size: 15, color, x, width, structure: 'H2' } as const;
  write(sheet, texts(`opinion.${model.opinion}`), title);
  write(sheet, text, { x, width });
  doc.y = top + height + 14;
}

/** The conclusion in a sentence, and beside failures what could not be judged: a reader must not take it for passed. */
function opinionText(model: ReportModel, texts: Texts): string {
  const { pass, pass_with_waiver: waived, fail, error, insufficient_data: insufficient, stale } = model.statusCounts;
  const unjudged = error + insufficient + stale;
  const unattested = model.requirements.filter(({ status }) => status === 'manual_pending').length;
  return [
    texts(`opinionText.${model.opinion}`, { pass: pass + waived, fail, total: model.controls.length }),
    ...(model.opinion === 'exceptions' && unjudged > 0 ? [texts('title.unjudged', { count: unjudged })] : []),
    ...(unattested > 0 ? [texts('title.unattested', { count: unattested })] : []),
  ].join(' ');
}

const TILE_HEIGHT = 54;

function drawTiles(sheet: Sheet, model: ReportModel, texts: Texts): void {
  const { doc } = sheet;
  const gap = 6;
  const width = (CONTENT_WIDTH - gap * (CONTROL_STATUSES.length - 1)) / CONTROL_STATUSES.length;
  const top = doc.y;
  for (const [index, status] of CONTROL_STATUSES.entries()) {
    const x = PAGE.left + index * (width + gap);
    const count = model.statusCounts[status];
    decorate(sheet, () => {
      doc.roundedRect(x, top, width, TILE_HEIGHT, 3).lineWidth(0.8).stroke(COLOR.line);
      doc.rect(x, top, width, 3.5).fill(count === 0 ? COLOR.line : STATUS_COLOR[status]);
    });
    const color = count === 0 ? COLOR.quiet : STATUS_COLOR[status];
    const place = { x, width, align: 'center', structure: null } as const;
    within(sheet, 'P', () => {
      const label = { ...place, size: 7.8, color: COLOR.quiet, x: x + 2, width: width - 4 } as const;
      write(sheet, texts(`status.${status}`), { ...label, y: top + 31 });
      write(sheet, String(count), { ...place, font: FONT.bold, size: 18, color, y: top + 6 });
    });
  }
  doc.x = PAGE.left;
  doc.y = top + TILE_HEIGHT + 4;
}

const ATTENTION: readonly ControlModel['status'][] = ['fail', 'error', 'insufficient_data', 'stale'];
const SEVERITIES: readonly ControlModel['severity'][] = ['critical', 'high', 'medium', 'low'];
const ROW_HEIGHT = 20;

/** What a reader in a hurry wants first: the controls that failed or could not be judged, the worst first. */
function drawFindings(sheet: Sheet, controls: readonly ControlModel[], below: number, texts: Texts): void {
  const rank = ({ status, severity }: ControlModel) =>
    ATTENTION.indexOf(status) * SEVERITIES.length + SEVERITIES.indexOf(severity);
  const findings = controls.filter(({ status }) => ATTENTION.includes(status)).sort((a, b) => rank(a) - rank(b));
  if (findings.length === 0) return;
  heading(sheet, 2, texts('title.findings'), 0);
  const room = Math.max(3, Math.floor((roomLeft(sheet) - below - 2.4 * ROW_HEIGHT) / ROW_HEIGHT));
  drawTable(
    sheet,
    [
      { label: texts('title.findingsControl'), weight: 62 },
      { label: texts('control.severity'), weight: 12 },
      { label: texts('control.exceptions'), weight: 14, align: 'right' },
      { label: texts('summary.status'), weight: 20 },
    ],
    findings
      .slice(0, room)
      .map((control) => [
        { text: `${control.id.toUpperCase()}  ${control.title}` },
        { text: texts(`severity.${control.severity}`) },
        { text: formatCount(control.exceptions.count) },
        { text: texts(`status.${control.status}`), badge: STATUS_COLOR[control.status] },
      ]),
  );
  const more = findings.length - room;
  if (more <= 0) return;
  sheet.doc.y -= 6;
  write(sheet, texts('title.moreFindings', { count: more }), { size: 8.6, color: COLOR.quiet });
}

function factsOf(model: ReportModel, hash: string, texts: Texts): Field[] {
  const { framework, generated, source, report } = model;
  const by = generated.by === SERVICE_PERSON ? texts('field.service') : generated.by;
  const engine = { engine: generated.engineVersion, node: generated.nodeVersion };
  const database = { database: source.database, server: source.serverVersion, schema: source.schemaVersion };
  const chain = { size: formatCount(source.chainSize), unsealed: formatCount(source.unsealedEvents) };
  return [
    { label: texts('field.id'), value: texts('field.version', report) },
    { label: texts('field.framework'), value: texts('field.frameworkValue', framework) },
    { label: texts('field.generated'), value: texts('field.generatedValue', { at: generated.at, by }) },
    { label: texts('field.hash'), value: hash, mono: true },
    { label: texts('field.engine'), value: texts('field.engineValue', engine) },
    { label: texts('field.database'), value: texts('field.databaseValue', database) },
    { label: texts('field.snapshot'), value: source.snapshot, mono: true },
    { label: texts('field.chain'), value: texts('field.chainValue', chain) },
    ...(source.chainHead === null ? [] : [{ label: texts('field.chainHead'), value: source.chainHead, mono: true }]),
  ];
}
