/**
 * Made-up events and transactions for demos and benchmarks, as the NDJSON that the imports read. Time is cut into slots
 * of equal length since 1970, and each slot has one item that depends on seed and slot alone: an hour later the same
 * seed gives the same items but for the few slots that have ended since, so generating again adds next to nothing.
 */
import { hash } from 'node:crypto';
import type { UtcInstant } from '../time/clock.ts';
import { type Random, seededRandom } from './random.ts';

export interface GenerateOptions {
  readonly seed: number;
  readonly count: number;
  /** How far back the items reach. */
  readonly years: number;
  /** No item is later. */
  readonly now: UtcInstant;
}

const YEAR_MS = 365.25 * 24 * 60 * 60 * 1000;

interface Slot {
  readonly index: number;
  readonly atMs: number;
  readonly random: Random;
  /** Different for every seed, slot and slot length. */
  readonly name: string;
}

function* slotsOf({ seed, count, years, now }: GenerateOptions): Generator<Slot, void, undefined> {
  const lengthMs = Math.max(1, Math.floor((years * YEAR_MS) / count));
  const end = Math.floor(now / lengthMs);
  for (let index = end - count; index < end; index++) {
    const random = seededRandom(seed, index);
    const atMs = index * lengthMs + random.below(lengthMs);
    yield { index, atMs, random, name: `${seed}/${lengthMs}/${index}` };
  }
}

interface EventKind {
  readonly type: string;
  readonly category: string;
  readonly action: string;
  readonly resource: string;
  readonly failureRate: number;
}

const KINDS: readonly [EventKind, ...EventKind[]] = [
  { type: 'user.session', category: 'authentication', action: 'LOGIN', resource: 'session', failureRate: 0.06 },
  { type: 'user.session', category: 'authentication', action: 'LOGOUT', resource: 'session', failureRate: 0 },
  { type: 'access.check', category: 'authorization', action: 'CHECK', resource: 'permission', failureRate: 0.08 },
  { type: 'access.role', category: 'authorization', action: 'GRANT', resource: 'role', failureRate: 0.01 },
  { type: 'record.read', category: 'data_access', action: 'READ', resource: 'patient_record', failureRate: 0.01 },
  { type: 'record.read', category: 'data_access', action: 'READ', resource: 'customer', failureRate: 0.01 },
  { type: 'record.read', category: 'data_access', action: 'EXPORT', resource: 'customer', failureRate: 0.02 },
  {
    type: 'record.write',
    category: 'data_modification',
    action: 'UPDATE',
    resource: 'ledger_entry',
    failureRate: 0.01,
  },
  {
    type: 'record.write',
    category: 'data_modification',
    action: 'CREATE',
    resource: 'ledger_entry',
    failureRate: 0.01,
  },
  { type: 'record.write', category: 'data_modification', action: 'DELETE', resource: 'customer', failureRate: 0.02 },
  { type: 'service.job', category: 'system', action: 'RUN', resource: 'batch_job', failureRate: 0.02 },
  { type: 'security.scan', category: 'security', action: 'SCAN', resource: 'service', failureRate: 0.03 },
  {
    type: 'service.settings',
    category: 'admin',
    action: 'UPDATE',
    resource: 'service_configuration',
    failureRate: 0.01,
  },
];
const ROLES: readonly [string, ...string[]] = ['clerk', 'accountant', 'nurse', 'developer', 'administrator'];
const AGENTS: readonly [string, ...string[]] = ['portal/4.2', 'mobile/2.9 (Android 14)', 'batch/1.0', 'curl/8.5.0'];
/** One event in this many is declared sensitive and stored encrypted. */
const SENSITIVE_EVERY = 100;

/** Events as lines of NDJSON without the line break, oldest first, in the form of ndjsonEventSchema. */
export function* generateEvents(options: GenerateOptions): Generator<string, void, undefined> {
  for (const slot of slotsOf(options)) yield JSON.stringify(eventOf(slot));
}

function eventOf({ index, atMs, random, name }: Slot): object {
  const kind = random.pick(KINDS);
  const user = random.below(200);
  const failed = random.fraction() < kind.failureRate;
  const record = random.below(100_000);
  return {
    external_id: name,
    source: 'generator',
    event_timestamp: new Date(atMs).toISOString(),
    event_type: kind.type,
    event_category: kind.category,
    event_action: kind.action,
    user_email: `user${user}@example.com`,
    user_roles: [ROLES[user % ROLES.length]],
    // RFC 5737: addresses for documentation
    ip_address: `198.51.100.${random.below(255)}`,
    user_agent: random.pick(AGENTS),
    resource_type: kind.resource,
    resource_id: String(record),
    resource_path: `/${kind.resource}/${record}`,
    ...(kind.category === 'data_modification' && {
      old_values: { state: 'open', amount: random.below(1_000_000) },
      new_values: { state: 'closed', amount: random.below(1_000_000) },
    }),
    data_sensitivity: index % SENSITIVE_EVERY === 0 ? 'sensitive' : 'normal',
    result: failed ? 'failure' : 'success',
    ...(failed && { error_message: 'refused' }),
    server_name: `app-${random.below(4)}`,
    version: '4.2.0',
    additional_data: { tenant: random.below(20), durationMs: random.below(2000) },
  };
}

const TRANSFER = 'a9059cbb';
/** Seconds a block, and the time of block 0, near enough for made-up numbers. */
const BLOCK_MS = 12_000;
const GENESIS_MS = Date.UTC(2015, 6, 30);

/** Transactions as lines of NDJSON as ethereum-etl exports them, oldest first. */
export function* generateTransactions(options: GenerateOptions): Generator<string, void, undefined> {
  for (const slot of slotsOf(options)) yield transactionOf(slot);
}

/** Written by hand: wei lie beyond 2^53 and stand in the export as JSON numbers. */
function transactionOf({ atMs, random, name }: Slot): string {
  const hex = (what: string) => hash('sha256', `auditkeep generator/${what}`, 'hex');
  const address = () => `0x${hex(`address ${random.below(400)}`).slice(0, 40)}`;
  const block = Math.floor((atMs - GENESIS_MS) / BLOCK_MS);
  const isTransfer = random.fraction() < 0.6;
  const wei = isTransfer ? '0' : `${1 + random.below(900_000_000)}${'0'.repeat(6 + random.below(7))}`;
  const gasPrice = 1_000_000_000 + random.below(90_000_000_000);
  const fields = [
    `"hash": "0x${hex(`transaction ${name}`)}"`,
    `"nonce": ${random.below(1000)}`,
    `"block_hash": "0x${hex(`block ${block}`)}"`,
    `"block_number": ${block}`,
    `"transaction_index": ${random.below(200)}`,
    `"from_address": "${address()}"`,
    `"to_address": "${address()}"`,
    `"value": ${wei}`,
    `"gas": ${isTransfer ? 65_000 : 21_000}`,
    `"gas_price": ${gasPrice}`,
    `"input": "0x${isTransfer ? `${TRANSFER}${hex(`argument ${name}`)}${hex(`amount ${name}`)}` : ''}"`,
    `"block_timestamp": ${Math.floor(atMs / 1000)}`,
    `"transaction_type": 2`,
  ];
  return `{${fields.join(', ')}}`;
}
