/** What ended goes 30 days later, what expired is marked, sealed data is judged; nothing else is touched. */
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { queryRows } from '../../src/db/query.ts';
import { keepHouse } from '../../src/retention/housekeeping.ts';
import { checkSealedData } from '../../src/retention/sealed-data.ts';
import { useDatabase } from '../support/database.ts';
import { failureOf, retentionContext, scalar } from './rows.ts';

const db = useDatabase();
const idOf = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
const idsOf = async (text: string) => {
  const rows = await db.admin.withClient((client) => queryRows(client, z.object({ id: z.string() }), text));
  return rows.map((row) => Number(row.id.slice(-4)));
};

beforeAll(async () => {
  await db.admin.withClient(async (client) => {
    // Without the users, roles and keys that they refer to.
    await client.query(`set session_replication_role = 'replica';
      insert into security_internal.jwt_tokens (id, user_id, token_hash, issued_at, expires_at, revoked_at) values
        ('${idOf(1)}', '${idOf(1)}', 'h', now() - interval '90 days', now() - interval '31 days', null),
        ('${idOf(2)}', '${idOf(1)}', 'h', now() - interval '90 days', now() - interval '29 days', null),
        ('${idOf(3)}', '${idOf(1)}', 'h', now() - interval '90 days', now() + interval '9 days', now() - interval '31 days'),
        ('${idOf(4)}', '${idOf(1)}', 'h', now() - interval '90 days', now() + interval '9 days', null);
      insert into security_internal.user_sessions (id, user_id, session_token_hash, expires_at) values
        ('${idOf(1)}', '${idOf(1)}', 'h', now() - interval '31 days'), ('${idOf(2)}', '${idOf(1)}', 'h', now() - interval '29 days');
      insert into security_internal.rate_limit_state (id, identifier, identifier_type, window_start, blocked_until) values
        ('${idOf(1)}', 'a', 'ip', now() - interval '31 days', null),
        ('${idOf(2)}', 'b', 'ip', now() - interval '60 days', now() - interval '29 days'),
        ('${idOf(3)}', 'c', 'ip', now() - interval '60 days', now() - interval '31 days');
      insert into security_internal.user_roles (id, user_id, role_id, expires_at, is_active) values
        ('${idOf(1)}', '${idOf(1)}', '${idOf(1)}', now() - interval '1 minute', true),
        ('${idOf(2)}', '${idOf(1)}', '${idOf(2)}', now() + interval '1 hour', true),
        ('${idOf(3)}', '${idOf(1)}', '${idOf(3)}', null, true);
      insert into security_secret.sgx_enclaves (id, enclave_id, mr_enclave, mr_signer, isv_prod_id, isv_svn, attestation_status, attestation_expires_at) values
        ('${idOf(1)}', 'good', repeat('a', 64), repeat('b', 64), 1, 1, 'valid', now() + interval '1 day'),
        ('${idOf(2)}', 'old', repeat('a', 64), repeat('b', 64), 1, 1, 'valid', now() - interval '1 day'),
        ('${idOf(3)}', 'revoked', repeat('a', 64), repeat('b', 64), 1, 1, 'revoked', now() - interval '1 day');
      insert into security_secret.sgx_sealed_data (id, data_id, enclave_id, sealed_blob, integrity_hash, expires_at, access_policy) values
        ('${idOf(1)}', 'fine', '${idOf(1)}', 'x', encode(sha256('x'), 'hex'), null, '{"roles": ["a"]}'),
        ('${idOf(2)}', 'flipped', '${idOf(1)}', 'y', encode(sha256('x'), 'hex'), null, '{"roles": ["a"]}'),
        ('${idOf(3)}', 'open', '${idOf(1)}', 'x', encode(sha256('x'), 'hex'), now() - interval '1 day', '{}'),
        ('${idOf(4)}', 'orphan', '${idOf(2)}', 'x', encode(sha256('x'), 'hex'), null, '{"roles": ["a"]}');
      reset session_replication_role`);
  });
});

describe('housekeeping', () => {
  test('removes what ended more than 30 days ago and marks what expired, in batches with their counts', async () => {
    const ctx = retentionContext(db.engine);
    expect(await keepHouse(ctx, { batchSize: 1 })).toEqual({
      jwt_tokens: 2,
      user_sessions: 1,
      rate_limit_state: 2,
      user_roles: 1,
      sgx_enclaves: 1,
    });
    expect(await idsOf('select id::text from security_internal.jwt_tokens order by 1')).toEqual([2, 4]);
    expect(await idsOf('select id::text from security_internal.user_sessions order by 1')).toEqual([2]);
    expect(await idsOf('select id::text from security_internal.rate_limit_state order by 1')).toEqual([2]);
    expect(await idsOf('select id::text from security_internal.user_roles where is_active order by 1')).toEqual([2, 3]);
    expect(
      await idsOf(`select id::text from security_secret.sgx_enclaves where attestation_status = 'expired'`),
    ).toEqual([2]);
    const events = `select count(*) as value from audit.audit_log where event_type in ('housekeeping.removed', 'housekeeping.marked')`;
    expect(await scalar(db.engine, z.bigint(), events)).toBe(7n);
    expect(Object.values(await keepHouse(ctx))).toEqual([0, 0, 0, 0, 0]);
  });

  test.each([
    ['AK101', `select retention.remove_ended('users', now(), 10)`],
    ['AK101', `select retention.mark_expired('users', now(), 10)`],
    ['AK102', `select retention.remove_ended('jwt_tokens', now() + interval '1 day', 10)`],
    ['AK102', `select retention.mark_expired('user_roles', now() + interval '1 day', 10)`],
    ['AK102', `select retention.remove_ended('jwt_tokens', now(), 0)`],
    ['42501', 'delete from security_internal.jwt_tokens'],
    ['42501', 'update security_internal.user_roles set is_active = true'],
  ])('raw SQL as the engine is refused with %s: %s', async (code, statement) => {
    expect(await failureOf(db.engine, statement)).toMatchObject({ code });
  });
});

describe('sealed data', () => {
  test('is judged piece by piece, and findings say which and why, without content', async () => {
    const check = await checkSealedData(retentionContext(db.engine));
    expect(check.checked).toBe(4);
    expect(check.findings.map(({ id, problems }) => [Number(id.slice(-4)), problems])).toEqual([
      [2, ['integrity']],
      [3, ['expired', 'access-policy']],
      [4, ['enclave']],
    ]);
    const severities = `select string_agg(severity, ',' order by severity) as value from audit.security_events_log where event_type = 'sealed_data_finding'`;
    expect(await scalar(db.engine, z.string(), severities)).toBe('critical,low,medium,medium');
  });
});
