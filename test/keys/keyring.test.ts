import { fork } from 'node:child_process';
import { once } from 'node:events';
import { beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import type { Database } from '../../src/db/database.ts';
import { execute, queryOne, queryRows } from '../../src/db/query.ts';
import { sealCell } from '../../src/keys/envelope.ts';
import type { CellContext, Keyring } from '../../src/keys/keyring.ts';
import { readKeyList } from '../../src/keys/list.ts';
import { openKeyring } from '../../src/keys/open-keyring.ts';
import { type TestContext, temporaryHome, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();
const cell: CellContext = {
  table: 'security_confidential.transactions',
  column: 'value_encrypted',
  rowId: '00000000-0000-8000-8000-000000000001',
  dataClass: 'confidential',
};
const plaintext = Buffer.from('1642894143');
let ctx: TestContext;

beforeAll(async () => {
  ctx = await testContext(db);
});

/** A key ring with nothing in memory, as another process has it. */
function freshKeyring(home = ctx.config.home, database: Database = db.engine): Keyring {
  return openKeyring({ db: database, clock: ctx.clock, home, actor: ctx.actor });
}

const sql = <T>(shape: z.ZodType<T>, text: string, values: string[] = []) =>
  db.admin.withClient((client) => queryRows(client, shape, text, values));
const change = (text: string, values: (string | Buffer)[] = []) =>
  db.admin.withClient((client) => execute(client, text, values));

test('a cell sealed by one process is opened by another, in its place only', async () => {
  const envelope = (await ctx.keys.sealer('confidential'))(cell, plaintext);
  expect(Buffer.from(await freshKeyring().open(cell, envelope))).toEqual(plaintext);
  await expect(freshKeyring().open({ ...cell, rowId: 'other' }, envelope)).rejects.toMatchObject({
    code: 'CONTEXT_MISMATCH',
  });
  await expect(freshKeyring().open(cell, `${envelope}=`)).rejects.toMatchObject({ code: 'TAMPERED' });
});

test('every data class and UTC day has its own epoch key; yesterday’s cells still open', async () => {
  const clockCtx = await testContext(db, { config: ctx.config });
  const idOf = async (dataClass: 'confidential' | 'secret') =>
    Buffer.from((await clockCtx.keys.sealer(dataClass))({ ...cell, dataClass }, plaintext).slice(4), 'base64url')
      .subarray(2, 10)
      .toString('hex');
  clockCtx.clock.set('2026-03-20T23:59:59.999Z');
  const envelope = (await clockCtx.keys.sealer('confidential'))(cell, plaintext);
  const [today, todaySecret] = [await idOf('confidential'), await idOf('secret')];
  expect(await idOf('confidential')).toBe(today);
  clockCtx.clock.advance(1);
  const tomorrow = await idOf('confidential');
  expect(new Set([today, todaySecret, tomorrow]).size).toBe(3);
  expect(Buffer.from(await clockCtx.keys.open(cell, envelope))).toEqual(plaintext);
});

test('a named secret is the same in every process and differs by purpose', async () => {
  const pseudonym = await ctx.keys.secret('pseudonym');
  expect(await freshKeyring().secret('pseudonym')).toEqual(pseudonym);
  const importId = await ctx.keys.secret('import-id');
  expect(Buffer.from(importId.key).equals(pseudonym.key)).toBe(false);
  expect(pseudonym.keyId).toMatch(/^[0-9a-f]{16}$/);
});

test('each key that is made is an audit event with who, what and under which KEK', async () => {
  await ctx.keys.secret('report-pseudonym');
  const keys = await sql(
    z.object({
      key_id: z.string(),
      purpose: z.string(),
      details: z.record(z.string(), z.unknown()),
      service: z.string(),
    }),
    `select k.key_id, k.purpose, l.additional_data as details, l.service_name as service
       from security_secret.encryption_keys k
       join audit.audit_log_all l on l.resource_type = 'encryption_key' and l.resource_id = k.key_id`,
  );
  const all = await sql(z.object({ key_id: z.string() }), 'select key_id from security_secret.encryption_keys');
  expect(keys.map((key) => key.key_id).sort()).toEqual(all.map((key) => key.key_id).sort());
  const secret = keys.find((key) => key.purpose === 'report-pseudonym');
  expect(secret?.service).toBe('test');
  expect(secret?.details).toMatchObject({ purpose: 'report-pseudonym', kekGeneration: 1 });
});

test('no key lies in the database in the clear', async () => {
  const { key } = await ctx.keys.secret('pseudonym');
  const row = await db.admin.withClient((client) =>
    queryOne(
      client,
      z.object({ found: z.bigint() }),
      `select count(*) as found from security_secret.key_wrap where position($1::bytea in wrapped) > 0`,
      [Buffer.from(key.subarray(0, 8))],
    ),
  );
  expect(row.found).toBe(0n);
});

test('an unknown key, a named secret used as one and a destroyed key have their own codes', async () => {
  const forged = (id: string) => sealCell({ epoch: { id, key: Buffer.alloc(32, 7) }, subject: null }, cell, plaintext);
  await expect(ctx.keys.open(cell, forged('00000000000000aa'))).rejects.toMatchObject({ code: 'KEY_UNKNOWN' });
  const secret = await ctx.keys.secret('pseudonym');
  await expect(ctx.keys.open(cell, forged(secret.keyId))).rejects.toMatchObject({ code: 'KEY_UNKNOWN' });

  const internal = { ...cell, dataClass: 'internal' as const };
  const envelope = (await ctx.keys.sealer('internal'))(internal, plaintext);
  await change(
    `with gone as (delete from security_secret.key_wrap w using security_secret.encryption_keys k
                    where k.key_id = w.key_id and k.data_class = 'internal' returning w.key_id)
     update security_secret.encryption_keys set status = 'destroyed' where key_id in (select key_id from gone)`,
  );
  await expect(freshKeyring().open(internal, envelope)).rejects.toMatchObject({ code: 'KEY_DESTROYED' });
});

test('a wrap that was altered or put under another key does not open', async () => {
  const secret = await ctx.keys.secret('pseudonym');
  const other = await ctx.keys.secret('import-id');
  const wrapOf = async (id: string) =>
    (
      await sql(
        z.object({ wrapped: z.instanceof(Buffer) }),
        `select wrapped from security_secret.key_wrap where key_id = $1`,
        [id],
      )
    )[0]?.wrapped ?? Buffer.alloc(0);
  const original = await wrapOf(secret.keyId);
  const put = (wrapped: Buffer) =>
    change('update security_secret.key_wrap set wrapped = $2 where key_id = $1', [secret.keyId, wrapped]);
  const flipped = Buffer.from(original);
  flipped[20] = (flipped[20] ?? 0) ^ 1;
  for (const wrong of [flipped, await wrapOf(other.keyId)]) {
    await put(wrong);
    await expect(freshKeyring().secret('pseudonym')).rejects.toMatchObject({ code: 'TAMPERED' });
  }
  await put(original);
  expect(await freshKeyring().secret('pseudonym')).toEqual(secret);
});

test('a home without the key file is KEY_MISSING and gets no new one, another KEK’s file too', async () => {
  const { listGenerations, createKekFile } = await import('../../src/keys/providers/kek-file.ts');
  const home = await temporaryHome();
  await expect(freshKeyring(home).secret('pseudonym')).rejects.toMatchObject({ code: 'KEY_MISSING' });
  const later = await testContext(db, { config: { ...ctx.config, home } });
  later.clock.set('2026-06-01T00:00:00Z');
  await expect(later.keys.sealer('confidential')).rejects.toMatchObject({ code: 'KEY_MISSING' });
  expect(await listGenerations(home)).toEqual([]);
  await createKekFile(home, 1);
  await expect(freshKeyring(home).secret('pseudonym')).rejects.toMatchObject({ code: 'KEY_MISSING' });
});

test('the engine can read wraps but change neither them nor key states by itself', async () => {
  const refused = [
    `insert into security_secret.key_wrap (key_id, kind, kek_id, kek_generation, wrapped) select key_id, 'escrow', key_id, 1, ''::bytea from security_secret.encryption_keys limit 1`,
    `update security_secret.key_wrap set wrapped = wrapped`,
    `delete from security_secret.key_wrap`,
    `update security_secret.encryption_keys set status = 'destroyed'`,
    `insert into security_secret.encryption_keys (key_id, key_type) values ('x', 'DEK')`,
  ];
  for (const statement of refused) {
    await expect(db.engine.withClient((client) => execute(client, statement))).rejects.toMatchObject({
      code: 'DB_PRIVILEGE',
    });
  }
  await expect(
    db.as('app_admin_role').withClient((client) => execute(client, 'select wrapped from security_secret.key_wrap')),
  ).rejects.toMatchObject({ code: 'DB_PRIVILEGE' });
  await expect(
    db
      .as('app_admin_role')
      .withClient((client) =>
        execute(
          client,
          `select security_secret.create_key('a', 'epoch', 'secret', now()::date, 'b', ''::bytea, 's', null, now())`,
        ),
      ),
  ).rejects.toMatchObject({ code: 'DB_PRIVILEGE' });
});

const epochIdOf = (envelope: string) => Buffer.from(envelope.slice(4), 'base64url').subarray(2, 10).toString('hex');

test('a revoked epoch key encrypts nothing more, in this process and in others; what it encrypted still opens', async () => {
  const later = await testContext(db, { config: ctx.config });
  later.clock.set('2026-05-01T00:00:00Z');
  const seal = async (keys: Keyring) => (await keys.sealer('confidential'))(cell, plaintext);
  const before = await seal(later.keys);
  expect(epochIdOf(await seal(later.keys))).toBe(epochIdOf(before));
  for (const status of ['revoked', 'archived']) {
    const current = epochIdOf(await seal(later.keys));
    await change(`update security_secret.encryption_keys set status = '${status}' where key_id = $1`, [current]);
    const next = epochIdOf(await seal(later.keys));
    expect(next, status).not.toBe(current);
    const other = openKeyring({ db: db.engine, clock: later.clock, home: ctx.config.home, actor: ctx.actor });
    expect(epochIdOf(await seal(other)), status).toBe(next);
  }
  expect(Buffer.from(await freshKeyring().open(cell, before))).toEqual(plaintext);
});

test('a sealer seals no more cells than were counted for it', async () => {
  const later = await testContext(db, { config: ctx.config });
  later.clock.set('2026-05-02T00:00:00Z');
  const usesOf = async () =>
    (
      await sql(
        z.object({ n: z.number() }),
        `select coalesce(usage_count, 0) as n from security_secret.encryption_keys
          where purpose = 'epoch' and data_class = 'internal' and epoch_day = '2026-05-02'`,
      )
    )[0]?.n;
  const internal = { ...cell, dataClass: 'internal' as const };
  const exhaust = (seal: (context: CellContext, text: Uint8Array) => string, cells: number) => {
    for (let sealed = 0; sealed < cells; sealed += 1) seal(internal, plaintext);
    expect(() => seal(internal, plaintext)).toThrow(RangeError);
  };
  const granted = await Promise.all([1, 2, 3, 4].map(() => later.keys.sealer('internal', 1000)));
  const reserved = (await usesOf()) ?? 0;
  expect(reserved).toBeGreaterThanOrEqual(65_536);
  const one = await later.keys.sealer('internal', 70_000);
  // What the first four left of their block may serve the fifth.
  expect(await usesOf()).toBeGreaterThanOrEqual(4 * 1000 + 70_000);
  exhaust(one, 70_000);
  for (const seal of granted) exhaust(seal, 1000);
});

test('uses are reserved in blocks and listed without a key', async () => {
  const list = await readKeyList(ctx, { limit: 100 });
  const epoch = list.find((key) => key.purpose === 'epoch' && key.dataClass === 'confidential');
  expect(epoch?.usageCount).toBeGreaterThanOrEqual(65_536);
  expect(list.find((key) => key.purpose === 'kek')).toMatchObject({ kekGeneration: 1, usageCount: 0 });
  expect(JSON.stringify(list)).not.toContain(Buffer.from((await ctx.keys.secret('pseudonym')).key).toString('hex'));
});

test('eight processes that need the first key of a day at once all get the same one', async () => {
  const children = Array.from({ length: 8 }, () =>
    fork(
      new URL('./epoch-race.ts', import.meta.url),
      [db.url('auditkeep_engine'), ctx.config.home, '2026-07-01T00:00:00Z'],
      {
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      },
    ),
  );
  const message = z.union([z.object({ ready: z.literal(true) }), z.object({ keyIds: z.array(z.string()) })]);
  await Promise.all(children.map((child) => once(child, 'message')));
  const answers = children.map(async (child) => {
    const answer = once(child, 'message');
    child.send('go');
    return message.parse((await answer)[0]);
  });
  const results = await Promise.all(answers);
  const distinct = new Set(results.map((result) => JSON.stringify(result)));
  expect([...distinct]).toHaveLength(1);
  const rows = await sql(
    z.object({ count: z.bigint() }),
    `select count(*) from security_secret.encryption_keys where purpose = 'epoch' and epoch_day = '2026-07-01'`,
  );
  expect(rows[0]?.count).toBe(2n);
});
