/** What the model says about one control: what must hold, what was found, and how the figures were made. */
import type { ControlStatus, Judgement } from './status.ts';
import type { ColumnKind } from './template.ts';

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
export type ExceptionsFound = Pick<ExceptionsModel, 'rows' | 'evidence'> & {
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
    }
  | { readonly kind: 'failed'; readonly reason: 'sql_failed' | 'time_limit'; readonly sqlState: string | null };
