/** What the model says about one control: what must hold, what was found, and how the figures were made. */

import type { ColumnKind } from '../template/template.ts';
import type { ControlStatus, Judgement } from './status.ts';

/** Exceptions that the model carries a control; all of them are in its evidence file. */
export const SHOWN_EXCEPTIONS = 100;

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
    readonly sql: string;
    readonly sqlSha256: string;
    readonly count: number | null;
  }[];
  readonly ipe: IpeModel;
};

/** A waiver that covered exceptions of the control. */
export type WaiverModel = {
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

/** Where all exceptions of a control are. */
export function exceptionsPath(control: string): string {
  return `evidence/${control}/exceptions.csv`;
}

/** Where the sample of a control's population is. */
export function samplePath(control: string): string {
  return `evidence/${control}/sample.csv`;
}

/** Where the template of a control is in a bundle. */
export function controlTemplatePath(control: string): string {
  return `templates/control-${control}.yaml`;
}

/** Where the template of the framework is in a bundle. */
export function frameworkTemplatePath(framework: string): string {
  return `templates/framework-${framework}.yaml`;
}

type ExceptionsModel = {
  readonly meaning: string;
  /** Null when the control could not be evaluated. */
  readonly count: number | null;
  /** How many of them waivers cover; null as above. */
  readonly waived: number | null;
  readonly columns: readonly { readonly name: string; readonly label: string; readonly kind: ColumnKind }[];
  /** The first rows of the evidence file. */
  readonly rows: readonly (readonly (string | null)[])[];
  /** All of them; null where there are none, or the control could not be evaluated. */
  readonly evidence: EvidenceModel | null;
  /** Sums of the columns of whole numbers, over all exceptions. */
  readonly totals: readonly { readonly name: string; readonly sum: string }[];
  /** How old they are; null where there are none, or no column is a time. */
  readonly ageing: AgeingModel | null;
};

/** Days up to which the classes of age reach; the last class has no end. */
export const AGE_BOUNDS = [30, 90, 365] as const;

/** All exceptions by their age when they were read, by their first column that is a time. */
type AgeingModel = {
  readonly column: string;
  readonly boundsDays: readonly number[];
  /** One more than there are bounds: up to and with each, then older. What lies ahead is in the first. */
  readonly counts: readonly number[];
  /** Without a time. */
  readonly unknown: number;
};

/** Keys drawn from a population in the order of HMAC-SHA-256(seed, key), and whether they were found again. */
export type SampleModel = {
  /** Hex; the key of the HMAC. */
  readonly seed: string;
  /** How many were asked for; there are fewer where the population has fewer. */
  readonly size: number;
  readonly keyKind: 'pseudonym' | 'text';
  /** In the order of their texts. */
  readonly keys: readonly string[];
  /** The same as a file; null where the population is empty. */
  readonly evidence: EvidenceModel | null;
  /** Keys that were not there when they were looked for later; null when that failed. */
  readonly reread: { readonly at: string; readonly missing: readonly string[] } | null;
};

/** A CSV file beside the model, which H covers by its hash. */
export type EvidenceModel = {
  readonly path: string;
  readonly rows: number;
  /** Their names, as in the first line. */
  readonly columns: readonly string[];
  readonly bytes: number;
  readonly sha256: string;
};

/** What reading the exceptions gave. */
export type ExceptionsFound = Pick<ExceptionsModel, 'rows' | 'evidence' | 'totals' | 'ageing'> & {
  readonly count: number;
  readonly waived: number;
  /** SHA-256 of all rows as CSV, whether they became a file or not. */
  readonly sha256: string;
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
  /** The statements as the template has them, which the hashes are of. */
  readonly populationSql: string;
  readonly exceptionsSql: string;
  readonly completenessSql: string;
  readonly populationSqlSha256: string;
  readonly exceptionsSqlSha256: string;
  readonly completenessSqlSha256: string;
  readonly completenessMeaning: string;
  /** The counts are null when the control could not be evaluated. */
  readonly rowCount: number | null;
  readonly distinctKeys: number | null;
  readonly independentCount: number | null;
  readonly difference: number | null;
  /** Of the exceptions as CSV: of the evidence file, or of its first line alone where there are none. */
  readonly resultSha256: string | null;
  /** Null when the control could not be evaluated. */
  readonly sample: SampleModel | null;
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
      readonly exceptions: ExceptionsFound;
      readonly waivers: readonly WaiverModel[];
      readonly sample: SampleModel;
    }
  | { readonly kind: 'failed'; readonly reason: 'sql_failed' | 'time_limit'; readonly sqlState: string | null };
