/** Erasure of groups of events: the record first, then the update; hot, archived and late rows alike. */
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { cp } from 'node:fs/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { signCheckpoint } from '../../src/audit/publish/sign.ts';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { COSIGNATURE_TYPE, formatVerifierKey } from '../../src/audit/tree/checkpoint.ts';
import { verifyChain } from '../../src/audit/verify/verify.ts';
import { queryOne } from '../../src/db/query.ts';
import { type EraseInput, eraseEvents } from '../../src/persons/erase-events.ts';
import { foundRegister, type Roster } from '../persons/roster.ts';
import { type TestContext, temporaryHome, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { tamper } from '../tamper/tampering.ts';
import { addEvents, column } from './event-fixtures.ts';

const db = useDatabase();
let ctx: TestContext;
let roster: Roster;
let ids: string[];

beforeAll(async () => {
  ctx = await testContext(db);
  roster = await foundRegister(ctx, await temporaryHome());
  await db.engine.withClient((client) =>
    client.query("select retention.create_partition('audit_log', '2002-01-01 00:00:00+00', '2002-02-01 00:00:00+00')"),
  );
  await sealChain(ctx);
  await addEvents(db.engine, 8);
  await addEvents(db.engine, 4, 100, "timestamptz '2002-01-05 00:00:00+00'");
  await addEvents(db.engine, 4, 200, "timestamptz '2001-05-01 00:00:00+00'");
  await sealChain(ctx);
  await db.admin.withClient((client) =>
    client.query(`alter table audit.audit_log detach partition audit.audit_log_y2002m01;
                  alter table audit.audit_log_archive attach partition audit.audit_log_y2002m01
                    for values from ('2002-01-01 00:00:00+00') to ('2002-02-01 00:00:00+00')`),
  );
  ids = (await column(
    db.admin,
    "select id::text from audit.audit_log_all where event_type = 'test.event' order by substr(event_action, 8)::int",
  )) as string[];
});

const keyFiles = (...names: string[]) => names.map((name) => roster.keyFile(name));
const request = (groups: [number, 'actor' | 'payload'][], requestId = randomUUID()): EraseInput => ({
  requestId,
  groups: groups.map(([at, group]) => ({ eventId: ids[at] ?? '', group })),
  keyFiles: keyFiles('records', 'everything'),
});
const rowOf = async (at: number) =>
  (await column(
    db.admin,
    `select json_build_object('email', user_email, 'actorSalt', actor_salt, 'n', new_values, 'payloadSalt', payload_salt,
                              'action', event_action) from audit.audit_log_all where id = '${ids[at]}'`,
  )) as { email: string | null; actorSalt: string | null; n: unknown; payloadSalt: string | null; action: string }[];

describe('eraseEvents', () => {
  it('nulls exactly the groups asked for, in hot, archived and late rows, and verification counts them', async () => {
    const input = request([
      [0, 'actor'],
      [1, 'payload'],
      [8, 'actor'],
      [8, 'payload'],
      [12, 'actor'],
    ]);
    const result = await eraseEvents(ctx, input);
    expect(result.recorded).toBe(5);
    expect(result.partitions.map(({ erased }) => erased).reduce((a, b) => a + b)).toBe(5);
    expect(result.partitions.map(({ partition }) => partition)).toEqual(
      expect.arrayContaining(['audit.audit_log_y2002m01', 'audit.audit_log_late']),
    );
    expect(await rowOf(0)).toMatchObject([{ email: null, actorSalt: null, n: { n: 0 } }]);
    expect((await rowOf(0))[0]?.payloadSalt).not.toBeNull();
    expect(await rowOf(1)).toMatchObject([{ email: 'user1@example.org', n: null, payloadSalt: null }]);
    expect(await rowOf(8)).toMatchObject([{ email: null, n: null, action: 'ACTION-100' }]);
    expect(await rowOf(12)).toMatchObject([{ email: null, n: { n: 200 } }]);
    expect(await rowOf(2)).toMatchObject([{ email: 'user2@example.org', n: { n: 2 } }]);
    expect(await verifyChain(ctx)).toMatchObject({ intact: true, findings: [], erased: 4 });
  });

  it('records request, root and two signatures, and no personal data', async () => {
    const [text] = (await column(
      db.admin,
      "select additional_data::text from audit.audit_log_all where event_type = 'chain.erasure'",
    )) as string[];
    const record = JSON.parse(text ?? '') as { payload: string; signatures: { fingerprint: string }[] };
    expect(JSON.parse(record.payload)).toMatchObject({ format: 'auditkeep-erasure/v1', groups: 5 });
    expect(new Set(record.signatures.map((entry) => entry.fingerprint)).size).toBe(2);
    expect(text).not.toContain('@example.org');
  });

  // Autovacuum analyzes leaves only; statistics of the whole tree come after, since they stay.
  it.each([
    ['a leaf', 1, 'select tableoid::regclass::text from audit.audit_log where id = $1'],
    ['the whole tree', 5, "select 'audit.audit_log' where $1 <> ''"],
  ])('takes the erased value out of the planner statistics of %s', async (_, at, relation) => {
    await db.admin.withClient(async (client) => {
      const place = await queryOne(client, z.object({ value: z.string() }), `select (${relation}) as value`, [
        ids[at] ?? '',
      ]);
      await client.query(`analyze ${place.value}`);
    });
    const known = () =>
      column(
        db.admin,
        `select count(*) from pg_stats where schemaname = 'audit'
            and concat(most_common_vals::text, histogram_bounds::text) like '%user${at}@example.org%'`,
      );
    expect(await known()).not.toEqual([0n]);
    await eraseEvents(ctx, request([[at, 'actor']]));
    expect(await known()).toEqual([0n]);
  });

  it('does nothing the second time, and goes on after a crash between the steps without new signatures', async () => {
    const input = request([[2, 'actor']]);
    await db.admin.withClient((client) =>
      client.query(`create function public.crash() returns trigger language plpgsql as
          $$ begin perform pg_terminate_backend(pg_backend_pid()); return null; end $$;
        create trigger zz_crash after insert on audit.chain_link for each statement execute function public.crash()`),
    );
    await expect(eraseEvents(ctx, input)).rejects.toThrow();
    expect(await rowOf(2)).toMatchObject([{ email: 'user2@example.org' }]);
    await db.admin.withClient((client) => client.query('drop trigger zz_crash on audit.chain_link'));
    const between = await verifyChain(ctx);
    expect(between.findings).toEqual([]);
    const resumed = { ...input, keyFiles: [] };
    expect((await eraseEvents(ctx, resumed)).partitions).toHaveLength(1);
    expect(await eraseEvents(ctx, resumed)).toEqual({ recorded: 1, partitions: [], vacuumed: false });
    expect(await rowOf(2)).toMatchObject([{ email: null }]);
    const events = await column(
      db.admin,
      `select event_type from audit.audit_log_all where resource_id = '${input.requestId}' order by 1`,
    );
    expect(events).toEqual(['chain.erasure', 'chain.erasure-vacuum']);
    expect(await verifyChain(ctx)).toMatchObject({ intact: true });
  });

  it.each([
    ['the same person twice', ['records', 'records'], 'DUTY_SEPARATION'],
    ['one person', ['records'], 'DUTY_SEPARATION'],
    ['a person without the role', ['records', 'reviewer'], 'ROLE_MISSING'],
  ])('refuses %s', async (_, names, code) => {
    await expect(eraseEvents(ctx, { ...request([[3, 'actor']]), keyFiles: keyFiles(...names) })).rejects.toMatchObject({
      code,
    });
    expect(await rowOf(3)).toMatchObject([{ email: 'user3@example.org' }]);
  });

  it('refuses events that are not sealed', async () => {
    const groups = [{ eventId: randomUUID(), group: 'actor' as const }];
    await expect(eraseEvents(ctx, { ...request([]), groups })).rejects.toMatchObject({ code: 'ERASE_UNSEALED' });
  });
});

describe('the record', () => {
  it('has to lie under a checkpoint that enough witnesses have cosigned before anything is erased', async () => {
    const key = { name: 'witness.example/w', publicKey: generateKeyPairSync('ed25519').publicKey };
    const silent = { vkey: formatVerifierKey(key, COSIGNATURE_TYPE), url: 'http://127.0.0.1:1' };
    const input = request([[7, 'actor']]);
    const witnessed = { ...ctx, config: { ...ctx.config, witnesses: [silent] } };
    const pending = { code: 'ERASE_PENDING', message: expect.stringContaining('witnesses') as string };
    await expect(eraseEvents(witnessed, input)).rejects.toMatchObject(pending);
    expect(await rowOf(7)).toMatchObject([{ email: 'user7@example.org' }]);
    expect((await eraseEvents(ctx, { ...input, keyFiles: [] })).partitions).toHaveLength(1);
    expect(await rowOf(7)).toMatchObject([{ email: null }]);
    // Under that policy no erasure of the past counts until a witness has cosigned.
    const classes = (await verifyChain(witnessed)).findings.map((found) => found.class);
    expect(new Set(classes)).toEqual(new Set(['erased-without-record']));
  });

  it('counts only when the signer has signed over it', async () => {
    const before = await temporaryHome();
    await cp(ctx.config.home, before, { recursive: true });
    await eraseEvents(ctx, request([[9, 'payload']]));
    const { findings } = await verifyChain({ ...ctx, config: { ...ctx.config, home: before } });
    expect(findings).toMatchObject([{ class: 'erased-without-record', eventId: ids[9] }]);
    expect(await verifyChain(ctx)).toMatchObject({ intact: true, findings: [] });
  });
});

describe('the old versions of erased rows', () => {
  const asLogin = (login: string) => ({ ...ctx, config: { ...ctx.config, maintenanceDatabaseUrl: db.url(login) } });
  const told = async (requestId: string) =>
    (await column(
      db.admin,
      `select json_build_object('result', result, 'tables', additional_data -> 'tables') from audit.audit_log_all
        where event_type = 'chain.erasure-vacuum' and resource_id = '${requestId}' order by txid`,
    )) as { result: string; tables: { table: string; left: string | null }[] }[];

  it('are taken off the disk by the maintenance login, once', async () => {
    const input = request([[10, 'actor']]);
    expect(await eraseEvents(asLogin('auditkeep_maint'), input)).toMatchObject({ vacuumed: true });
    const tables = [{ table: 'audit.audit_log_y2002m01', left: null }];
    expect(await told(input.requestId)).toEqual([{ result: 'success', tables }]);
    expect(await eraseEvents(asLogin('auditkeep_maint'), input)).toMatchObject({ vacuumed: true, partitions: [] });
    expect(await told(input.requestId)).toHaveLength(1);
  });

  it('are reported as left by a login that may not, by none, in another database, and while an older transaction sees them', async () => {
    const input = request([[11, 'actor']]);
    const another = new URL(db.url('auditkeep_maint'));
    another.pathname = '/postgres';
    const elsewhere = { ...ctx, config: { ...ctx.config, maintenanceDatabaseUrl: another.href } };
    const old = await db.admin.withClient(async (reader) => {
      await reader.query('begin isolation level repeatable read');
      await reader.query('select 1 from audit.chain_head');
      const results = [];
      for (const context of [ctx, asLogin('auditkeep_engine'), elsewhere, asLogin('auditkeep_maint')]) {
        results.push((await eraseEvents(context, input)).vacuumed);
      }
      await reader.query('rollback');
      return results;
    });
    expect(old).toEqual([false, false, false, false]);
    const reasons = (await told(input.requestId)).map(({ result, tables }) => `${result}: ${tables[0]?.left}`);
    expect(reasons).toMatchObject([
      'partial: no maintenance login is configured: waits for autovacuum',
      // PostgreSQL 15 and 16 put it in different words.
      expect.stringMatching(/permission denied to vacuum|owner can vacuum it/),
      'partial: the maintenance login is one of another database',
      expect.stringContaining('still visible to an older transaction'),
    ]);
    expect(await eraseEvents(asLogin('auditkeep_maint'), input)).toMatchObject({ vacuumed: true });
  });
});

describe('the database', () => {
  it('refuses to null groups whose record no checkpoint covers', async () => {
    const requestId = randomUUID();
    await sealChain(ctx);
    await signCheckpoint(ctx);
    await addEvents(db.engine, 1, 900);
    await sealChain(ctx);
    const erase = () =>
      db.engine.withClient((client) => client.query('select * from audit.erase_recorded($1)', [requestId]));
    await db.engine.withClient((client) =>
      client.query(
        `select audit.record_erasure($1, (select event_id from audit.chain_link order by seq desc limit 1),
                                     array[$2::uuid], array['actor'])`,
        [requestId, ids[4]],
      ),
    );
    await expect(erase()).rejects.toMatchObject({ code: 'AK024' });
    expect(await rowOf(4)).toMatchObject([{ email: 'user4@example.org' }]);
    await tamper(db.admin, `delete from audit.erasure where request_id = '${requestId}'`);
  });

  it('refuses to null groups before their record is a leaf', async () => {
    const requestId = randomUUID();
    await db.engine.withClient((client) =>
      client.query("select audit.record_erasure($1, gen_random_uuid(), array[$2::uuid], array['actor'])", [
        requestId,
        ids[4],
      ]),
    );
    await expect(
      db.engine.withClient((client) => client.query('select * from audit.erase_recorded($1)', [requestId])),
    ).rejects.toMatchObject({ code: 'AK024' });
    await tamper(db.admin, `delete from audit.erasure where request_id = '${requestId}'`);
  });

  it.each([
    ['an event that is no record', '(select event_id from audit.chain_link where seq = 0)'],
    [
      'the record of another request',
      "(select id from audit.audit_log_all where event_type = 'chain.erasure' order by txid limit 1)",
    ],
  ])('refuses to null groups under %s', async (_, record) => {
    const requestId = randomUUID();
    await db.engine.withClient((client) =>
      client.query(`select audit.record_erasure($1, ${record}, array[$2::uuid], array['actor'])`, [requestId, ids[4]]),
    );
    await expect(
      db.engine.withClient((client) => client.query('select * from audit.erase_recorded($1)', [requestId])),
    ).rejects.toMatchObject({ code: 'AK029' });
    expect(await rowOf(4)).toMatchObject([{ email: 'user4@example.org' }]);
    await tamper(db.admin, `delete from audit.erasure where request_id = '${requestId}'`);
  });

  it('refuses to null a group that was added to a request after it was signed', async () => {
    const input = request([[14, 'payload']]);
    await eraseEvents(ctx, input);
    await db.engine.withClient((client) =>
      client.query(
        `select audit.record_erasure($1, (select record_event_id from audit.erasure where request_id = $1 limit 1),
                                     array[$2::uuid], array['actor'])`,
        [input.requestId, ids[4]],
      ),
    );
    await expect(
      db.engine.withClient((client) => client.query('select * from audit.erase_recorded($1)', [input.requestId])),
    ).rejects.toMatchObject({ code: 'AK029' });
    expect(await rowOf(4)).toMatchObject([{ email: 'user4@example.org' }]);
    // As many as were signed, but another one.
    await tamper(
      db.admin,
      `create table public.told as select * from audit.erasure where event_id = '${ids[14]}'`,
      `delete from audit.erasure where event_id = '${ids[14]}'`,
    );
    await expect(
      db.engine.withClient((client) => client.query('select * from audit.erase_recorded($1)', [input.requestId])),
    ).rejects.toMatchObject({ code: 'AK029' });
    await tamper(
      db.admin,
      `delete from audit.erasure where event_id = '${ids[4]}'`,
      'insert into audit.erasure table public.told',
      'drop table public.told',
    );
  });

  it('refuses to record groups that no link has', async () => {
    await expect(
      db.engine.withClient((client) =>
        client.query(
          "select audit.record_erasure(gen_random_uuid(), gen_random_uuid(), array[gen_random_uuid()], array['actor'])",
        ),
      ),
    ).rejects.toMatchObject({ code: 'AK025' });
  });
});

it('reaches rows in quarantine, by the one list of tables that hold events', async () => {
  const move = (from: string, to: string) =>
    `insert into ${to} select * from ${from} where id = '${ids[13]}'; delete from ${from} where id = '${ids[13]}'`;
  await db.admin.withClient((client) =>
    client.query(`create table quarantine.audit_log_kept (like audit.audit_log);
                  alter table quarantine.audit_log_kept owner to auditkeep_owner`),
  );
  await tamper(db.admin, move('audit.audit_log_late', 'quarantine.audit_log_kept'));
  expect((await eraseEvents(ctx, request([[13, 'actor']]))).partitions).toEqual([
    { partition: 'quarantine.audit_log_kept', erased: 1 },
  ]);
  expect(await column(db.admin, 'select user_email from quarantine.audit_log_kept')).toEqual([null]);
  await tamper(
    db.admin,
    move('quarantine.audit_log_kept', 'audit.audit_log_late'),
    'drop table quarantine.audit_log_kept',
  );
  expect(await verifyChain(ctx)).toMatchObject({ intact: true });
});

describe('verification', () => {
  const sealedRecord = '(select event_id from audit.chain_link order by seq desc limit 1)';

  it.each([
    ['without a record event', 'null'],
    ['under an event that is no record', sealedRecord],
    [
      'under the record of another request',
      "(select id from audit.audit_log_all where event_type = 'chain.erasure' order by txid limit 1)",
    ],
  ])('calls a group that is recorded %s erased-without-record', async (_, record) => {
    await tamper(
      db.admin,
      `insert into audit.erasure (event_id, event_group, commitment, request_id, record_event_id)
       select event_id, 'actor', actor_commitment, gen_random_uuid(), ${record}
         from audit.chain_link where event_id = '${ids[6]}'`,
      `create table public.kept as select * from audit.audit_log where id = '${ids[6]}'`,
      `update audit.audit_log set user_email = null, actor_salt = null where id = '${ids[6]}'`,
    );
    expect((await verifyChain(ctx)).findings).toMatchObject([{ class: 'erased-without-record', eventId: ids[6] }]);
    await tamper(
      db.admin,
      `delete from audit.erasure where event_id = '${ids[6]}'`,
      `update audit.audit_log t set user_email = k.user_email, actor_salt = k.actor_salt from public.kept k where k.id = t.id`,
      'drop table public.kept',
    );
    expect((await verifyChain(ctx)).findings).toEqual([]);
  });

  it('names a group that was erased and has values again', async () => {
    await tamper(db.admin, `update audit.audit_log set user_email = 'other@example.org' where id = '${ids[0]}'`);
    expect((await verifyChain(ctx)).findings).toMatchObject([{ class: 'commitment-broken', eventId: ids[0] }]);
    await tamper(db.admin, `update audit.audit_log set user_email = null where id = '${ids[0]}'`);
    expect((await verifyChain(ctx)).findings).toEqual([]);
  });

  it('does not count a record whose signatures are of keys that no person has', async () => {
    await tamper(db.admin, 'create table public.keys as table compliance.person_key');
    await db.admin.withClient((client) =>
      client.query(`set session_replication_role = replica;
        alter table compliance.person_key disable trigger all; delete from compliance.person_key;
        set session_replication_role = origin`),
    );
    const { findings } = await verifyChain(ctx);
    expect(new Set(findings.map((found) => found.class))).toEqual(new Set(['erased-without-record']));
    await db.admin.withClient((client) =>
      client.query(
        'insert into compliance.person_key table public.keys; alter table compliance.person_key enable trigger all',
      ),
    );
    expect((await verifyChain(ctx)).findings).toEqual([]);
  });
});
