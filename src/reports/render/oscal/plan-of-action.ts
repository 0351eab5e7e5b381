/** What is to be done after a report, as an OSCAL 1.2.1 plan of action and milestones. Pure. */
import { canonicalJson } from '../../../canonical-json.ts';
import type { ControlModel } from '../../model/control-model.ts';
import { freezeModel, type ReportModel } from '../../model/model.ts';
import { assessmentAssets, databaseComponent, engineOrigin, metadataOf } from './actors.ts';
import { backMatterOf } from './back-matter.ts';
import { findingId, findingOf } from './findings.ts';
import { observationId, observationOf } from './observations.ts';
import { riskId, riskOf, riskyControls } from './risks.ts';
import { type Draft, idOf, markup, oneLine, prop, withoutGaps } from './vocabulary.ts';

/**
 * Canonical JSON that holds under the schema oscal_poam; null where nothing is to be done, since OSCAL has no plan without items.
 * @throws REPORT_TOO_LARGE
 */
export function renderPlanOfAction(model: ReportModel): Buffer | null {
  const controls = riskyControls(model);
  const requirements = model.requirements.filter(
    ({ status, attestation }) => status === 'manual_pending' || attestation?.outcome === 'not-met',
  );
  if (controls.length + requirements.length === 0) return null;
  const { hash } = freezeModel(model);
  // The findings may name any control, and so a risk or observation that no item is about.
  const named = new Set([...controls.map(({ id }) => id), ...requirements.flatMap((entry) => entry.controls)]);
  const observed = model.controls.filter(({ id }) => named.has(id));
  const document: Draft = {
    'plan-of-action-and-milestones': {
      uuid: idOf(model, 'plan-of-action-and-milestones'),
      metadata: metadataOf(model, 'Plan of action and milestones'),
      'system-id': { id: oneLine(model.source.database) },
      'local-definitions': {
        components: [databaseComponent(model)],
        'assessment-assets': assessmentAssets(model),
      },
      observations: observed.map((control) => observationOf(model, control)),
      risks: controls.map((control) => riskOf(model, control)),
      findings: requirements.map((requirement) => findingOf(model, requirement)),
      'poam-items': [
        ...controls.map((control) => controlItem(model, control)),
        ...requirements.map((requirement) => requirementItem(model, requirement)),
      ],
      'back-matter': backMatterOf(model, hash, observed),
    },
  };
  return Buffer.from(canonicalJson(withoutGaps(document)), 'utf8');
}

function controlItem(model: ReportModel, control: ControlModel): Draft {
  return {
    uuid: idOf(model, 'poam-item', 'control', control.id),
    title: markup(`${control.id}: ${control.title}`),
    description: markup(control.remediation),
    props: [prop('control-id', control.id), prop('status', control.status), prop('severity', control.severity)],
    origins: [engineOrigin(model)],
    'related-observations': [{ 'observation-uuid': observationId(model, control.id) }],
    'related-risks': [{ 'risk-uuid': riskId(model, control.id) }],
  };
}

function requirementItem(model: ReportModel, requirement: ReportModel['requirements'][number]): Draft {
  const { id, citation, title, status, attestation } = requirement;
  const attested = `Attested as not met: ${attestation?.statement ?? ''}`;
  return {
    uuid: idOf(model, 'poam-item', 'requirement', id),
    title: markup(`${citation} ${title}`),
    description: markup(
      status === 'manual_pending' ? 'Nobody has attested how this requirement stood in the period.' : attested,
    ),
    props: [prop('requirement-id', id), prop('status', status)],
    origins: [engineOrigin(model)],
    'related-findings': [{ 'finding-uuid': findingId(model, id) }],
  };
}
