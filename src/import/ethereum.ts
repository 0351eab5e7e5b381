/** Ethereum transactions as ethereum-etl exports them, NDJSON or CSV, to rows. Both ways give the same row. */
import { hash } from 'node:crypto';
import type { UtcInstant } from '../time/clock.ts';
import { parseEventTime } from './field.ts';
import { integerText } from './json-text.ts';
import { RecordRejected } from './rejection.ts';
import type { TransactionRow } from './transaction-row.ts';

const HASH = /^0x[0-9a-f]{64}$/;
const ADDRESS = /^0x[0-9a-f]{40}$/;
const BYTES = /^0x(?:[0-9a-f]{2})*$/;
const MAX_UINT256 = 2n ** 256n - 1n;
const MAX_BIGINT = 2n ** 63n - 1n;
const MAX_INTEGER = 2n ** 31n - 1n;
/** Year 10000 in seconds: beyond it no timestamp can be an instant. */
const MAX_SECONDS = 253_402_300_800n;

/** The fields of a record by their ethereum-etl names; a CSV row has texts, '' where there is no value. */
export type TransactionFields = { readonly [name: string]: unknown };

/** One record as a row. @throws RecordRejected with the field at fault */
export function parseTransaction(fields: TransactionFields, now: UtcInstant): TransactionRow {
  const input = requirePattern(fields, 'input', BYTES);
  const bytes = Buffer.from(input.slice(2), 'hex');
  const gasLimit = requireInteger(fields, 'gas', MAX_BIGINT);
  const status = optionalInteger(fields, 'receipt_status', 1n);
  return {
    hash: requirePattern(fields, 'hash', HASH),
    blockHash: optionalPattern(fields, 'block_hash', HASH),
    blockHeight: requireInteger(fields, 'block_number', MAX_BIGINT),
    index: Number(requireInteger(fields, 'transaction_index', MAX_INTEGER)),
    from: requirePattern(fields, 'from_address', ADDRESS),
    to: optionalPattern(fields, 'to_address', ADDRESS),
    valueWei: requireInteger(fields, 'value', MAX_UINT256).toString(),
    gasUsed: optionalInteger(fields, 'receipt_gas_used', MAX_BIGINT) ?? gasLimit,
    gasPriceWei: optionalInteger(fields, 'gas_price', MAX_BIGINT),
    status: status === 0n ? 'failed' : 'confirmed',
    time: blockTime(fields, now),
    inputHash: hash('sha256', bytes, 'hex'),
    functionSignature: bytes.length < 4 ? null : input.slice(0, 10),
  };
}

/** block_timestamp is seconds since 1970; some exports write an ISO instant, or `2023-05-02 12:19:59 UTC`. */
function blockTime(fields: TransactionFields, now: UtcInstant): TransactionRow['time'] {
  const value = present(fields['block_timestamp']);
  if (value === null) throw new RecordRejected('FIELD_MISSING', 'block_timestamp');
  const digits = integerText(value);
  if (digits === null) {
    return parseEventTime(typeof value === 'string' ? value.replace(/ UTC$/, 'Z') : value, now, 'block_timestamp');
  }
  const seconds = BigInt(digits);
  if (seconds < 0n || seconds >= MAX_SECONDS) throw new RecordRejected('TIME_INVALID', 'block_timestamp');
  return parseEventTime(new Date(Number(seconds) * 1000).toISOString(), now, 'block_timestamp');
}

function requireInteger(fields: TransactionFields, name: string, max: bigint): bigint {
  const value = optionalInteger(fields, name, max);
  if (value === null) throw new RecordRejected('FIELD_MISSING', name);
  return value;
}

function optionalInteger(fields: TransactionFields, name: string, max: bigint): bigint | null {
  const value = present(fields[name]);
  if (value === null) return null;
  const digits = integerText(value);
  if (digits === null) throw new RecordRejected('FIELD_INVALID', name);
  const number = BigInt(digits);
  if (number < 0n || number > max) throw new RecordRejected('NUMBER_RANGE', name);
  return number;
}

function requirePattern(fields: TransactionFields, name: string, pattern: RegExp): string {
  const value = optionalPattern(fields, name, pattern);
  if (value === null) throw new RecordRejected('FIELD_MISSING', name);
  return value;
}

/** Lower case: the case of an address is a checksum (EIP-55) and must not make two of one. */
function optionalPattern(fields: TransactionFields, name: string, pattern: RegExp): string | null {
  const value = present(fields[name]);
  if (value === null) return null;
  const text = typeof value === 'string' ? value.toLowerCase() : '';
  if (!pattern.test(text)) throw new RecordRejected('FIELD_INVALID', name);
  return text;
}

function present(value: unknown): unknown {
  return value === undefined || value === '' ? null : value;
}
