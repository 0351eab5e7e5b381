import { EventEmitter } from 'node:events';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { copyIn, copyOut } from '../../src/db/copy.ts';
import { queryOne } from '../../src/db/query.ts';
import { streamRows } from '../../src/db/stream.ts';
import { transact } from '../../src/db/transaction.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();
const count = z.object({ rows: z.bigint() });

// The pool may give the same connection to two tests.
const createNumbers = 'drop table if exists pg_temp.numbers; create temp table numbers (n integer)';

function* lines(amount: number): Generator<Buffer> {
  for (let i = 0; i < amount; i++) yield Buffer.from(`${i}\n`);
}

describe('copyIn', () => {
  test('stores all rows and leaves the connection usable', async () => {
    await db.engine.withClient(async (client) => {
      await client.query(createNumbers);
      expect(await copyIn(client, 'copy pg_temp.numbers from stdin', lines(50_000))).toBe(50_000);
      expect(await queryOne(client, count, 'select count(*) as rows from pg_temp.numbers')).toEqual({ rows: 50_000n });
    });
  });

  test('an error of the source fails the statement and the transaction; the connection stays usable', async () => {
    function* broken(): Generator<Buffer> {
      yield* lines(10);
      throw new Error('the source broke');
    }
    await db.engine.withClient(async (client) => {
      await client.query(createNumbers);
      const run = transact(client, () => copyIn(client, 'copy pg_temp.numbers from stdin', broken()));
      await expect(run).rejects.toThrow('the source broke');
      expect(await queryOne(client, count, 'select count(*) as rows from pg_temp.numbers')).toEqual({ rows: 0n });
    });
  });

  test('an error of the server reaches the caller', async () => {
    await db.engine.withClient(async (client) => {
      await client.query(createNumbers);
      const run = copyIn(client, 'copy pg_temp.numbers from stdin', [Buffer.from('x\n')]);
      await expect(run).rejects.toMatchObject({ code: '22P02' });
      expect(await queryOne(client, count, 'select count(*) as rows from pg_temp.numbers')).toEqual({ rows: 0n });
    });
  });
});

describe('copyOut', () => {
  const statement = 'copy (select n from generate_series(1, 200000) n) to stdout';

  test('gives all bytes in order', async () => {
    await db.engine.withClient(async (client) => {
      const chunks: Buffer[] = [];
      for await (const chunk of copyOut(client, statement)) chunks.push(chunk);
      const numbers = Buffer.concat(chunks).toString().trimEnd().split('\n').map(Number);
      expect(numbers).toEqual(Array.from({ length: 200_000 }, (_, i) => i + 1));
      expect(chunks.length).toBeGreaterThan(1);
    });
  });

  test('gives whole rows, also one larger than many chunks, each copied once', async () => {
    await db.engine.withClient(async (client) => {
      const sizes: number[] = [];
      const wide = `copy (select repeat('x', case n when 2 then 30000000 else 100000 end) from generate_series(1, 5) n) to stdout`;
      for await (const chunk of copyOut(client, wide)) {
        expect(chunk.at(-1)).toBe(10);
        expect(chunk.buffer.byteLength).toBeLessThan(2 * chunk.length + 300_000);
        sizes.push(chunk.length);
      }
      expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(30_400_005);
      expect(Math.max(...sizes)).toBe(30_000_001);
    });
  });

  test('leaves notices and errors of other statements to pg', async () => {
    await db.engine.withClient(async (client) => {
      const notices: unknown[] = [];
      client.on('notice', (notice) => notices.push(notice.message));
      await client.query(`create function pg_temp.loud(n integer) returns integer language plpgsql as
        $$ begin if n % 1000 = 0 then raise notice 'at %', n; end if; return n; end $$`);
      const chunks: Buffer[] = [];
      for await (const chunk of copyOut(
        client,
        'copy (select pg_temp.loud(n) from generate_series(1, 3000) n) to stdout',
      ))
        chunks.push(chunk);
      expect(Buffer.concat(chunks).toString().split('\n')).toHaveLength(3001);
      expect(notices).toEqual(['at 1000', 'at 2000', 'at 3000']);
      await expect(client.query('select 1 / 0')).rejects.toMatchObject({ code: '22012' });
    });
  });

  test('where pg listens in another way the caller is told, at once or behind another query, and the connection is usable', async () => {
    await db.engine.withClient(async (client) => {
      const connection: unknown = Reflect.get(client, 'connection');
      if (typeof connection !== 'object' || connection === null) throw new Error('no connection');
      const stream: unknown = Reflect.get(connection, 'stream');
      if (!(stream instanceof EventEmitter)) throw new Error('no stream');
      const other = () => undefined;
      stream.on('data', other);
      const read = async () => {
        for await (const chunk of copyOut(client, statement)) expect(chunk).toBeUndefined();
      };
      await expect(read()).rejects.toThrow('pg listens in another way than before');
      const before = client.query('select pg_sleep(0.05)');
      await expect(read()).rejects.toThrow('pg listens in another way than before');
      await before;
      stream.off('data', other);
      expect(await queryOne(client, count, 'select 1::bigint as rows')).toEqual({ rows: 1n });
      for await (const chunk of copyOut(client, statement)) expect(chunk.length).toBeGreaterThan(0);
    });
  });

  test('leaving early leaves the connection usable', async () => {
    await db.engine.withClient(async (client) => {
      for await (const chunk of copyOut(client, statement)) {
        expect(chunk.length).toBeGreaterThan(0);
        break;
      }
      expect(await queryOne(client, count, 'select 1::bigint as rows')).toEqual({ rows: 1n });
    });
  });

  test('an error of the server reaches the caller', async () => {
    await db.engine.withClient(async (client) => {
      const read = async () => {
        for await (const chunk of copyOut(client, 'copy (select 1 / (5 - n) from generate_series(1, 9) n) to stdout'))
          expect(chunk).toBeDefined();
      };
      await expect(read()).rejects.toMatchObject({ code: '22012' });
      expect(await queryOne(client, count, 'select 1::bigint as rows')).toEqual({ rows: 1n });
    });
  });
});

describe('streamRows', () => {
  const shape = z.object({ n: z.bigint() });

  test('gives batches of the size asked for, int8 as bigint', async () => {
    await db.engine.withClient(async (client) => {
      const text = 'select n::bigint as n from generate_series(1, $1::integer) n';
      const sizes: number[] = [];
      let sum = 0n;
      for await (const batch of streamRows(client, { shape, text, values: [2500], batchSize: 1000 })) {
        sizes.push(batch.length);
        sum += batch.reduce((total, row) => total + row.n, 0n);
      }
      expect(sizes).toEqual([1000, 1000, 500]);
      expect(sum).toBe(3_126_250n);
    });
  });

  test('leaving early closes the cursor', async () => {
    await db.engine.withClient(async (client) => {
      const text = 'select n::bigint as n from generate_series(1, 100000) n';
      for await (const batch of streamRows(client, { shape, text, batchSize: 10 })) {
        expect(batch).toHaveLength(10);
        break;
      }
      expect(await queryOne(client, count, 'select 2::bigint as rows')).toEqual({ rows: 2n });
    });
  });

  test('an error of the server reaches the caller', async () => {
    await db.engine.withClient(async (client) => {
      const text = 'select (1 / (5 - n))::bigint as n from generate_series(1, 9) n';
      const read = async () => {
        for await (const batch of streamRows(client, { shape, text, batchSize: 2 })) expect(batch).toBeDefined();
      };
      await expect(read()).rejects.toMatchObject({ code: '22012' });
    });
  });
});
