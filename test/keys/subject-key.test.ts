import { randomUUID } from 'node:crypto';
import { beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { execute, queryRows } from '../../src/db/query.ts';
import type { CellContext, Keyring } from '../../src/keys/keyring.ts';
import { openKeyring } from '../../src/keys/open-keyring.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();
const cell: CellContext = {
  table: 'compliance.report_file',
  column: 'envelope',
  rowId: 'r',
  dataClass: 'confidential',
};
const plaintext = Buffer.from('somebody');
let ctx: TestContext;

beforeAll(async () => {
  ctx = await testContext(db);
});

const freshKeyring = (): Keyring =>
  openKeyring({ db: db.engine, clock: ctx.clock, home: ctx.config.home, actor: ctx.actor });
const rows = <T>(shape: z.ZodType<T>, text: string, values: (string | readonly string[])[] = []) =>
  db.admin.withClient((client) => queryRows(client, shape, text, values));
const change = (text: string, values: string[] = []) => db.admin.withClient((client) => execute(client, text, values));
const subjectIdOf = (envelope: string) => Buffer.from(envelope.slice(4), 'base64url').toString('hex', 10, 18);
const sealFor = async (person: string, keys: Keyring = ctx.keys) =>
  (await keys.subjectSealer('confidential', [person]))(person, cell, plaintext) ?? 'withheld';

test('each person has one key, the same in every process; a cell opens with it only', async () => {
  const [ada, bob] = [randomUUID(), `address:${'a'.repeat(64)}`];
  const [first, again, other] = [await sealFor(ada), await sealFor(ada, freshKeyring()), await sealFor(bob)];
  expect(subjectIdOf(again)).toBe(subjectIdOf(first));
  expect(subjectIdOf(other)).not.toBe(subjectIdOf(first));
  const opened = await freshKeyring().openEach([first, other].map((envelope) => ({ context: cell, envelope })));
  expect(opened.map((bytes) => Buffer.from(bytes ?? []).toString())).toEqual(['somebody', 'somebody']);
  expect(Buffer.from(await freshKeyring().open(cell, first))).toEqual(plaintext);
  // Under the key of another person the commitment is another.
  const bytes = Buffer.from(first.slice(4), 'base64url');
  bytes.write(subjectIdOf(other), 10, 'hex');
  const swapped = `ak1.${bytes.toString('base64url')}`;
  await expect(ctx.keys.open(cell, swapped)).rejects.toMatchObject({ code: 'CONTEXT_MISMATCH' });
  bytes.write('00000000000000aa', 10, 'hex');
  const unknown = `ak1.${bytes.toString('base64url')}`;
  await expect(ctx.keys.open(cell, unknown)).rejects.toMatchObject({ code: 'KEY_UNKNOWN' });
  await expect(ctx.keys.openEach([{ context: cell, envelope: unknown }])).rejects.toMatchObject({
    code: 'KEY_UNKNOWN',
  });
});

test('the database does not know whose a key is, and keys of a batch are one event', async () => {
  const persons = Array.from({ length: 1001 }, () => randomUUID());
  const before = await rows(z.object({ n: z.bigint() }), COUNT_EVENTS);
  const seal = await ctx.keys.subjectSealer('confidential', persons);
  const ids = persons.map((person) => subjectIdOf(seal(person, cell, plaintext) ?? ''));
  expect(new Set(ids).size).toBe(1001);
  const events = await rows(
    z.object({ count: z.number(), ids: z.array(z.string()), service: z.string() }),
    `select (l.additional_data ->> 'count')::integer as count, array(select jsonb_array_elements_text(l.additional_data -> 'keyIds')) as ids,
            l.service_name as service
       from audit.audit_log_all l where l.event_type = 'key.created' and l.additional_data ->> 'purpose' = 'subject'
      order by 1 desc`,
  );
  expect(events.length).toBe(Number(before[0]?.n) + 2);
  expect(events[0]).toMatchObject({ count: 1000, service: 'test' });
  expect(events.flatMap((event) => event.ids)).toEqual(expect.arrayContaining(ids));
  const found = await rows(
    z.object({ n: z.bigint() }),
    `select count(*) as n from security_secret.subject_key s, unnest($1::text[]) p where s::text like '%' || p || '%'`,
    [persons.slice(0, 20)],
  );
  expect(found[0]?.n).toBe(0n);
  expect(() => seal(persons[0] ?? '', cell, plaintext)).toThrow(RangeError);
  expect(() => seal('somebody else', cell, plaintext)).toThrow(RangeError);
});

const COUNT_EVENTS = `select count(*) as n from audit.audit_log_all l
  where l.event_type = 'key.created' and l.additional_data ->> 'purpose' = 'subject'`;

test('a destroyed key opens nothing at once, also in a key ring that used it, and is never made again', async () => {
  for (const status of ['destroyed', 'fenced']) {
    const [gone, kept] = [randomUUID(), randomUUID()];
    const envelopes = [await sealFor(gone), await sealFor(kept)];
    await ctx.keys.open(cell, envelopes[0] ?? '');
    const keyId = subjectIdOf(envelopes[0] ?? '');
    await change(`delete from security_secret.key_wrap where key_id = $1`, [keyId]);
    await change(`update security_secret.encryption_keys set status = '${status}' where key_id = $1`, [keyId]);
    await expect(ctx.keys.open(cell, envelopes[0] ?? '')).rejects.toMatchObject({ code: 'KEY_DESTROYED' });
    const opened = await ctx.keys.openEach(envelopes.map((envelope) => ({ context: cell, envelope })));
    expect(
      opened.map((bytes) => bytes === null),
      status,
    ).toEqual([true, false]);
    expect(await sealFor(gone), status).toBe('withheld');
    expect(await sealFor(gone, freshKeyring()), status).toBe('withheld');
  }
});

test('a key about to be destroyed encrypts nothing and still opens; a compromised one is refused', async () => {
  const person = randomUUID();
  const envelope = await sealFor(person);
  const set = (status: string) =>
    change(`update security_secret.encryption_keys set status = $2 where key_id = $1`, [subjectIdOf(envelope), status]);
  await set('pending_destruction');
  expect(await sealFor(person)).toBe('withheld');
  expect(Buffer.from(await ctx.keys.open(cell, envelope))).toEqual(plaintext);
  await set('revoked');
  await expect(sealFor(person)).rejects.toMatchObject({ code: 'KEY_REVOKED' });
});

test('a subject key has no recovery or escrow wrap, and the engine cannot give one away', async () => {
  const keyId = subjectIdOf(await sealFor(randomUUID()));
  for (const kind of ['recovery', 'escrow']) {
    const copy = `insert into security_secret.key_wrap (key_id, kind, kek_id, kek_generation, wrapped)
      select key_id, '${kind}', kek_id, kek_generation, wrapped from security_secret.key_wrap where key_id = $1`;
    await expect(change(copy, [keyId])).rejects.toThrow(/primary wrap only/);
    await expect(
      change(`update security_secret.key_wrap set kind = '${kind}' where key_id = $1`, [keyId]),
    ).rejects.toThrow(/primary wrap only/);
  }
  const swap = `update security_secret.subject_key set key_id = key_id`;
  await expect(db.engine.withClient((client) => execute(client, swap))).rejects.toMatchObject({ code: 'DB_PRIVILEGE' });
});

test('key rings that need the keys of the same persons at once get the same ones', async () => {
  const persons = Array.from({ length: 300 }, () => randomUUID());
  const orders = [persons, [...persons].reverse(), [...persons].sort(), persons];
  const results = await Promise.all(
    orders.map(async (order) => {
      const seal = await freshKeyring().subjectSealer('confidential', order);
      return persons.map((person) => subjectIdOf(seal(person, cell, plaintext) ?? ''));
    }),
  );
  expect(new Set(results.map((ids) => ids.join())).size).toBe(1);
  const wraps = await rows(
    z.object({ keys: z.bigint(), wraps: z.bigint(), subjects: z.bigint() }),
    `select (select count(*) from security_secret.encryption_keys where purpose = 'subject') as keys,
            (select count(*) from security_secret.subject_key) as subjects,
            (select count(*) from security_secret.key_wrap w join security_secret.encryption_keys k using (key_id)
              where k.purpose = 'subject' or k.status in ('destroyed', 'fenced'))
              + (select count(*) from security_secret.encryption_keys where status in ('destroyed', 'fenced')) as wraps`,
  );
  expect(wraps[0]?.keys).toBe(wraps[0]?.subjects);
  expect(wraps[0]?.wraps).toBe(wraps[0]?.keys);
});
