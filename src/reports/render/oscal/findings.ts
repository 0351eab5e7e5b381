/** How each requirement stands, as OSCAL findings and attestations. Pure. */
import type { ReportModel } from '../../model/model.ts';
import { engineOrigin, partyId } from './actors.ts';
import { observationId } from './observations.ts';
import { riskId, riskyControls } from './risks.ts';
import { type Draft, idOf, markup, NAMESPACE, objectiveToken, prop, requirementToken } from './vocabulary.ts';

type RequirementModel = ReportModel['requirements'][number];

export function findingId(model: ReportModel, requirement: string): string {
  return idOf(model, 'finding', requirement);
}

/** One finding a requirement. Only a pass is `satisfied`: what was waived, or did not occur, is told by the exact status. */
export function findingOf(model: ReportModel, requirement: RequirementModel): Draft {
  const { id, citation, title, text, status, controls, attestation } = requirement;
  const risky = new Set(riskyControls(model).map((control) => control.id));
  const evaluated = controls.filter((control) => model.controls.some((other) => other.id === control));
  return {
    uuid: findingId(model, id),
    title: markup(`${citation} ${title}`),
    description: markup(text),
    props: [prop('requirement-id', id), prop('status', status), prop('coverage', requirement.coverage)],
    origins: [engineOrigin(model)],
    target: {
      type: 'objective-id',
      'target-id': objectiveToken(model, id),
      title: markup(title),
      props: [prop('status', status), ...attestationProps(attestation)],
      status: { state: status === 'pass' ? 'satisfied' : 'not-satisfied', reason: REASONS[status] ?? 'other' },
    },
    'related-observations': evaluated.map((control) => ({ 'observation-uuid': observationId(model, control) })),
    'related-risks': evaluated
      .filter((control) => risky.has(control))
      .map((control) => ({ 'risk-uuid': riskId(model, control) })),
    remarks: markup(requirement.note),
  };
}

const REASONS: Readonly<Partial<Record<RequirementModel['status'], 'pass' | 'fail'>>> = { pass: 'pass', fail: 'fail' };

function attestationProps(attestation: RequirementModel['attestation']): Draft[] {
  if (attestation === null) return [];
  return [
    prop('attestation-id', attestation.id),
    prop('attestation-sha256', attestation.sha256),
    prop('attestation-outcome', attestation.outcome),
  ];
}

/** What persons signed about requirements. */
export function attestationOf(model: ReportModel, requirement: RequirementModel): Draft {
  const { attestation, id } = requirement;
  if (attestation === null) return null;
  return {
    'responsible-parties': [{ 'role-id': 'attester', 'party-uuids': [partyId(model, attestation.by)] }],
    parts: [
      {
        uuid: idOf(model, 'attestation', id),
        name: 'attestation',
        ns: NAMESPACE,
        title: markup(`${requirement.citation} ${requirement.title}`),
        props: [
          prop('requirement-id', id),
          ...attestationProps(attestation),
          prop('attestation-at', attestation.at),
          prop('attestation-period-start', attestation.periodStart),
          prop('attestation-period-end', attestation.periodEnd),
        ],
        prose: markup(attestation.statement),
      },
    ],
  };
}

/** The requirement as an objective of its own, since there is no catalog to refer to. */
export function objectiveOf(model: ReportModel, { id, citation, title, text, note }: RequirementModel): Draft {
  return {
    'control-id': requirementToken(model, id),
    description: markup(note),
    props: [prop('requirement-id', id)],
    parts: [
      {
        id: objectiveToken(model, id),
        name: 'assessment-objective',
        title: markup(`${citation} ${title}`),
        prose: markup(text),
      },
    ],
  };
}
