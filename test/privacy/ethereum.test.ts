import { beforeAll, describe, expect, test } from 'vitest';
import { anonymizeTransactions } from '../../src/privacy/anonymize.ts';
import { testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { hasEthereumData, insertTransactions, readPublicChain } from './ethereum.ts';

describe.skipIf(!hasEthereumData)('real mainnet blocks (../shared/data/ethereum)', () => {
  const db = useDatabase();
  test('works', async () => {
    const ctx = await testContext(db);
    const chain = readPublicChain();
    expect(chain).toHaveLength(298);
    await db.admin.withClient((client) => insertTransactions(ctx, client, chain));
    const result = await anonymizeTransactions(ctx);
    console.log(result);
    const again = await anonymizeTransactions(ctx);
    console.log(again);
  });
});
