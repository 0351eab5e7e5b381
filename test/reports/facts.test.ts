import { describe, expect, it } from 'vitest';
import { useDatabase } from '../support/database.ts';
const db = useDatabase();
describe('facts', () => {
  it('smoke', async () => {
    const rows = await db.report.withClient((c) => c.query('select * from facts.installation'));
    expect(rows.rows).toHaveLength(1);
  });
});
