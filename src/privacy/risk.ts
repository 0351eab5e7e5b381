/** What an attacker with the public chain can still link: measured, not assumed. */
import type { Context } from '../context.ts';
import type { SqlClient } from '../db/database.ts';
import { inTransaction } from '../db/transaction.ts';
import { passesGate, RISK_THRESHOLDS, type RiskThresholds } from './policy.ts';
import { type ClassSummary, measureClasses } from './risk-store.ts';

export interface RiskReport {
  /** Processed transactions, all that were measured. */
  readonly rows: number;
  /** Size of the smallest class of rows that nothing left tells apart; 0 without rows. */
  readonly k: number;
  /** Rows alone in their class: linked with certainty by whoever has the public originals. */
  readonly uniquelyLinked: number;
  /** uniquelyLinked / rows, 0 to 1. The prosecutor's and journalist's worst case. */
  readonly uniquelyLinkedShare: number;
  /** Mean chance of a right guess over all rows, 0 to 1: the marketer's risk. */
  readonly meanLinkage: number;
  /** Rows in classes smaller than thresholds.k; they stay pseudonymized. */
  readonly belowK: number;
  readonly thresholds: RiskThresholds;
  readonly thresholdsMet: boolean;
  /** Why not, when they are not; empty otherwise. */
  readonly reasons: readonly string[];
  /** Rows by what was taken away: pseudonyms kept, suppressed, bucket suppressed, month, year. */
  readonly levels: readonly number[];
}

/** Measures the processed transactions. Reads only. */
export function measureRisk(ctx: Pick<Context, 'db'>): Promise<RiskReport> {
  return inTransaction(ctx.db, measureRiskWith, 'repeatable read, read only');
}

/** The same on the caller's connection. */
export async function measureRiskWith(client: SqlClient): Promise<RiskReport> {
  return reportOf(await measureClasses(client, RISK_THRESHOLDS.k), RISK_THRESHOLDS);
}

/** Turns a measurement into the report; pure. */
export function reportOf(measured: ClassSummary, thresholds: RiskThresholds): RiskReport {
  const { rows, k, uniquelyLinked, belowK } = measured;
  const thresholdsMet = passesGate(measured, thresholds);
  const share = rows === 0 ? 0 : uniquelyLinked / rows;
  return {
    rows,
    k,
    uniquelyLinked,
    uniquelyLinkedShare: share,
    meanLinkage: rows === 0 ? 0 : measured.classes / rows,
    belowK,
    thresholds,
    thresholdsMet,
    reasons: thresholdsMet
      ? []
      : [
          `${percent(share)} of rows are linked with certainty, at most ${percent(thresholds.uniquelyLinkedShare)} may be`,
        ],
    levels: measured.levels,
  };
}

/** `0.7 %` */
export function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}
