/**
 * The attack of an adversary who holds the public chain and the table as it is left, run for real and independently of
 * the measure in src/: for each public transaction, which rows could be it? Uses every column that is left, and the
 * pseudonyms' structure: rows that share a pseudonym must come from transactions that share an address.
 */
import type { PublicTransaction } from './ethereum.ts';

/** What is left of a row, as the adversary reads it. */
export interface LeftRow {
  readonly id: string;
  readonly pseudonymFrom: string | null;
  readonly pseudonymTo: string | null;
  readonly bucket: number | null;
  /** Day of confirmation, `2023-05-02`. */
  readonly day: string;
  readonly level: number;
}

/** Rows that exactly one public transaction could be, with that transaction's hash. */
export function chainJoin(chain: readonly PublicTransaction[], rows: readonly LeftRow[]): Map<string, string> {
  let candidates = new Map(rows.map((row) => [row.id, chain.filter((transaction) => fits(transaction, row))]));
  for (;;) {
    const senders = addressesOf(
      rows,
      candidates,
      (row) => row.pseudonymFrom,
      (transaction) => transaction.from,
    );
    const receivers = addressesOf(
      rows,
      candidates,
      (row) => row.pseudonymTo,
      (transaction) => transaction.to,
    );
    const next = new Map(
      rows.map((row) => [
        row.id,
        (candidates.get(row.id) ?? []).filter(
          (transaction) =>
            (row.pseudonymFrom === null || senders.get(row.pseudonymFrom)?.has(transaction.from)) &&
            (row.pseudonymTo === null || receivers.get(row.pseudonymTo)?.has(transaction.to ?? '')),
        ),
      ]),
    );
    if (size(next) === size(candidates)) break;
    candidates = next;
  }
  const linked = new Map<string, string>();
  for (const [id, possible] of candidates) {
    if (possible.length === 1 && possible[0] !== undefined) linked.set(id, possible[0].hash);
  }
  return linked;
}

function fits(transaction: PublicTransaction, row: LeftRow): boolean {
  const digits = transaction.value === '0' ? -1 : transaction.value.length - 1;
  const length = row.level === 5 ? 4 : row.level === 4 ? 7 : 10;
  return (
    transaction.time.slice(0, length) === row.day.slice(0, length) &&
    (row.bucket === null || row.bucket === digits) &&
    (row.level >= 2 || (row.pseudonymTo === null) === (transaction.to === null))
  );
}

/** The addresses that a pseudonym could stand for: those with at least one candidate in each of its rows, enough in all. */
function addressesOf(
  rows: readonly LeftRow[],
  candidates: ReadonlyMap<string, readonly PublicTransaction[]>,
  pseudonymOf: (row: LeftRow) => string | null,
  addressOf: (transaction: PublicTransaction) => string | null,
): Map<string, Set<string>> {
  const byPseudonym = Map.groupBy(
    rows.filter((row) => pseudonymOf(row) !== null),
    (row) => pseudonymOf(row) ?? '',
  );
  const result = new Map<string, Set<string>>();
  for (const [pseudonym, own] of byPseudonym) {
    const perRow = own.map((row) => Map.groupBy(candidates.get(row.id) ?? [], (t) => addressOf(t) ?? ''));
    const possible = [...(perRow[0]?.keys() ?? [])].filter((address) => {
      const distinct = new Set(perRow.flatMap((groups) => (groups.get(address) ?? []).map((t) => t.hash)));
      return perRow.every((groups) => groups.has(address)) && distinct.size >= own.length;
    });
    result.set(pseudonym, new Set(possible));
  }
  return result;
}

function size(candidates: ReadonlyMap<string, readonly unknown[]>): number {
  return [...candidates.values()].reduce((sum, list) => sum + list.length, 0);
}
