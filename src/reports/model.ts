/**
 * The model: everything a report says, as plain data. Its canonical JSON is hashed (H), encrypted, rendered and signed;
 * PDF and JSON are made from it alone, so they cannot disagree. Persons of the data appear as pseudonyms only.
 */
import { createHash } from 'node:crypto';
import { canonicalJson, type JsonValue } from '../canonical-json.ts';
import { AuditkeepError } from '../errors.ts';
import type { ReportPeriod } from '../time/report-period.ts';
import type { ControlStatus, Judgement, Opinion, RequirementStatus } from './status.ts';
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
  /** What a person signed about what no control answers; null where nobody did for the whole period. */
  readonly attestation: AttestationModel | null;
};

/** A signed attestation that covers the period. */
export type AttestationModel = {
  readonly id: string;
  /** SHA-256 of the signed text. */
  readonly sha256: string;
  readonly outcome: 'met' | 'not-met' | 'not-applicable';
  readonly statement: string;
  readonly by: string;
  readonly at: string;
  readonly periodStart: string;
  readonly periodEnd: string;
};

export type ControlModel = {
  readonly id: string;
  readonly version: number;
  readonly title: string;
  readonly group: string;
  readonly mode: 'as_of' | 'of_period' | 'cohort';
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
  readonly waivers: readonly WaiverModel[];
  /** Whether the evidence reaches back far enough and to the end; a count is null when it was not made. */
  readonly checks: readonly {
    readonly kind: 'prerequisite' | 'freshness';
    readonly meaning: string;
    readonly sqlSha256: string;
    readonly count: number | null;
  }[];
  readonly ipe: IpeModel;
};

/** A waiver that covered exceptions of the control. */
type WaiverModel = {
  readonly id: string;
  /** Of the signed texts: the waiver, and its approval by a second person. */
  readonly sha256: string;
  readonly approvalSha256: string;
  readonly reason: string;
  readonly expiresAt: string;
  readonly signers: readonly string[];
  /** Empty: all exceptions of the control. A person shows as a pseudonym. */
  readonly scope: readonly { readonly column: string; readonly value: string }[];
  readonly covered: number;
};

type ExceptionsModel = {
  readonly meaning: string;
  /** Null when the control could not be evaluated. */
  readonly count: number | null;
  /** How many of them waivers cover; null as above. */
  readonly waived: number | null;
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
      readonly missing: number;
      readonly stale: number;
      readonly exceptions: {
        readonly count: number;
        readonly sha256: string;
        readonly rows: ExceptionsModel['rows'];
        readonly waived: number;
      };
      readonly waivers: readonly WaiverModel[];
    }
  | { readonly kind: 'failed'; readonly reason: 'sql_failed' | 'time_limit'; readonly sqlState: string | null };

export interface ModelInput {
  readonly report: ReportModel['report'];
  readonly framework: FrameworkTemplate;
  readonly period: ReportPeriod;
  readonly generated: ReportModel['generated'];
  readonly source: SourceFacts;
  readonly controls: readonly { readonly template: ControlTemplate; readonly result: ControlResult }[];
  /** By the id of the requirement; none unless given. */
  readonly attestations?: ReadonlyMap<string, AttestationModel>;
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
