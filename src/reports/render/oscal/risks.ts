/** Controls that ask for action, as OSCAL risks: failed, not judged, or waived. Pure. */
import type { ControlModel } from '../../model/control-model.ts';
import type { ReportModel } from '../../model/model.ts';
import type { ControlStatus } from '../../model/status.ts';
import { engineOrigin } from './actors.ts';
import { figuresText, observationId } from './observations.ts';
import { type Draft, idOf, markup, NAMESPACE, prop } from './vocabulary.ts';

/** OSCAL's risk status by ours; the other statuses are no risk. */
const RISK_STATUS: Readonly<Partial<Record<ControlStatus, string>>> = {
  fail: 'open',
  error: 'investigating',
  insufficient_data: 'investigating',
  stale: 'investigating',
  pass_with_waiver: 'deviation-approved',
};

/** The controls that somebody has to do something about, or decided not to. */
export function riskyControls(model: ReportModel): readonly ControlModel[] {
  return model.controls.filter(({ status }) => RISK_STATUS[status] !== undefined);
}

export function riskId(model: ReportModel, control: string): string {
  return idOf(model, 'risk', control);
}

/** One risk a control. */
export function riskOf(model: ReportModel, control: ControlModel): Draft {
  const origin = engineOrigin(model);
  return {
    uuid: riskId(model, control.id),
    title: markup(`${control.id}: ${control.title}`),
    description: markup(figuresText(control)),
    statement: markup(`Not shown to hold: ${control.assertion}`),
    props: [prop('control-id', control.id), prop('status', control.status), prop('reason', control.reason)],
    status: RISK_STATUS[control.status] ?? 'open',
    origins: [origin],
    characterizations: [{ origin, facets: [{ name: 'severity', system: NAMESPACE, value: control.severity }] }],
    'mitigating-factors': control.waivers.map((waiver) => ({
      uuid: idOf(model, 'waiver', control.id, waiver.id),
      description: markup(`Waived by ${waiver.signers.join(' and ')} until ${waiver.expiresAt}: ${waiver.reason}`),
      props: [
        prop('waiver-id', waiver.id),
        prop('waiver-sha256', waiver.sha256),
        prop('waiver-approval-sha256', waiver.approvalSha256),
        prop('waiver-expires-at', waiver.expiresAt),
        prop('waiver-covered', waiver.covered),
        ...waiver.signers.map((signer) => prop('waiver-signer', signer)),
        ...waiver.scope.map(({ column, value }) => prop('waiver-scope', `${column}=${value}`)),
      ],
    })),
    deadline: deadlineOf(control),
    remediations: [
      {
        uuid: idOf(model, 'remediation', control.id),
        lifecycle: 'recommendation',
        title: markup(`Remediation of ${control.id}`),
        description: markup(control.remediation),
      },
    ],
    'related-observations': [{ 'observation-uuid': observationId(model, control.id) }],
  };
}

/** An accepted risk is accepted until the first of its waivers ends. */
function deadlineOf({ status, waivers }: ControlModel): string | null {
  if (status !== 'pass_with_waiver') return null;
  return waivers.map(({ expiresAt }) => expiresAt).sort()[0] ?? null;
}
