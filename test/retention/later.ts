/** Moves the time that the database's guards of retention go by: production code cannot, a superuser in a test can. */
import type { TestDatabase } from '../support/database.ts';

/** From now on retention.clock() is this many hours ahead. */
export async function guardsLater(db: Pick<TestDatabase, 'admin'>, hours: number): Promise<void> {
  await db.admin.withClient((client) =>
    client.query(`create or replace function retention.clock() returns timestamptz language sql volatile
      set search_path = pg_catalog, pg_temp return clock_timestamp() + interval '${hours} hours'`),
  );
}

/** As if what is in quarantine had been there for eight days. */
export async function waitInQuarantine(db: TestDatabase): Promise<void> {
  await db.admin.withClient((client) =>
    client.query(
      `update retention.unit set quarantined_at = quarantined_at - interval '8 days' where state = 'quarantined'`,
    ),
  );
}
