/** What a run leaves where nobody looks first: statistics, pseudonyms of others, ids in memory, rows that are not due. */
import { beforeEach, expect, test } from 'vitest';
import { z } from 'zod';
import type { Database } from '../../src/db/database.ts';
import { execute, queryOne } from '../../src/db/query.ts';
import { anonymizeTransactions, planAnonymization } from '../../src/privacy/anonymize.ts';
import { testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { insertTransactions, makeChain, readLeft } from './ethereum.ts';

const db = useDatabase();
const change = (text: string, values: string[] = []) => db.admin.withClient((client) => execute(client, text, values));

beforeEach(() => change('delete from security_confidential.transactions'));

test('the planner’s statistics hold nothing of what was taken away', async () => {
  const ctx = await testContext(db);
  await db.admin.withClient((client) => insertTransactions(ctx, client, makeChain(200)));
  await change('analyze security_confidential.transactions');
  const statistics = async () => {
    const row = await db.engine.withClient((client) =>
      queryOne(
        client,
        z.object({ text: z.string() }),
        `select coalesce(string_agg(concat_ws(' ', attname, most_common_vals::text, histogram_bounds::text), ' '), '') as text
           from pg_catalog.pg_stats where schemaname = 'security_confidential' and tablename = 'transactions'`,
      ),
    );
    return row.text;
  };
  const traces = [/0xa0{60}/, /block_height \{?\d/, /gas_used \{?\d/, /2022-05-10 (?!00:00:00)\d\d:/, /0xc{64}/];
  const before = await statistics();
  for (const trace of traces.slice(0, 2)) expect(before).toMatch(trace);
  await anonymizeTransactions(ctx);
  const after = await statistics();
  expect(after).toContain('confirmed_at');
  for (const trace of traces) expect(after).not.toMatch(trace);
});

test('what stands in a pseudonym’s place without being one does not survive', async () => {
  const ctx = await testContext(db);
  await db.admin.withClient((client) => insertTransactions(ctx, client, makeChain(20)));
  const address = `0x${'d'.repeat(40)}`;
  await change(
    `update security_confidential.transactions
        set pseudonym_from = $1, pseudonym_to = 'p1.00000000000000aa.short', to_address_encrypted = null`,
    [address],
  );
  await anonymizeTransactions(ctx);
  const left = await db.admin.withClient(readLeft);
  expect(left).toHaveLength(20);
  expect(left.some((row) => row.pseudonymFrom !== null)).toBe(true);
  for (const row of left) {
    expect(row.pseudonymFrom ?? 'p1.').toMatch(/^p1\./);
    expect(row.pseudonymFrom).not.toBe(address);
    expect(row.pseudonymTo).toBeNull();
  }
  await expect(
    change(`update security_confidential.transactions set pseudonym_from = $1`, [address]),
  ).rejects.toMatchObject({ code: '23514' });
});

test('rows the policy does not let go are not touched, whatever date is asked for', async () => {
  const ctx = await testContext(db);
  await db.admin.withClient((client) => insertTransactions(ctx, client, makeChain(20, '2025-01-01')));
  await expect(anonymizeTransactions(ctx, { before: '2025-02-01' })).rejects.toMatchObject({
    code: 'ANONYMIZE_NOT_DUE',
  });
  await expect(anonymizeTransactions(ctx, { before: '2024-03-16' })).rejects.toMatchObject({
    code: 'ANONYMIZE_NOT_DUE',
  });
  expect(await planAnonymization(ctx, { before: '2025-02-01' })).toMatchObject({
    due: 20,
    blockers: [expect.stringContaining('2024-03-15')],
  });
  expect(await planAnonymization(ctx, { before: '2024-03-15' })).toMatchObject({ blockers: [] });
  await expect(anonymizeTransactions(ctx, { before: '2024-03-15' })).resolves.toMatchObject({ pseudonymized: 0 });
  await expect(
    db.engine.withClient((client) =>
      execute(
        client,
        `select privacy.pseudonymize_transactions(now() - interval '700 days', '{}', '{}', '{}', '{}', '{}', '{}')`,
      ),
    ),
  ).rejects.toMatchObject({ code: 'AK030' });
});

test('no query of a run gives more rows than a chunk has', async () => {
  const ctx = await testContext(db);
  // One row a day: each is alone, so that all 2,500 lose more, pass after pass.
  await db.admin.withClient((client) => insertTransactions(ctx, client, makeChain(1)));
  await change(
    `insert into security_confidential.transactions
            (transaction_hash, network_id, anonymized, anonymization_level, status, created_at, confirmed_at)
     select 's1.' || n, network_id, false, 3, status, day, day
       from security_confidential.transactions,
            generate_series(1, 2500) n, lateral (select timestamptz '2015-01-01Z' + n * interval '1 day' as day) d`,
  );
  let most = 0;
  const watched: Database = {
    end: () => db.engine.end(),
    withClient: (fn) =>
      db.engine.withClient((client) => {
        const query = client.query.bind(client) as (...of: unknown[]) => Promise<{ rows: unknown[] }>;
        const counting = async (...of: unknown[]) => {
          const result = await query(...of);
          most = Math.max(most, result.rows.length);
          return result;
        };
        return fn(
          new Proxy(client, {
            get: (target, name) => (name === 'query' ? counting : (Reflect.get(target, name) as unknown)),
          }),
        );
      }),
  };
  const result = await anonymizeTransactions({ ...ctx, db: watched });
  expect(result.generalized).toBeGreaterThan(2500);
  expect(result.anonymized).toBeGreaterThan(2400);
  expect(most).toBe(1000);
});
