/** A transaction of a chain, in the clear: encryption happens when the row is written. */
import type { EventTime } from './field.ts';

export interface TransactionRow {
  /** Lower-case `0x` and 64 hexadecimal digits. */
  readonly hash: string;
  readonly blockHash: string | null;
  readonly blockHeight: bigint;
  readonly index: number;
  /** Lower-case addresses; `to` is null where a contract is created. */
  readonly from: string;
  readonly to: string | null;
  /** Wei in decimal digits, exact. */
  readonly valueWei: string;
  /** Gas used where a receipt tells it, otherwise the gas limit. */
  readonly gasUsed: bigint;
  readonly gasPriceWei: bigint | null;
  readonly status: 'confirmed' | 'failed';
  readonly time: EventTime;
  /** SHA-256 of the input's bytes, hexadecimal. */
  readonly inputHash: string;
  /** The first four bytes of the input as `0x` and 8 digits; null where the input is shorter. */
  readonly functionSignature: string | null;
}
