/** What a run of an import knows of the events that wait for the sealer: exact, whoever stored them and when. */
import { randomUUID } from 'node:crypto';
import { beforeAll, describe, expect, test } from 'vitest';
import { sealChain } from '../../src/audit/seal/seal.ts';
import type { SqlClient } from '../../src/db/database.ts';
import { execute } from '../../src/db/query.ts';
import { inTransaction } from '../../src/db/transaction.ts';
import { findVerdicts } from '../../src/import/event-import.ts';
import { IdFilter } from '../../src/import/id-filter.ts';
import { WaitingEvents } from '../../src/import/waiting-events.ts';
import { readTxid, readWaitingSince, readWaitingWatermark } from '../../src/import/waiting-store.ts';
import { toInstant } from '../../src/time/clock.ts';
import { testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';

describe('the filter', () => {
  const counted = (n: number) => `00000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`;
  const timed = (n: number) =>
    `018f3c2a-7b${n.toString(16).padStart(6, '0').replace(/^(..)/, '$1-')}-8000-000000000000`;

  test.each([
    ['random', () => randomUUID()],
    ['counted', counted],
    ['timed', timed],
  ])('has every id that it got, and hardly another (%s ids)', (_, make) => {
    const filter = new IdFilter();
    const ids = Array.from({ length: 40_000 }, (_item, n) => make(n));
    for (const id of ids.slice(0, 20_000)) filter.add(id);
    expect(ids.slice(0, 20_000).every((id) => filter.mayHave(id))).toBe(true);
    expect(ids.slice(20_000).filter((id) => filter.mayHave(id)).length).toBeLessThanOrEqual(2);
  });
});

describe('waiting events', () => {
  const db = useDatabase();
  const waiting = new WaitingEvents();
  const [before, between, open, own, unknown] = Array.from({ length: 5 }, () => randomUUID()) as [
    string,
    string,
    string,
    string,
    string,
  ];
  const all = [before, between, open, own, unknown];
  const insert = (client: SqlClient, id: string) =>
    execute(
      client,
      `insert into audit.audit_log (id, event_type, event_category, event_action, event_timestamp)
       values ($1::uuid, 'test', 'system', 'CREATE', now())`,
      [id],
    );
  const find = () =>
    inTransaction(db.engine, async (client) => {
      await waiting.look(client);
      return waiting.find(client, all);
    });
  const read = async (client: SqlClient, since: string, except: string | null) => {
    const ids: string[] = [];
    for await (const batch of readWaitingSince(client, since, except)) ids.push(...batch.map((row) => row.id));
    return ids;
  };

  beforeAll(() => db.engine.withClient((client) => insert(client, before)));

  test('are found at the first look, and those committed between two looks at the second', async () => {
    expect(await find()).toEqual(new Set([before]));
    await db.engine.withClient(async (late) => {
      await late.query('begin');
      await insert(late, open);
      await db.engine.withClient((client) => insert(client, between));
      // Its transaction is older than what the next look sees, and ends after it.
      expect(await find()).toEqual(new Set([before, between]));
      await late.query('commit');
    });
    expect(await find()).toEqual(new Set([before, between, open]));
  });

  test('of the run itself are known without being read again', async () => {
    const txid = await inTransaction(db.engine, async (client) => {
      await insert(client, own);
      return await readTxid(client);
    });
    const { sealed } = await db.engine.withClient(readWaitingWatermark);
    const ids = await inTransaction(db.engine, (client) => read(client, sealed, null));
    expect(ids.toSorted()).toEqual([before, between, open, own].toSorted());
    const others = await inTransaction(db.engine, (client) => read(client, sealed, txid));
    expect(others.toSorted()).toEqual([before, between, open].toSorted());
    waiting.addStored(txid, [own]);
    expect(await find()).toEqual(new Set([before, between, open, own]));
  });

  test('are read once only, although a transaction stays open that is older than they are', async () => {
    await db.admin.withClient(async (client) => {
      await client.query('begin');
      await readTxid(client);
      await db.engine.withClient((other) => insert(other, randomUUID()));
      const { now } = await db.engine.withClient(readWaitingWatermark);
      expect(await inTransaction(db.engine, (other) => read(other, now, null))).toEqual([]);
      await client.query('commit');
    });
  });
});

describe('an event that is stored with another time', () => {
  const db = useDatabase();

  test.each(['before look', 'after look', 'before find'])('is a conflict when the sealer comes %s', async (when) => {
    const ctx = await testContext(db);
    class Sealing extends WaitingEvents {
      override async look(client: SqlClient): Promise<void> {
        if (when === 'before look') await sealChain(ctx);
        await super.look(client);
        if (when === 'after look') await sealChain(ctx);
      }
      override async find(client: SqlClient, ids: readonly string[]): Promise<ReadonlySet<string>> {
        if (when === 'before find') await sealChain(ctx);
        return super.find(client, ids);
      }
    }
    const id = randomUUID();
    await db.engine.withClient((client) =>
      execute(
        client,
        "insert into audit.audit_log (id, event_type, event_category, event_action) values ($1::uuid, 't', 'system', 'T')",
        [id],
      ),
    );
    const instant = toInstant(Date.parse('2023-11-14T22:13:20Z'));
    const row = { bare: { id, eventTimestamp: '2023-11-14 22:13:20+00', instant } };
    const verdicts = await inTransaction(db.engine, (client) => findVerdicts(client, [{ row }], new Sealing()));
    expect([...verdicts]).toEqual([[id, 'conflict']]);
  });
});
