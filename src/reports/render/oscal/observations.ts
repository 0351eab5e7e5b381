/** What each control found, as OSCAL observations: figures, exceptions, and how they came about (IPE). Pure. */
import type { ControlModel } from '../../model/control-model.ts';
import type { ReportModel } from '../../model/model.ts';
import { databaseSubject, engineOrigin } from './actors.ts';
import { evidenceResourceId, sampleResourceId } from './back-matter.ts';
import { type Draft, idOf, markup, prop } from './vocabulary.ts';

export function observationId(model: ReportModel, control: string): string {
  return idOf(model, 'observation', control);
}

/** One observation a control. */
export function observationOf(model: ReportModel, control: ControlModel): Draft {
  return {
    uuid: observationId(model, control.id),
    title: markup(`${control.id}: ${control.title}`),
    description: markup(`${control.assertion} ${figuresText(control)}`),
    props: [
      prop('control-id', control.id),
      prop('control-version', control.version),
      prop('status', control.status),
      prop('reason', control.reason),
      prop('sql-state', control.sqlState),
      prop('mode', control.mode),
      prop('severity', control.severity),
      prop('group', control.group),
      prop('population', control.population.count),
      prop('exceptions', control.exceptions.count),
      prop('exceptions-waived', control.exceptions.waived),
      prop('exceptions-sha256', control.ipe.resultSha256),
      ...ipeProps(control),
    ],
    methods: ['TEST'],
    types: ['control-objective'],
    origins: [engineOrigin(model)],
    subjects: [databaseSubject(model)],
    'relevant-evidence': [
      { href: `#${idOf(model, 'resource', 'model')}`, description: 'The first exceptions, in the model.' },
      { href: `#${idOf(model, 'resource', 'control', control.id)}`, description: 'What was asked, and how.' },
      ...(control.exceptions.evidence === null
        ? []
        : [{ href: `#${evidenceResourceId(model, control.id)}`, description: 'All exceptions.' }]),
      ...(control.ipe.sample?.evidence == null
        ? []
        : [{ href: `#${sampleResourceId(model, control.id)}`, description: 'A sample of the population.' }]),
    ],
    collected: model.source.readAt,
    remarks: remarksOf(control),
  };
}

/** The figures as a sentence, the statuses that claim nothing included. */
export function figuresText({ population, exceptions, status }: ControlModel): string {
  if (population.count === null || exceptions.count === null) return 'It could not be evaluated.';
  const waived = exceptions.waived === null || exceptions.waived === 0 ? '' : `, ${exceptions.waived} of them waived`;
  return `Status ${status}: ${exceptions.count} exceptions${waived}; population ${population.count}.`;
}

function ipeProps({ ipe, checks }: ControlModel): Draft[] {
  return [
    prop('ipe-template-sha256', ipe.templateSha256),
    prop('ipe-population-sql-sha256', ipe.populationSqlSha256),
    prop('ipe-exceptions-sql-sha256', ipe.exceptionsSqlSha256),
    prop('ipe-completeness-sql-sha256', ipe.completenessSqlSha256),
    prop('ipe-row-count', ipe.rowCount),
    prop('ipe-distinct-keys', ipe.distinctKeys),
    prop('ipe-independent-count', ipe.independentCount),
    prop('ipe-difference', ipe.difference),
    ...ipe.parameters.map(({ name, value, unit }) => prop(`ipe-parameter-${name}`, `${value} ${unit}`)),
    ...checks.map(({ kind, count }) => prop(`ipe-${kind}-count`, count)),
  ];
}

function remarksOf(control: ControlModel): string {
  const sentences = [
    control.population.meaning,
    control.exceptions.meaning,
    control.ipe.completenessMeaning,
    ...control.limitations,
  ];
  return sentences.map(markup).join(' ');
}
