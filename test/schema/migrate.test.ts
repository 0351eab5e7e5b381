import { expect, test } from 'vitest';
import { migrate, migrationStatus } from '../../src/schema/migrate.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();

test('a migrated database has nothing pending and migrating again applies nothing', async () => {
  const status = await db.admin.withClient(migrationStatus);
  expect(status.pending).toEqual([]);
  expect(status.applied.length).toBeGreaterThan(0);
  expect(await migrate(db.admin)).toEqual([]);
});
