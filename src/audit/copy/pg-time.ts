/** PostgreSQL's binary timestamptz (int64 microseconds since 2000-01-01 UTC) to text and back, without losing any. */
import { isoOf, toInstant } from '../../time/clock.ts';

const PG_EPOCH_MS = 946_684_800_000n;

/** ISO 8601 with six decimals; for years 1 to 9999, which a CHECK on the table guarantees. */
export function timestampText(binary: Buffer): string {
  return microsText(binary.readBigInt64BE());
}

/** The same from microseconds since 2000-01-01 UTC. */
export function microsText(micros: bigint): string {
  const rest = ((micros % 1000n) + 1000n) % 1000n;
  const milliseconds = (micros - rest) / 1000n + PG_EPOCH_MS;
  return `${isoOf(toInstant(Number(milliseconds))).slice(0, -1)}${String(rest).padStart(3, '0')}Z`;
}

/** The 16 bytes of a uuid as its text. */
export function uuidText(bytes: Buffer): string {
  const hex = bytes.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}
