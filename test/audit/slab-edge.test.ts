/** A break in the links, over more links than one slab holds: every place is told once, and no other is accused. */
import { expect, it } from 'vitest';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { verifyChain } from '../../src/audit/verify/verify.ts';
import { testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { tamper } from '../tamper/tampering.ts';
import { addEvents } from './event-fixtures.ts';

const db = useDatabase();

it('names the altered link and no link of a later slab', async () => {
  const ctx = await testContext(db);
  await addEvents(db.engine, 6000);
  await sealChain(ctx);
  await tamper(db.admin, `update audit.chain_link set chain_hash = sha256('x') where seq = 10`);
  expect((await verifyChain(ctx)).findings).toMatchObject([{ class: 'rehashed', seq: 10 }]);
});
