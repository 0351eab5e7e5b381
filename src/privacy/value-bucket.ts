/** Amounts generalised to their order of magnitude. */

/** The bucket of an amount of zero, which has no logarithm. */
const ZERO_BUCKET = -1;

/**
 * floor(log10) of an amount in the smallest unit, -1 for zero; null when the text is no amount. Counts digits, since an
 * amount of wei is beyond 2^53.
 */
export function valueBucket(amount: string): number | null {
  const digits = /^0*(\d+)$/.exec(amount)?.[1];
  if (digits === undefined || digits.length > 100) return null;
  return /^0+$/.test(amount) ? ZERO_BUCKET : digits.length - 1;
}
