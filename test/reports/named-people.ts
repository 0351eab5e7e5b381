/** People whom a report of February 2026 shows as pseudonyms, and what a full bundle says of them. */
import { type Identity, type IdentityLine, identityLineSchema } from '../../src/reports/model/identity.ts';
import { unpackBundle } from '../../src/reports/parts/bundle-format.ts';
import type { TestDatabase } from '../support/database.ts';
import { runAll } from './control-fixtures.ts';

export const ADA = '10000000-0000-4000-8000-00000000000a';
export const BOB = '10000000-0000-4000-8000-00000000000b';
export const TRANSACTION = '30000000-0000-4000-8000-000000000001';

/** Rows by which SOX controls of February 2026 name people, addresses and a transaction. */
export function insertNamed(db: TestDatabase): Promise<void> {
  return runAll(db.admin, [
    `insert into security_confidential.users (id, username, email, password_hash, password_salt, account_status)
     values ('${ADA}', 'adalovelace', 'Ada.Lovelace@example.org', 'h', 's', 'active'), ('${BOB}', 'bobhoover', 'hoover@example.org', 'h', 's', 'active')`,
    // AC-07: two tokens that outlived their end, one of each.
    `insert into security_internal.jwt_tokens (user_id, token_hash, issued_at, expires_at)
     values ('${ADA}', 'x', '2025-01-01', '2025-01-02'), ('${BOB}', 'x', '2025-01-01', '2025-01-02')`,
    // AC-08: failed log-ins of an address that no account has, and of one that Ada's has.
    `insert into audit.audit_log (event_type, event_category, event_action, user_email, result, event_timestamp)
     select 'login', 'authentication', 'LOGIN', address, 'failure', '2026-02-10T08:00:00Z'::timestamptz + n * interval '1 second'
       from generate_series(1, 12) n, unnest(array['Guest@example.net', 'ada.lovelace@EXAMPLE.org']) address`,
    // AC-10: a use of emergency access that nobody approved or reviewed, by a name that no account has.
    `insert into compliance.emergency_access (entry_key, revision, recorded_by, access_id, account, reason, started_at)
     values ('e1', 1, 'test', 'e1', 'Night-DBA', 'x', '2026-02-11T00:00:00Z')`,
    // TX-01: a transaction of nobody that is pending for too long.
    `insert into security_internal.blockchain_networks (id, network_name, network_type, rpc_endpoints)
     values ('20000000-0000-4000-8000-000000000001', 'test', 'custom', '{}')`,
    `insert into security_confidential.transactions (id, transaction_hash, network_id, status, created_at)
     values ('${TRANSACTION}', 'x1', '20000000-0000-4000-8000-000000000001', 'pending', '2026-02-12T00:00:00Z')`,
  ]);
}

export const partOf = (zip: Buffer, name: string) => Buffer.from(unpackBundle(zip).get(name) ?? '');
export const linesOf = (zip: Buffer): IdentityLine[] =>
  partOf(zip, 'identities.ndjson')
    .toString('utf8')
    .split('\n')
    .slice(0, -1)
    .map((line) => identityLineSchema.parse(JSON.parse(line)));
export const identitiesOf = (zip: Buffer): Identity[] =>
  linesOf(zip).flatMap((line) => ('erased' in line ? [] : [line.identity]));
/** Texts that tell who it is. An id of nobody, such as that of an event, may be there in clear. */
export const tellingOf = ({ kind, value, name, email }: Identity) =>
  kind === 'other' ? [] : [value, value.split(' ').at(-1) ?? value, name, email].filter((text) => text !== null);

/** Ids of the people and things that the rows are about. */
export const KNOWN_VALUES = new Set([ADA, BOB, TRANSACTION]);

/** An id or a keyed address by its form, since each run has others; anything else as it is. */
export function formOf(value: string): string {
  if (/^address:[0-9a-f]{64}$/.test(value)) return 'key';
  return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(value) ? 'id' : value;
}
