/**
 * The model: everything a report says, as plain data. Its canonical JSON is hashed (H), encrypted, rendered and signed;
 * PDF and JSON are made from it alone, so they cannot disagree. Persons of the data appear as pseudonyms only.
 */
import { createHash } from 'node:crypto';
import { canonicalJson, type JsonValue } from '../canonical-json.ts';
import { AuditkeepError } from '../errors.ts';
import { isoOf } from '../time/clock.ts';
import type { ReportPeriod } from '../time/report-period.ts';
import {
  CONTROL_STATUSES,
  type ControlStatus,
  type Judgement,
  judgeReport,
  judgeRequirement,
  type Opinion,
  type RequirementStatus,
} from './status.ts';
import type { ColumnKind, ControlTemplate, FrameworkTemplate } from './template.ts';

export const MODEL_FORMAT = 'auditkeep-report/v1';
/** Exceptions that the model carries a control; the rest is there by count and hash. */
export const SHOWN_EXCEPTIONS = 100;
const MAX_MODEL_BYTES = 16 * 1024 * 1024;

/** A type alias, not an interface: interfaces have no implicit index signature and so are no JsonValue. */
export type ReportModel = {
  readonly format: typeof MODEL_FORMAT;
  readonly report: { readonly id: string; readonly version: number };
  readonly framework: {
    readonly id: string;
    readonly version: number;
    readonly name: string;
    readonly title: string;
    readonly citation: string;
    readonly introduction: string;
    readonly templateSha256: string;
  };
  readonly period: {
    readonly startDate: string;
    readonly endDate: string;
    readonly startAt: string;
    readonly endAt: string;
    readonly zone: string;
    readonly interim: boolean;
  };
  readonly generated: {
    readonly at: string;
    /** E-mail, since the decisions name it in clear too; SERVICE_PERSON (persons/roles.ts) where no person acted. */
    readonly by: string;
    readonly engineVersion: string;
    readonly nodeVersion: string;
  };
  readonly source: SourceFacts;
  readonly opinion: Opinion;
  readonly statusCounts: { readonly [status in ControlStatus]: number };
  readonly requirements: readonly RequirementModel[];
  readonly controls: readonly ControlModel[];
};

/** Where and when the figures were read. */
export type SourceFacts = {
  readonly database: string;
  readonly serverVersion: string;
  readonly schemaVersion: string;
  readonly role: string;
  /** pg_snapshot text: the rows that every control saw. */
  readonly snapshot: string;
  readonly readAt: string;
  /** Events linked into the chain, its head's hash, and events visible but not linked yet. */
  readonly chainSize: number;
  readonly chainHead: string | null;
  readonly unsealedEvents: number;
};

type RequirementModel = {
  readonly id: string;
  readonly citation: string;
  readonly title: string;
  readonly text: string;
  readonly coverage: 'automated' | 'partial' | 'manual';
  readonly note: string;
  readonly controls: readonly string[];
  readonly status: RequirementStatus;
};

export type ControlModel = {
  readonly id: string;
  readonly version: number;
  readonly title: string;
  readonly group: string;
  readonly mode: 'as_of' | 'of_period';
  readonly severity: 'low' | 'medium' | 'high' | 'critical';
  readonly assertion: string;
  readonly frequency: string;
  readonly remediation: string;
  readonly limitations: readonly string[];
  readonly status: ControlStatus;
  readonly reason: Judgement['reason'] | 'sql_failed' | 'time_limit';
  /** SQLSTATE of a failed control, else null; never the message, which may quote data. */
  readonly sqlState: string | null;
  readonly population: { readonly meaning: string; readonly whenEmptyMeans: string; readonly count: number | null };
  readonly exceptions: ExceptionsModel;
  readonly ipe: IpeModel;
};

type ExceptionsModel = {
  readonly meaning: string;
  /** Null when the control could not be evaluated. */
  readonly count: number | null;
  /** SHA-256 of the canonical JSON array of all rows' SHA-256 (of their canonical JSON), sorted. */
  readonly sha256: string;
  readonly columns: readonly { readonly name: string; readonly label: string; readonly kind: ColumnKind }[];
  /** The first by their canonical JSON, that is by what is printed and not by what stands behind a pseudonym. */
  readonly rows: readonly (readonly (string | null)[])[];
};

/** Information produced by the entity: how a figure came about, so that an auditor can make it again. */
type IpeModel = {
  readonly templateSha256: string;
  readonly parameters: readonly {
    readonly name: string;
    readonly value: number;
    readonly unit: string;
    readonly meaning: string;
  }[];
  readonly populationSqlSha256: string;
  readonly exceptionsSqlSha256: string;
  readonly completenessSqlSha256: string;
  readonly completenessMeaning: string;
  /** The counts are null when the control could not be evaluated. */
  readonly rowCount: number | null;
  readonly distinctKeys: number | null;
  readonly independentCount: number | null;
  readonly difference: number | null;
};

/** What evaluation found out about one control. */
export type ControlResult =
  | {
      readonly kind: 'evaluated';
      readonly judgement: Judgement;
      readonly population: number;
      readonly distinctKeys: number;
      readonly independent: number;
      readonly exceptions: { readonly count: number; readonly sha256: string; readonly rows: ExceptionsModel['rows'] };
    }
  | { readonly kind: 'failed'; readonly reason: 'sql_failed' | 'time_limit'; readonly sqlState: string | null };

export interface ModelInput {
  readonly report: ReportModel['report'];
  readonly framework: FrameworkTemplate;
  readonly period: ReportPeriod;
  readonly generated: ReportModel['generated'];
  readonly source: SourceFacts;
  readonly controls: readonly { readonly template: ControlTemplate; readonly result: ControlResult }[];
}

/** Puts a report's data together. Pure. */
export function buildModel(input: ModelInput): ReportModel {
  const controls = input.controls.map(({ template, result }) => controlModel(template, result));
  const statuses = controls.map((control) => control.status);
  const statusOf = new Map(controls.map((control) => [control.id, control.status]));
  const { framework, period } = input;
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
    },
    period: { ...period, startAt: isoOf(period.startAt), endAt: isoOf(period.endAt) },
    generated: input.generated,
    source: input.source,
    opinion: judgeReport(statuses),
    statusCounts: countStatuses(statuses),
    requirements: framework.requirements.map((requirement) => ({
      ...requirement,
      status: judgeRequirement(requirement.controls.map((id) => statusOf.get(id) ?? 'error')),
    })),
    controls,
  };
}

/** The model's canonical bytes and their SHA-256, H. @throws REPORT_TOO_LARGE over 16 MB, JSON_NOT_CANONICAL */
export function freezeModel(model: ReportModel): { readonly bytes: Buffer; readonly hash: string } {
  const bytes = Buffer.from(canonicalJson(model), 'utf8');
  if (bytes.length > MAX_MODEL_BYTES) {
    throw new AuditkeepError('REPORT_TOO_LARGE', {
      message: `the report's model has ${bytes.length} bytes`,
      hint: 'choose a shorter period',
      details: { bytes: bytes.length, limit: MAX_MODEL_BYTES },
    });
  }
  return { bytes, hash: sha256Hex(bytes) };
}

/** Lower-case hex SHA-256. */
export function sha256Hex(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** SHA-256 of the canonical JSON array of no rows. */
export const NO_ROWS_SHA256 = sha256Hex(canonicalJson([] satisfies JsonValue));

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
      sha256: evaluated?.exceptions.sha256 ?? NO_ROWS_SHA256,
      columns: template.exceptions.columns,
      rows: evaluated?.exceptions.rows ?? [],
    },
    ipe: {
      templateSha256: template.sha256,
      parameters: Object.entries(template.parameters).map(([name, parameter]) => ({
        name,
        value: parameter.default,
        unit: parameter.unit,
        meaning: parameter.meaning,
      })),
      populationSqlSha256: sha256Hex(template.population.sql),
      exceptionsSqlSha256: sha256Hex(template.exceptions.sql),
      completenessSqlSha256: sha256Hex(template.completeness.sql),
      completenessMeaning: template.completeness.meaning,
      rowCount: evaluated?.population ?? null,
      distinctKeys: evaluated?.distinctKeys ?? null,
      independentCount: evaluated?.independent ?? null,
      difference: evaluated === null ? null : evaluated.population - evaluated.independent,
    },
  };
}

function countStatuses(statuses: readonly ControlStatus[]): ReportModel['statusCounts'] {
  const counts = { pass: 0, fail: 0, error: 0, insufficient_data: 0, no_occurrences: 0, not_applicable: 0 };
  for (const status of CONTROL_STATUSES) counts[status] = statuses.filter((other) => other === status).length;
  return counts;
}
