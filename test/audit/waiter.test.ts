/** Somebody who waits for a lock behind ours must not make full verification wait for itself. */
import { expect, it } from 'vitest';
import { z } from 'zod';
import { signCheckpoint } from '../../src/audit/publish/sign.ts';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { verifyFull } from '../../src/audit/verify/verify-full.ts';
import { openRun } from '../../src/audit/verify/verify-run.ts';
import { lockChainTables } from '../../src/audit/verify/verify-store.ts';
import { queryOne } from '../../src/db/query.ts';
import { transact } from '../../src/db/transaction.ts';
import { testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { addEvents } from './event-fixtures.ts';

const db = useDatabase();

it('reads links after events, over one connection, while an exclusive lock on the links is waited for', async () => {
  const ctx = await testContext(db);
  await addEvents(db.engine, 20);
  await sealChain(ctx);
  await signCheckpoint(ctx);
  const waiting = () =>
    queryWaiting(`select count(*) as n from pg_catalog.pg_locks
                   where relation = 'audit.chain_link'::regclass and database = (select oid from pg_catalog.pg_database
                                                                                  where datname = current_database())
                     and mode = 'AccessExclusiveLock' and not granted`);
  const queryWaiting = (text: string) =>
    db.admin.withClient(async (client) => (await queryOne(client, z.object({ n: z.bigint() }), text)).n);
  const waiters: Promise<void>[] = [];
  await db.engine.withClient((client) =>
    transact(
      client,
      async () => {
        await lockChainTables(client);
        const run = await openRun(ctx, client, { unsealedAfterSeconds: 300, level: 'full' });
        waiters.push(
          db.admin.withClient((other) =>
            transact(other, async () => {
              await other.query('lock table audit.chain_link in access exclusive mode');
            }),
          ),
        );
        await expect.poll(waiting, { timeout: 20_000, interval: 20 }).toBe(1n);
        const result = await verifyFull(ctx, client, run);
        expect(result).toMatchObject({ findings: [], checked: 20, to: 20 });
        // Nothing was read behind the waiter, which has to wait until this ends.
        expect(await waiting()).toBe(1n);
      },
      'repeatable read',
    ),
  );
  await Promise.all(waiters);
});
