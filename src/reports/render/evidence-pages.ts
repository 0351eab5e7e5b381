/** The annex of how the figures of each control were made (IPE, information produced by the entity). */
import { COLOR } from '../../pdf/page.ts';
import { ensureRoom, heading, measure, type Sheet, write } from '../../pdf/sheet.ts';
import { drawFields, type Field, measureFields } from '../../pdf/table.ts';
import type { ControlModel } from '../model/control-model.ts';
import { formatCount, type Texts } from '../template/texts.ts';

/** Draws the annex from the current position on. */
export function drawEvidence(sheet: Sheet, controls: readonly ControlModel[], texts: Texts): void {
  heading(sheet, 1, texts('control.evidence'));
  write(sheet, texts('evidence.introduction'), { color: COLOR.quiet });
  for (const control of controls) {
    const fields = fieldsOf(control, texts);
    const title = `${control.id.toUpperCase()}  ${control.title}`;
    const height = measureFields(sheet, fields) + measure(sheet, title, { size: 14 }) + 20;
    if (height < 500) ensureRoom(sheet, height);
    heading(sheet, 2, title, 130);
    drawFields(sheet, fields);
  }
}

function fieldsOf(control: ControlModel, texts: Texts): Field[] {
  const { ipe } = control;
  const figures = {
    rows: formatCount(ipe.rowCount),
    distinct: formatCount(ipe.distinctKeys),
    independent: formatCount(ipe.independentCount),
    difference: formatCount(ipe.difference),
  };
  const parameters = ipe.parameters.map((parameter) =>
    texts('control.parameter', { ...parameter, value: formatCount(parameter.value) }),
  );
  const hash = (label: string, value: string): Field => ({ label: texts(label), value, mono: true });
  return [
    { label: texts('control.mode'), value: `${texts(`mode.${control.mode}`)}. ${control.frequency}` },
    { label: texts('evidence.population'), value: control.population.meaning },
    { label: texts('evidence.figures'), value: texts('evidence.figuresValue', figures) },
    { label: texts('evidence.completeness'), value: ipe.completenessMeaning },
    ...(parameters.length === 0 ? [] : [{ label: texts('control.parameters'), value: parameters.join('\n') }]),
    ...control.checks.map((check) => ({
      label: texts(`evidence.${check.kind}`),
      value: texts('evidence.checkValue', { ...check, count: formatCount(check.count) }),
    })),
    ...sampleFields(ipe.sample, texts),
    ...(ipe.resultSha256 === null ? [] : [hash('evidence.result', ipe.resultSha256)]),
    hash('evidence.template', ipe.templateSha256),
    hash('evidence.populationSql', ipe.populationSqlSha256),
    hash('evidence.exceptionsSql', ipe.exceptionsSqlSha256),
    hash('evidence.completenessSql', ipe.completenessSqlSha256),
    ...control.checks.map((check) => hash(`evidence.${check.kind}Sql`, check.sqlSha256)),
  ];
}

/** How many keys were drawn from the population, and whether they were found again. */
function sampleFields(sample: ControlModel['ipe']['sample'], texts: Texts): Field[] {
  if (sample === null || sample.keys.length === 0) return [];
  const { keys, seed, reread } = sample;
  const drawn = texts('evidence.sampleDrawn', { keys: formatCount(keys.length), seed });
  const figures = {
    found: formatCount(keys.length - (reread?.missing.length ?? 0)),
    missing: formatCount(reread?.missing.length ?? null),
    at: (reread?.at ?? '').replace('T', ' ').slice(0, 19),
  };
  const again = texts(reread === null ? 'evidence.sampleUnread' : 'evidence.sampleReread', figures);
  return [{ label: texts('evidence.sample'), value: `${drawn} ${again}` }];
}
