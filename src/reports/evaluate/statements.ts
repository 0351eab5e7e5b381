/** What persons signed besides decisions, as reports take it: waivers that count now, attestations of the whole period. */
import type { Context } from '../../context.ts';
import { AuditkeepError } from '../../errors.ts';
import { listStatements, listWaivers } from '../../persons/state-statement.ts';
import { type CheckedStatement, type SignedWaiver, waiverState } from '../../persons/statement.ts';
import { isoOf } from '../../time/clock.ts';
import type { AttestationModel } from '../model/model.ts';
import { loadTemplates, selectFramework } from '../template/template.ts';
import type { ActiveWaiver } from './waiver.ts';

/** The waivers that two persons signed and that count at the context's time. One that does not verify counts for nothing. */
export async function readActiveWaivers(ctx: Pick<Context, 'db' | 'clock'>): Promise<ActiveWaiver[]> {
  return activeWaivers(await listWaivers(ctx), isoOf(ctx.clock.now()));
}

/** Those of signed waivers that count at an instant (ISO 8601, UTC, milliseconds). Pure. */
export function activeWaivers(signed: readonly SignedWaiver[], at: string): ActiveWaiver[] {
  return signed.flatMap(({ waiver, sha256, approvedBy, approvalSha256 }) => {
    if (approvedBy === null || approvalSha256 === null || waiverState(waiver, at) !== 'active') return [];
    const { id, control, reason, expires_at: expiresAt, person } = waiver;
    const scope = waiver.format === 'auditkeep-waiver/v2' ? waiver.scope : [];
    return [{ id, sha256, approvalSha256, control, reason, expiresAt, signers: [person, approvedBy], scope }];
  });
}

interface AttestedPeriod {
  readonly framework: string;
  /** First and last day, `2026-03-31`. */
  readonly startDate: string;
  readonly endDate: string;
}

/** The newest attestation of each requirement that covers every day of a period and was signed after the last one. */
export async function readAttestations(
  ctx: Pick<Context, 'db'>,
  period: AttestedPeriod,
): Promise<ReadonlyMap<string, AttestationModel>> {
  return coveringAttestations(await listStatements(ctx, 'attestation'), period);
}

/** The same of checked statements, oldest first: the newest counts, whatever it says. Pure. */
export function coveringAttestations(
  attestations: readonly CheckedStatement[],
  { framework, startDate, endDate }: AttestedPeriod,
): ReadonlyMap<string, AttestationModel> {
  const found = new Map<string, AttestationModel>();
  for (const { statement, problem, sha256 } of attestations) {
    if (problem !== null || statement.format !== 'auditkeep-attestation/v1') continue;
    if (statement.framework !== framework || statement.period_start > startDate || statement.period_end < endDate)
      continue;
    // Whoever signed on a day of the period (of UTC) did not know yet how it would end.
    if (statement.time.slice(0, 10) <= endDate) continue;
    const { id, outcome, person, time, period_start, period_end } = statement;
    const words = statement.statement;
    const period = { periodStart: period_start, periodEnd: period_end };
    found.set(statement.requirement, { id, sha256, outcome, statement: words, by: person, at: time, ...period });
  }
  return found;
}

/**
 * An attestation of what there is not, or of what controls answer wholly, would count for nothing and nobody would notice.
 * @throws INPUT_INVALID
 */
export async function checkAttestedRequirement(frameworkId: string, requirementId: string): Promise<void> {
  const { framework } = selectFramework(await loadTemplates(), frameworkId);
  const open = framework.requirements.filter(({ coverage }) => coverage !== 'automated');
  if (open.some(({ id }) => id === requirementId)) return;
  const isThere = framework.requirements.some(({ id }) => id === requirementId);
  throw new AuditkeepError('INPUT_INVALID', {
    message: isThere
      ? `the controls of ${frameworkId} ${requirementId} answer it wholly`
      : `${frameworkId} has no requirement '${requirementId}'`,
    hint: 'see what persons attest with `auditkeep template list --coverage`: partial and manual requirements',
  });
}

/**
 * A waiver that names a control or column that there is not would cover nothing and nobody would notice.
 * @throws INPUT_INVALID
 */
export async function checkWaiverScope(
  controlId: string,
  scope: readonly { readonly column: string }[],
): Promise<void> {
  const control = (await loadTemplates()).controls.get(controlId);
  if (control === undefined) {
    throw new AuditkeepError('INPUT_INVALID', {
      message: `there is no control '${controlId}'`,
      hint: 'see them with `auditkeep template list`',
    });
  }
  const columns = control.exceptions.columns.map(({ name }) => name);
  const unknown = scope.find(({ column }) => !columns.includes(column));
  if (unknown === undefined) return;
  throw new AuditkeepError('INPUT_INVALID', {
    message: `the exceptions of ${controlId} have no column '${unknown.column}'`,
    hint: `they have ${columns.join(', ')}`,
  });
}
