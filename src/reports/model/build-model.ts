/** Puts a report's model together from templates and what evaluation found out. Pure. */
import { isoOf } from '../../time/clock.ts';
import type { ControlTemplate } from '../template/template.ts';
import type { ControlModel, ControlResult } from './control-model.ts';
import { MODEL_FORMAT, type ModelInput, type ReportModel, sha256Hex } from './model.ts';
import { type ControlStatus, judgeReport, judgeRequirement } from './status.ts';

/** Puts a report's data together. Pure. */
export function buildModel(input: ModelInput): ReportModel {
  const controls = input.controls.map(({ template, result }) => controlModel(template, result));
  const statuses = controls.map((control) => control.status);
  const statusOf = new Map(controls.map((control) => [control.id, control.status]));
  const { framework, period } = input;
  const requirements = framework.requirements.map((requirement) => {
    const ofControls = requirement.controls.map((id) => statusOf.get(id) ?? 'error');
    // What controls answer wholly is nobody's to attest.
    const attested = requirement.coverage === 'automated' ? undefined : input.attestations?.get(requirement.id);
    const status = judgeRequirement(attested === undefined ? ofControls : [...ofControls, ATTESTED[attested.outcome]]);
    return { ...requirement, status, attestation: attested ?? null };
  });
  return {
    format: MODEL_FORMAT,
    report: input.report,
    framework: {
      id: framework.id,
      version: framework.version,
      name: framework.name,
      title: framework.title,
      citation: framework.citation,
      introduction: framework.introduction,
      templateSha256: framework.sha256,
      approvers: framework.workflow?.approvers ?? 1,
    },
    period: { ...period, startAt: isoOf(period.startAt), endAt: isoOf(period.endAt) },
    generated: input.generated,
    source: input.source,
    opinion: judgeReport(
      statuses,
      requirements.map(({ status }) => status),
    ),
    statusCounts: countStatuses(statuses),
    requirements,
    controls,
    identities: input.identities,
    trend: input.trend ?? [],
  };
}

const ATTESTED = { met: 'pass', 'not-met': 'fail', 'not-applicable': 'not_applicable' } as const;

function controlModel(template: ControlTemplate, result: ControlResult): ControlModel {
  const evaluated = result.kind === 'evaluated' ? result : null;
  return {
    id: template.id,
    version: template.version,
    title: template.title,
    group: template.group,
    mode: template.mode,
    severity: template.severity,
    assertion: template.assertion,
    frequency: template.frequency,
    remediation: template.remediation,
    limitations: template.limitations,
    status: evaluated?.judgement.status ?? 'error',
    reason: result.kind === 'evaluated' ? result.judgement.reason : result.reason,
    sqlState: result.kind === 'failed' ? result.sqlState : null,
    population: {
      meaning: template.population.meaning,
      whenEmptyMeans: template.population.whenEmptyMeans,
      count: evaluated?.population ?? null,
    },
    exceptions: {
      meaning: template.exceptions.meaning,
      count: evaluated?.exceptions.count ?? null,
      waived: evaluated?.exceptions.waived ?? null,
      columns: template.exceptions.columns,
      rows: evaluated?.exceptions.rows ?? [],
      evidence: evaluated?.exceptions.evidence ?? null,
      totals: evaluated?.exceptions.totals ?? [],
      ageing: evaluated?.exceptions.ageing ?? null,
    },
    waivers: evaluated?.waivers ?? [],
    checks: checksOf(template, evaluated),
    ipe: {
      templateSha256: template.sha256,
      parameters: Object.entries(template.parameters).map(([name, parameter]) => ({
        name,
        value: parameter.default,
        unit: parameter.unit,
        meaning: parameter.meaning,
      })),
      populationSql: template.population.sql,
      exceptionsSql: template.exceptions.sql,
      completenessSql: template.completeness.sql,
      populationSqlSha256: sha256Hex(template.population.sql),
      exceptionsSqlSha256: sha256Hex(template.exceptions.sql),
      completenessSqlSha256: sha256Hex(template.completeness.sql),
      completenessMeaning: template.completeness.meaning,
      rowCount: evaluated?.population ?? null,
      distinctKeys: evaluated?.distinctKeys ?? null,
      independentCount: evaluated?.independent ?? null,
      difference: evaluated === null ? null : evaluated.population - evaluated.independent,
      resultSha256: evaluated?.exceptions.sha256 ?? null,
      sample: evaluated?.sample ?? null,
    },
  };
}

function checksOf(
  template: ControlTemplate,
  evaluated: { readonly missing: number; readonly stale: number } | null,
): ControlModel['checks'] {
  return (['prerequisite', 'freshness'] as const).flatMap((kind) => {
    const check = template[kind];
    if (check === undefined) return [];
    const count = (kind === 'prerequisite' ? evaluated?.missing : evaluated?.stale) ?? null;
    return [{ kind, meaning: check.meaning, sql: check.sql, sqlSha256: sha256Hex(check.sql), count }];
  });
}

/** How many of each status. */
export function countStatuses(statuses: readonly ControlStatus[]): ReportModel['statusCounts'] {
  const count = (wanted: ControlStatus) => statuses.filter((status) => status === wanted).length;
  return {
    pass: count('pass'),
    pass_with_waiver: count('pass_with_waiver'),
    fail: count('fail'),
    error: count('error'),
    insufficient_data: count('insufficient_data'),
    stale: count('stale'),
    no_occurrences: count('no_occurrences'),
    not_applicable: count('not_applicable'),
  };
}
