/** Which exceptions a waiver covers. Pure; whether a waiver is signed and still counts is for persons/statement.ts. */
import type { WaiverModel } from '../model/control-model.ts';
import type { ColumnKind } from '../template/template.ts';

/** A waiver that counts now. */
export interface ActiveWaiver {
  readonly id: string;
  /** SHA-256 of the signed text. */
  readonly sha256: string;
  /** SHA-256 of the text that the second person signed. */
  readonly approvalSha256: string;
  readonly control: string;
  readonly reason: string;
  /** ISO 8601, UTC. */
  readonly expiresAt: string;
  /** E-mail addresses of those who signed. */
  readonly signers: readonly string[];
  /** Columns of the exceptions and what they have to be; none: every exception of the control. */
  readonly scope: readonly { readonly column: string; readonly value: string }[];
}

/** The first waiver that covers an exception, or null. The row is as it was read, before pseudonyms. */
export function coveringWaiver(
  waivers: readonly ActiveWaiver[],
  row: Readonly<Record<string, string | null>>,
): ActiveWaiver | null {
  const covers = ({ scope }: ActiveWaiver) => scope.every(({ column, value }) => row[column] === value);
  return waivers.find(covers) ?? null;
}

/** The waivers that covered something, with persons as pseudonyms. @param use.covered how many each, by the waiver's id */
export function waiversUsed(
  waivers: readonly ActiveWaiver[],
  use: {
    readonly covered: ReadonlyMap<string, number>;
    readonly columns: readonly { readonly name: string; readonly kind: ColumnKind }[];
    readonly pseudonymize: (value: string) => string;
  },
): WaiverModel[] {
  const kindOf = new Map(use.columns.map(({ name, kind }) => [name, kind]));
  return waivers.flatMap(({ control: _control, scope, ...waiver }) => {
    const count = use.covered.get(waiver.id);
    if (count === undefined) return [];
    const shown = scope.map(({ column, value }) => ({
      column,
      value: kindOf.get(column) === 'pseudonym' ? use.pseudonymize(value) : value,
    }));
    return [{ ...waiver, scope: shown, covered: count }];
  });
}
