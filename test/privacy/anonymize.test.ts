import { beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { withSessionLock } from '../../src/db/advisory-lock.ts';
import { type Database, openDatabase } from '../../src/db/database.ts';
import { execute, queryOne } from '../../src/db/query.ts';
import { anonymizeJob } from '../../src/jobs/anonymize.ts';
import { anonymizeTransactions, planAnonymization } from '../../src/privacy/anonymize.ts';
import { measureRisk } from '../../src/privacy/risk.ts';
import { testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { insertTransactions, makeChain, readLeft } from './ethereum.ts';

const db = useDatabase();
const change = (text: string, values: string[] = []) => db.admin.withClient((client) => execute(client, text, values));
const count = async (where: string) => {
  const row = await db.admin.withClient((client) =>
    queryOne(
      client,
      z.object({ count: z.bigint() }),
      `select count(*) from security_confidential.transactions where ${where}`,
    ),
  );
  return Number(row.count);
};

beforeEach(async () => {
  await change('delete from security_confidential.transactions');
  await change('delete from privacy.anonymized_transaction');
});

test('younger rows and the running day stay as they are', async () => {
  const ctx = await testContext(db);
  await db.admin.withClient((client) => insertTransactions(ctx, client, makeChain(20, '2024-03-15', 'a')));
  await db.admin.withClient((client) => insertTransactions(ctx, client, makeChain(20, '2024-03-14', 'b')));
  const result = await anonymizeTransactions(ctx);
  expect(result).toMatchObject({ before: '2024-03-15T00:00:00.000Z', pseudonymized: 20 });
  expect(await count('anonymization_level is null and from_address_encrypted is not null')).toBe(20);
  expect(await planAnonymization(ctx, { before: '2024-03-16' })).toMatchObject({ due: 20 });
  expect(await planAnonymization(ctx)).toMatchObject({ due: 0, young: 20 });
});

test('rows that would be too rare lose more, and alone they are never called anonymous', async () => {
  const ctx = await testContext(db);
  await db.admin.withClient((client) => insertTransactions(ctx, client, makeChain(1)));
  const result = await anonymizeTransactions(ctx);
  expect(result).toMatchObject({ pseudonymized: 1, anonymized: 0 });
  expect(result.risk).toMatchObject({ k: 1, uniquelyLinked: 1, uniquelyLinkedShare: 1, thresholdsMet: false });
  expect(result.risk.reasons).toHaveLength(1);
  const [row] = await db.admin.withClient(readLeft);
  expect(row).toMatchObject({ level: 5, anonymized: false, pseudonymFrom: null, bucket: null, day: '2022-01-01' });
  // Company arrives in the same year: the row is measured again and may now be called anonymous.
  const more = ['02', '04', '06', '08', '10'].flatMap((month, index) =>
    makeChain(1, `2022-${month}-01`, String(index)),
  );
  await db.admin.withClient((client) => insertTransactions(ctx, client, more));
  expect(await anonymizeTransactions(ctx)).toMatchObject({ pseudonymized: 5, anonymized: 6 });
  expect(await measureRisk(ctx)).toMatchObject({ rows: 6, k: 6, uniquelyLinked: 0, thresholdsMet: true });
});

test('while more than 1 % are linked no row of the set is called anonymous, and it is taken back where it was', async () => {
  const ctx = await testContext(db);
  await db.admin.withClient((client) => insertTransactions(ctx, client, makeChain(20)));
  expect(await anonymizeTransactions(ctx)).toMatchObject({ anonymized: 20 });
  await db.admin.withClient((client) => insertTransactions(ctx, client, makeChain(1, '2020-05-05', 'e')));
  const result = await anonymizeTransactions(ctx);
  expect(result).toMatchObject({ pseudonymized: 1, anonymized: 0, risk: { uniquelyLinked: 1, thresholdsMet: false } });
  expect(await count('anonymized')).toBe(0);
});

test('the structure around a pseudonym counts: an address with a number of rows of its own gives itself away', async () => {
  const ctx = await testContext(db);
  const even = makeChain(30).map((row, index) => ({
    ...row,
    value: '100',
    from: `0x${(index < 3 ? 99 : index).toString(16).padStart(40, '0')}`,
    to: `0x${(1000 + index).toString(16).padStart(40, '0')}`,
  }));
  await db.admin.withClient((client) => insertTransactions(ctx, client, even));
  await anonymizeTransactions(ctx);
  const left = await db.admin.withClient(readLeft);
  // The three rows of the one busy sender are a class of 3, below k = 5, and lose their pseudonyms and more.
  expect(left.filter((row) => row.level > 1)).toHaveLength(3);
  expect(left.filter((row) => row.anonymized)).toHaveLength(27);
});

test('a pseudonym that is there already is kept, never pseudonymized again', async () => {
  const ctx = await testContext(db);
  await db.admin.withClient((client) => insertTransactions(ctx, client, makeChain(20)));
  const given = `p1.00000000000000aa.${'x'.repeat(43)}`;
  await change(`update security_confidential.transactions set pseudonym_from = $1, from_address_encrypted = null`, [
    given,
  ]);
  await anonymizeTransactions(ctx);
  const left = await db.admin.withClient(readLeft);
  expect(left.filter((row) => row.pseudonymFrom !== null).length).toBeGreaterThan(0);
  for (const row of left) expect([null, given]).toContain(row.pseudonymFrom);
});

test('a row that cannot be read stays as it is and is counted, the others go on', async () => {
  const ctx = await testContext(db);
  const ids = await db.admin.withClient((client) => insertTransactions(ctx, client, makeChain(30)));
  const [first = '', second = ''] = ids;
  await change(
    `update security_confidential.transactions t set value_encrypted = o.from_address_encrypted
       from security_confidential.transactions o where t.id = $1::uuid and o.id = $1::uuid`,
    [first],
  );
  await change(
    `update security_confidential.transactions set value_encrypted = left(value_encrypted, -3) || 'AAA' where id = $1::uuid`,
    [second],
  );
  const result = await anonymizeTransactions(ctx);
  expect(result).toMatchObject({ pseudonymized: 28, unreadable: { CONTEXT_MISMATCH: 1, TAMPERED: 1 } });
  expect(await count(`id in ('${first}', '${second}') and anonymization_level is null`)).toBe(2);
});

test('a foreign key that refers to transactions blocks the run before anything changes', async () => {
  const ctx = await testContext(db);
  await db.admin.withClient((client) => insertTransactions(ctx, client, makeChain(10)));
  await change('create table public.receipt (t uuid references security_confidential.transactions (id))');
  await expect(anonymizeTransactions(ctx)).rejects.toMatchObject({ code: 'ANONYMIZE_BLOCKED' });
  expect((await planAnonymization(ctx)).blockers).toHaveLength(1);
  await change('drop table public.receipt');
  expect(await count('anonymization_level is not null')).toBe(0);
});

test('a second run at the same time is refused', async () => {
  const ctx = await testContext(db);
  await db.engine.withClient((client) =>
    withSessionLock(client, 'anonymize', 'exclusive', async () => {
      await expect(anonymizeTransactions(ctx)).rejects.toMatchObject({ code: 'DB_LOCKED' });
    }),
  );
  await expect(anonymizeTransactions(ctx)).resolves.toMatchObject({ pseudonymized: 0 });
});

test('a date that is none, or in the future, is refused', async () => {
  const ctx = await testContext(db);
  for (const before of ['2024-02-30', 'soon', '2026-03-16', '2024-01-01 00:00']) {
    expect(() => planAnonymization(ctx, { before })).toThrow(expect.objectContaining({ code: 'INPUT_INVALID' }));
  }
});

test('the job reports counts, and a finding where the gate does not pass', async () => {
  const ctx = await testContext(db);
  await db.admin.withClient((client) => insertTransactions(ctx, client, makeChain(40)));
  const job = anonymizeJob as unknown as { run: (c: typeof ctx, i: object, s: AbortSignal) => Promise<object> };
  const stopped = AbortSignal.abort();
  expect(await job.run(ctx, {}, stopped)).toMatchObject({ counts: { pseudonymized: 0, anonymized: 0 } });
  expect(await job.run(ctx, {}, new AbortController().signal)).toMatchObject({
    counts: { pseudonymized: 40, anonymized: 40, unreadable: 0, uniquelyLinked: 0, rows: 40 },
    findings: false,
  });
});

describe('killed and run again', () => {
  /** A pool whose backend is terminated when it is about to run the n-th statement that holds a text. */
  function killedAt(text: string, nth: number): Database {
    const inner = openDatabase({ url: db.url('auditkeep_engine'), applicationName: 'to-be-killed' });
    let seen = 0;
    return {
      end: () => inner.end(),
      withClient: (fn) =>
        inner.withClient(async (client) => {
          const { pid } = await queryOne(client, z.object({ pid: z.number() }), 'select pg_backend_pid() as pid');
          const query = client.query.bind(client) as (statement: string, values?: unknown[]) => Promise<unknown>;
          const wrapped = new Proxy(client, {
            get(target, property) {
              if (property !== 'query') return Reflect.get(target, property) as unknown;
              return async (statement: string, values?: unknown[]) => {
                if (statement.includes(text)) seen += 1;
                if (statement.includes(text) && seen === nth)
                  await change('select pg_terminate_backend($1::int)', [String(pid)]);
                return values === undefined ? query(statement) : query(statement, values);
              };
            },
          });
          client.once('error', () => undefined);
          return fn(wrapped);
        }),
    };
  }

  test.each([
    ['after the rows of the second chunk were replaced, before its event', 'insert into audit.audit_log', 2],
    ['before the second chunk', 'privacy.pseudonymize_transactions', 2],
    ['while generalising', 'privacy.generalize_transactions', 1],
    ['while writing the verdicts', 'privacy.set_anonymized', 1],
  ])('%s, nothing is lost and nothing done twice', async (_when, text, nth) => {
    const ctx = await testContext(db);
    // 1,203 rows are two chunks; the last three are rare, so that something is generalised.
    const chain = [...makeChain(1200), ...makeChain(3, '2021-01-05', 'f')];
    const ids = await db.admin.withClient((client) => insertTransactions(ctx, client, chain));
    const killed = killedAt(text, nth);
    await expect(anonymizeTransactions({ ...ctx, db: killed })).rejects.toMatchObject({ code: 'DB_UNREACHABLE' });
    await killed.end();
    const between = await db.admin.withClient(readLeft);
    expect(await count('true')).toBe(1203);
    if (nth === 2) expect(between).toHaveLength(1000);
    const result = await anonymizeTransactions(ctx);
    expect(result.pseudonymized).toBe(1203 - between.length);
    const left = await db.admin.withClient(readLeft);
    expect(left).toHaveLength(1203);
    // Rows of the first run are the same rows, with the same pseudonyms or fewer.
    const known = new Map(left.map((row) => [row.id, row]));
    for (const row of between) expect([null, row.pseudonymFrom]).toContain(known.get(row.id)?.pseudonymFrom);
    expect(left.filter((row) => row.anonymized)).toHaveLength(1200);
    const { remembered, events } = await db.admin.withClient((client) =>
      queryOne(
        client,
        z.object({ remembered: z.bigint(), events: z.bigint() }),
        `select (select count(*) from privacy.anonymized_transaction where import_id = any($1::uuid[])) as remembered,
                (select sum((additional_data ->> 'rows')::int) from audit.audit_log_all
                  where event_type = 'transactions.pseudonymized' and additional_data ->> 'before' = $2) as events`,
        [ids, result.before],
      ),
    );
    expect(remembered).toBe(1203n);
    expect(events).toBeGreaterThanOrEqual(1203n);
  });
});
