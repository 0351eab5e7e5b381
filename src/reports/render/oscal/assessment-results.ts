/** The report as OSCAL 1.2.1 assessment results. Pure: the same model, the same bytes, for one release. */
import { canonicalJson } from '../../../canonical-json.ts';
import { freezeModel, type ReportModel } from '../../model/model.ts';
import { assessmentAssets, databaseComponent, metadataOf } from './actors.ts';
import { backMatterOf, frameworkResourceId } from './back-matter.ts';
import { attestationOf, findingOf, objectiveOf } from './findings.ts';
import { observationOf } from './observations.ts';
import { riskOf, riskyControls } from './risks.ts';
import { type Draft, idOf, markup, objectiveToken, prop, requirementToken, withoutGaps } from './vocabulary.ts';

/** Canonical JSON that holds under the schema oscal_assessment-results. @throws REPORT_TOO_LARGE */
export function renderAssessmentResults(model: ReportModel): Buffer {
  const { hash } = freezeModel(model);
  const document: Draft = {
    'assessment-results': {
      uuid: idOf(model, 'assessment-results'),
      metadata: metadataOf(model, 'Assessment results'),
      'import-ap': {
        href: `#${frameworkResourceId(model)}`,
        remarks: 'There is no OSCAL assessment plan: the report was planned by the framework template.',
      },
      'local-definitions': {
        'objectives-and-methods': model.requirements.map((requirement) => objectiveOf(model, requirement)),
      },
      results: [resultOf(model, hash)],
      'back-matter': backMatterOf(model, hash, model.controls),
    },
  };
  return Buffer.from(canonicalJson(withoutGaps(document)), 'utf8');
}

function resultOf(model: ReportModel, hash: string): Draft {
  const { framework, period, requirements } = model;
  return {
    uuid: idOf(model, 'result'),
    title: markup(`${framework.name}, ${period.startDate} to ${period.endDate}`),
    description: markup(framework.introduction),
    start: model.generated.at,
    end: model.source.readAt,
    props: [
      prop('opinion', model.opinion),
      prop('model-sha256', hash),
      ...Object.entries(model.statusCounts).map(([status, count]) => prop(`controls-${status}`, count)),
    ],
    'local-definitions': {
      components: [databaseComponent(model)],
      'assessment-assets': assessmentAssets(model),
    },
    'reviewed-controls': {
      'control-selections': [
        { 'include-controls': requirements.map(({ id }) => ({ 'control-id': requirementToken(model, id) })) },
      ],
      'control-objective-selections': [
        { 'include-objectives': requirements.map(({ id }) => ({ 'objective-id': objectiveToken(model, id) })) },
      ],
    },
    attestations: requirements.map((requirement) => attestationOf(model, requirement)),
    observations: model.controls.map((control) => observationOf(model, control)),
    risks: riskyControls(model).map((control) => riskOf(model, control)),
    findings: requirements.map((requirement) => findingOf(model, requirement)),
  };
}
