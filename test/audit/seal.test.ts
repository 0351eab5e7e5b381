/** The sealer against concurrent writers, open transactions, cut-short rounds and kills. */
import { join } from 'node:path';
import { pino } from 'pino';
import { beforeAll, describe, expect, it } from 'vitest';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { useDatabase } from '../support/database.ts';
import { addEvents, column, insertEvents } from './event-fixtures.ts';

const log = pino({ level: 'silent' });
/** A home that never signed, so that nothing is known about the log outside the database. */
const config = { home: join(import.meta.dirname, 'no-home'), origin: 'test.example/audit', witnesses: [] };

/** Events that are linked not exactly once, and links whose leaf is not the one SQL computes. */
const WRONG = `
  select e.id from audit.audit_log e left join audit.chain_link l on l.event_id = e.id
   group by e.id having count(l.seq) <> 1
  union all
  select e.id from audit.audit_log e join audit.chain_link l on l.event_id = e.id
   where l.leaf <> audit.event_leaf(e) or l.event_timestamp <> e.event_timestamp or l.txid <> e.txid`;

/** The chain hashes recomputed in SQL from genesis. */
const BROKEN = `
  select l.seq from audit.chain_link l left join audit.chain_link p on p.seq = l.seq - 1
   where l.chain_hash <> sha256('\\x02'::bytea || coalesce(p.chain_hash, decode(repeat('00', 32), 'hex'))
                                || int8send(l.seq) || l.leaf)
      or (p.seq is null and l.seq <> 0)`;

describe('sealChain', () => {
  const db = useDatabase();
  const ctx = { db: db.engine, log, config };

  it('links every committed event once, in dense order, with the leaf that SQL computes', async () => {
    await addEvents(db.engine, 250);
    expect(await sealChain(ctx, { batchSize: 100 })).toEqual({ sealed: 250, size: 250n, batches: 3, complete: true });
    expect(await column(db.admin, WRONG)).toEqual([]);
    expect(await column(db.admin, BROKEN)).toEqual([]);
    expect(await column(db.admin, 'select size from audit.chain_head')).toEqual([250n]);
  });

  it('does nothing when there is nothing new', async () => {
    expect(await sealChain(ctx)).toEqual({ sealed: 0, size: 250n, batches: 1, complete: true });
  });

  it('links the rows of a transaction that was open during earlier seals once it commits', async () => {
    const sizes = await db.engine.withClient(async (writer) => {
      await writer.query('begin');
      await insertEvents(writer, 3, 1000);
      await addEvents(db.engine, 5, 2000);
      const during = await sealChain(ctx);
      await addEvents(db.engine, 5, 3000);
      const again = await sealChain(ctx);
      await writer.query('commit');
      return [during.sealed, again.sealed];
    });
    expect(sizes).toEqual([5, 5]);
    expect((await sealChain(ctx)).sealed).toBe(3);
    expect(await column(db.admin, WRONG)).toEqual([]);
  });

  it('goes on with a round that was cut short, and then with what came since', async () => {
    await addEvents(db.engine, 30, 4000);
    const cut = await sealChain(ctx, { maxBatches: 1, batchSize: 10 });
    expect(cut).toMatchObject({ sealed: 10, complete: false });
    await addEvents(db.engine, 7, 5000);
    const rest = await sealChain(ctx, { batchSize: 10 });
    expect(rest).toMatchObject({ sealed: 27, complete: true });
    expect(await column(db.admin, WRONG)).toEqual([]);
  });

  it('misses and doubles nothing while writers commit, roll back and use savepoints', async () => {
    let writing = true;
    const writers = Array.from({ length: 4 }, (_, writer) => write(writer));
    const sealer = (async () => {
      while (writing) await sealChain(ctx, { batchSize: 50 });
    })();
    const written = await Promise.all(writers);
    writing = false;
    await sealer;
    await sealChain(ctx);
    const kept = `select count(*) from audit.audit_log where event_action ~ '^ACTION-[1-4][0-9]{4}$'`;
    expect(await column(db.admin, kept)).toEqual([BigInt(written.reduce((sum, n) => sum + n, 0))]);
    expect(await column(db.admin, WRONG)).toEqual([]);
    expect(await column(db.admin, BROKEN)).toEqual([]);

    async function write(writer: number): Promise<number> {
      let committed = 0;
      for (let round = 0; round < 20; round += 1) {
        await db.engine.withClient(async (client) => {
          await client.query('begin');
          await insertEvents(client, 2, 10_000 * (writer + 1) + round * 10);
          await client.query('savepoint s');
          await insertEvents(client, 1, 90_000);
          await client.query('rollback to savepoint s');
          await client.query(round % 4 === 3 ? 'rollback' : 'commit');
        });
        if (round % 4 !== 3) committed += 2;
        if (round % 4 === 3) {
          await addEvents(db.engine, 2, 10_000 * (writer + 1) + round * 10);
          committed += 2;
        }
      }
      return committed;
    }
  });

  it('refuses a batch size that would never end', async () => {
    await expect(sealChain(ctx, { batchSize: 0 })).rejects.toThrow(RangeError);
  });

  it('lets only one sealer work', async () => {
    await db.engine.withClient(async (other) => {
      await other.query('select pg_catalog.pg_advisory_lock($1, $2)', [0x616b, 2]);
      await addEvents(db.engine, 1, 99_000);
      expect(await sealChain(ctx)).toMatchObject({ sealed: 0, complete: false });
      await other.query('select pg_catalog.pg_advisory_unlock($1, $2)', [0x616b, 2]);
    });
    expect((await sealChain(ctx)).sealed).toBe(1);
  });

  it('is not stopped by a login that writes a late event twice in one transaction: the second one is refused', async () => {
    const twice = db.engine.withClient((client) =>
      client.query(`insert into audit.audit_log (id, event_type, event_category, event_action, event_timestamp)
        select '00000000-0000-4000-8000-0000000000aa', 'test.event', 'system', a, '2001-01-01' from unnest('{A,B}'::text[]) a`),
    );
    await expect(twice).rejects.toMatchObject({ code: '23505' });
  });

  it.each([
    ['made', ['A', 'make', 'B']],
    ['closed', ['make', 'A', 'close', 'B']],
  ])('nor where the partition is %s between the two', async (_what, steps) => {
    const statementOf = (step: string) =>
      ({
        make: `select retention.create_partition('audit_log', '2001-02-01Z', '2001-03-01Z')`,
        close: `select retention.seal_partition('audit_log', '2001-02-01Z')`,
      })[step] ??
      `insert into audit.audit_log (id, event_type, event_category, event_action, event_timestamp)
       values ('00000000-0000-4000-8000-0000000000ab', 'test.event', 'system', '${step}', '2001-02-03Z')`;
    await db.engine.withClient(async (client) => {
      await client.query('begin');
      for (const step of steps.slice(0, -1)) await client.query(statementOf(step));
      await expect(client.query(statementOf('B'))).rejects.toMatchObject({ code: '23505' });
      await client.query('rollback');
    });
  });
});

describe('a killed sealer', () => {
  const db = useDatabase();
  const ctx = { db: db.engine, log, config };
  beforeAll(() => addEvents(db.engine, 40));

  it('leaves nothing half-made when its backend ends between append and commit, and the next run completes', async () => {
    await db.admin.withClient(async (client) => {
      // The marker: a trigger that ends the sealer's own backend once the batch's links are in.
      await client.query(`
        create function public.end_backend() returns trigger language plpgsql as
          $$ begin perform pg_terminate_backend(pg_backend_pid()); return null; end $$;
        create trigger zz_end after insert on audit.chain_link for each statement execute function public.end_backend()`);
    });
    await expect(sealChain(ctx, { batchSize: 15 })).rejects.toThrow();
    expect(await column(db.admin, 'select size from audit.chain_head')).toEqual([0n]);
    expect(await column(db.admin, 'select count(*) from audit.chain_link')).toEqual([0n]);
    await db.admin.withClient((client) => client.query('drop trigger zz_end on audit.chain_link'));
    // The client hears of the end of its backend before the server has given the lock back.
    const held = `select count(*) from pg_locks where locktype = 'advisory' and classid = 24939
                    and database = (select oid from pg_database where datname = current_database())`;
    await expect.poll(() => column(db.admin, held)).toEqual([0n]);
    expect(await sealChain(ctx, { batchSize: 15 })).toMatchObject({ sealed: 40, complete: true });
    expect(await column(db.admin, WRONG)).toEqual([]);
    expect(await column(db.admin, BROKEN)).toEqual([]);
  });

  it('refuses links to a head that has moved', async () => {
    const zero = Buffer.alloc(32);
    const append = (size: number, hash: Buffer) =>
      db.engine.withClient((client) =>
        client.query(
          `select audit.append_links($1, $2, array[now()], array[gen_random_uuid()], array[1::bigint], $3, $4, $3,
             $5, null, null, null, null, null)`,
          [
            size,
            hash,
            zero,
            Buffer.alloc(64),
            Buffer.alloc(32 * [...(size + 1).toString(2)].filter((b) => b === '1').length),
          ],
        ),
      );
    await expect(append(40, zero)).rejects.toMatchObject({ code: 'AK020' });
    const moved = db.engine.withClient((client) =>
      client.query(`select audit.append_links(0, $1, '{}', '{}', '{}', '', '', '', '', null, null, null, null, null)`, [
        zero,
      ]),
    );
    await expect(moved).rejects.toMatchObject({ code: 'AK020' });
  });
});
