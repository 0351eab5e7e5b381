/** Charts of the whole report: statuses by group of controls, and over the last periods. */
import { type BarRow, drawBarChart, type Series } from '../../pdf/bars.ts';
import { COLOR } from '../../pdf/page.ts';
import { heading, type Sheet, write } from '../../pdf/sheet.ts';
import { countStatuses } from '../model/build-model.ts';
import { AGE_BOUNDS } from '../model/control-model.ts';
import type { ReportModel } from '../model/model.ts';
import { CONTROL_STATUSES, type ControlStatus } from '../model/status.ts';
import { formatCount, type Texts } from '../template/texts.ts';
import { AGE_LOOKS, NO_AGE_LOOK, STATUS_COLOR, STATUS_PATTERN } from './palette.ts';

type Counts = ReportModel['statusCounts'];
interface CountedRow {
  readonly label: string;
  readonly note?: string;
  readonly counts: Counts;
}

/** Draws the chapter from the current position on. */
export function drawGlance(sheet: Sheet, model: ReportModel, texts: Texts): void {
  heading(sheet, 1, texts('glance.heading'));
  write(sheet, texts('glance.introduction'), { color: COLOR.quiet });
  heading(sheet, 2, texts('glance.groups'), 160);
  drawStatusChart(sheet, {
    heading: texts('glance.group'),
    rows: groupRows(model, texts),
    alt: 'glance.groupsAlt',
    texts,
  });
  drawTrend(sheet, model, texts);
  drawAgeing(sheet, model, texts);
}

function drawTrend(sheet: Sheet, model: ReportModel, texts: Texts): void {
  heading(sheet, 2, texts('glance.trend'), 160);
  if (model.trend.length === 0) {
    write(sheet, texts('glance.noTrend'), { gapAfter: 8 });
    return;
  }
  write(sheet, texts('glance.trendIntroduction'), { color: COLOR.quiet, gapAfter: 6 });
  drawStatusChart(sheet, {
    heading: texts('glance.period'),
    rows: trendRows(model, texts),
    alt: 'glance.trendAlt',
    texts,
  });
}

function groupRows({ controls }: ReportModel, texts: Texts): CountedRow[] {
  const groups = [...new Set(controls.map(({ group }) => group))];
  return groups.map((group) => {
    const statuses = controls.filter((control) => control.group === group).map(({ status }) => status);
    return { label: texts(`group.${group}`), counts: countStatuses(statuses) };
  });
}

function trendRows({ trend, period, statusCounts }: ReportModel, texts: Texts): CountedRow[] {
  const label = (dates: { readonly startDate: string; readonly endDate: string }) =>
    texts('glance.dates', { start: dates.startDate, end: dates.endDate });
  const earlier = trend.map((entry) => ({
    label: label(entry),
    note: texts('glance.earlier', { status: entry.status.replace('_', ' '), id: entry.reportId.slice(0, 8) }),
    counts: entry.statusCounts,
  }));
  return [...earlier, { label: label(period), note: texts('glance.thisReport'), counts: statusCounts }];
}

/** Columns of the statuses that occur; the others would be zeros. */
function drawStatusChart(
  sheet: Sheet,
  chart: {
    readonly heading: string;
    readonly rows: readonly CountedRow[];
    readonly alt: string;
    readonly texts: Texts;
  },
): void {
  const { texts, rows } = chart;
  const present = CONTROL_STATUSES.filter((status) => rows.some(({ counts }) => counts[status] > 0));
  const word = (status: ControlStatus) => texts(`status.${status}`);
  const described = rows.map(({ label, counts }) => {
    const parts = present.filter((status) => counts[status] > 0).map((status) => `${counts[status]} ${word(status)}`);
    return `${label}: ${parts.join(', ')}`;
  });
  drawBarChart(sheet, {
    heading: chart.heading,
    alt: texts(chart.alt, { rows: described.join('; ') }),
    series: present.map((status): Series => {
      return { label: word(status), color: STATUS_COLOR[status], pattern: STATUS_PATTERN[status] };
    }),
    rows: rows.map(({ counts, ...row }): BarRow => ({ ...row, values: present.map((status) => counts[status]) })),
    length: 'total',
    format: formatCount,
  });
}

/** How old all exceptions are, of each control whose exceptions have a time. */
function drawAgeing(sheet: Sheet, { controls }: ReportModel, texts: Texts): void {
  heading(sheet, 2, texts('glance.ageing'), 160);
  const rows = controls.flatMap(({ id, exceptions: { ageing, columns } }) => {
    if (ageing === null) return [];
    const note = columns.find(({ name }) => name === ageing.column)?.label ?? ageing.column;
    return [{ label: id.toUpperCase(), note, values: [...ageing.counts, ageing.unknown] }];
  });
  if (rows.length === 0) {
    write(sheet, texts('glance.noAgeing'), { gapAfter: 8 });
    return;
  }
  write(sheet, texts('glance.ageingIntroduction'), { color: COLOR.quiet, gapAfter: 6 });
  const series = ageSeries(texts);
  const described = rows.map(({ label, values }) => {
    const parts = series.map((one, index) => `${one.label} ${formatCount(values[index] ?? 0)}`);
    return `${label}: ${parts.join(', ')}`;
  });
  const alt = texts('glance.ageingAlt', { rows: described.join('; ') });
  drawBarChart(sheet, { heading: texts('glance.control'), alt, series, rows, length: 'share', format: formatCount });
}

function ageSeries(texts: Texts): Series[] {
  const last = AGE_BOUNDS.at(-1) ?? 0;
  const labels = AGE_BOUNDS.map((bound, index) => {
    const after = AGE_BOUNDS[index - 1];
    if (after === undefined) return texts('glance.upTo', { days: bound });
    return texts('glance.between', { from: after + 1, to: bound });
  });
  return [
    ...[...labels, texts('glance.over', { days: last })].map((label, index) => ({
      label,
      ...(AGE_LOOKS[index] ?? NO_AGE_LOOK),
    })),
    { label: texts('glance.noTime'), ...NO_AGE_LOOK },
  ];
}
