/** A short soak; the restart of the server is part of `npm run soak`, since the tests share theirs. */
import { expect, it } from 'vitest';
import { runSoak } from '../../bench/soak/soak.ts';
import { testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';

const SECONDS = 12;
const db = useDatabase();

it('loses, doubles and accuses nothing while sealers are killed and partitions move', async () => {
  const ctx = await testContext(db);
  const result = await runSoak({
    ctx,
    admin: db.admin,
    engineUrl: db.url('auditkeep_engine'),
    seconds: SECONDS,
    restart: null,
  });
  expect(result).toMatchObject({ lost: 0, doubled: 0, falseFindings: 0 });
  expect(result.written).toBeGreaterThan(100);
  expect(result.sealed).toBeGreaterThanOrEqual(result.written);
  expect(result.verified).toBeGreaterThan(1);
  expect(result.archived).toBeGreaterThan(0);
}, 120_000);
