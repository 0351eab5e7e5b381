/**
 * The model: everything a report says, as plain data. Its canonical JSON is hashed (H), encrypted, rendered and signed;
 * PDF and JSON are made from it alone, so they cannot disagree. Persons of the data appear as pseudonyms only.
 */
import { createHash } from 'node:crypto';
import { canonicalJson } from '../../canonical-json.ts';
import { AuditkeepError } from '../../errors.ts';
import type { ReportPeriod } from '../../time/report-period.ts';
import type { ControlTemplate, FrameworkTemplate } from '../template/template.ts';
import type { ControlModel, ControlResult } from './control-model.ts';
import type { IdentitiesModel } from './identity.ts';
import type { ControlStatus, Opinion, RequirementStatus } from './status.ts';

export const MODEL_FORMAT = 'auditkeep-report/v1';
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
    /** How many different persons have to approve. */
    readonly approvers: number;
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
  /** Who the pseudonyms are lies beside the model; this proves what is said of them. */
  readonly identities: IdentitiesModel;
  /** Earlier reports of the framework over periods of this length, the oldest first; at most five. */
  readonly trend: readonly TrendEntry[];
};

/** What an earlier report counted, and how far its approval had come when this one was made. */
export type TrendEntry = {
  readonly reportId: string;
  readonly reportHash: string;
  readonly status: string;
  readonly startDate: string;
  readonly endDate: string;
  readonly statusCounts: ReportModel['statusCounts'];
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

export interface ModelInput {
  readonly report: ReportModel['report'];
  readonly framework: FrameworkTemplate;
  readonly period: ReportPeriod;
  readonly generated: ReportModel['generated'];
  readonly source: SourceFacts;
  readonly controls: readonly { readonly template: ControlTemplate; readonly result: ControlResult }[];
  readonly identities: IdentitiesModel;
  /** By the id of the requirement; none unless given. */
  readonly attestations?: ReadonlyMap<string, AttestationModel>;
  /** None unless given. */
  readonly trend?: readonly TrendEntry[];
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
