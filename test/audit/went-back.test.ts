/** A server whose transaction ids began anew, as a restored dump leaves it: no silence, neither sealing nor verifying. */
import { expect, it } from 'vitest';
import { sealChain } from '../../src/audit/seal.ts';
import { verifyChain } from '../../src/audit/verify.ts';
import { testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { tamper } from '../tamper/tampering.ts';
import { addEvents } from './event-fixtures.ts';

const db = useDatabase();

it('is an error of its own', async () => {
  const ctx = await testContext(db);
  await addEvents(db.engine, 3);
  await sealChain(ctx);
  await addEvents(db.engine, 2, 100);
  await tamper(db.admin, "update audit.chain_head set snapshot = '8000000000:8000000000:'");
  const refused = { code: 'CHAIN_TXID_WENT_BACK' };
  await expect(sealChain(ctx)).rejects.toMatchObject(refused);
  await expect(verifyChain(ctx)).rejects.toMatchObject(refused);
});
