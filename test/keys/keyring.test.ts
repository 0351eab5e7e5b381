import { beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { queryRows } from '../../src/db/query.ts';
import type { CellContext } from '../../src/keys/keyring.ts';
import { openKeyring } from '../../src/keys/open-keyring.ts';
import { TestClock, type TestContext, temporaryHome, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();
const cell: CellContext = {
  table: 'security_confidential.transactions',
  column: 'value_encrypted',
  rowId: '00000000-0000-8000-8000-000000000001',
  dataClass: 'confidential',
};
const plaintext = Buffer.from('1642894143');
let ctx: TestContext;

beforeAll(async () => {
  ctx = await testContext(db);
});

test('a cell sealed by one process is opened by another', async () => {
  const seal = await ctx.keys.sealer('confidential');
  const envelope = seal(cell, plaintext);
  const other = openKeyring({ db: db.engine, clock: ctx.clock, home: ctx.config.home, actor: ctx.actor });
  expect(Buffer.from(await other.open(cell, envelope))).toEqual(plaintext);
});
