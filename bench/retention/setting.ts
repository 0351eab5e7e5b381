/** What the benchmarks of retention run on: a durable server with a migrated database, months with events, contexts. */
import { pino } from 'pino';
import { z } from 'zod';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { type Database, openDatabase } from '../../src/db/database.ts';
import { execute, queryOne } from '../../src/db/query.ts';
import { ensurePartitions } from '../../src/retention/partition.ts';
import { migrate } from '../../src/schema/migrate.ts';
import { type Clock, systemClock, type UtcInstant } from '../../src/time/clock.ts';
import { startTestServer } from '../../test/support/server.ts';

/** PostgreSQL's own defaults; only the tests' server turns them off. */
const DURABLE = ['fsync=on', 'synchronous_commit=on', 'full_page_writes=on', 'max_wal_size=8GB'];

export interface Setting {
  readonly admin: Database;
  readonly engine: Database;
  /** PostgreSQL's major version. */
  readonly version: string;
}

/** Runs fn on a server of its own that is gone afterwards. @param bin folder of another version's programs */
export async function onServer<T>(bin: string | undefined, fn: (setting: Setting) => Promise<T>): Promise<T> {
  const server = await startTestServer(DURABLE, bin);
  const url = server.url('postgres');
  const admin = openDatabase({ url, applicationName: 'bench', maxConnections: 10 });
  const engine = openDatabase({ url, role: 'auditkeep_engine', applicationName: 'bench', maxConnections: 10 });
  try {
    await migrate(admin);
    const version = await scalar(
      admin,
      z.string(),
      `select split_part(current_setting('server_version'), '.', 1) as value`,
    );
    return await fn({ admin, engine, version });
  } finally {
    await Promise.all([admin.end(), engine.end()]);
    await server.stop();
  }
}

export function contextOf(db: Database, clock: Clock = systemClock) {
  return { db, clock, actor: { kind: 'service', name: 'bench' } as const, log: pino({ level: 'silent' }) };
}

/** Months with so many events each, all linked in the chain. */
export async function fillMonths(
  { admin, engine }: Setting,
  months: readonly { readonly start: UtcInstant; readonly events: number }[],
): Promise<void> {
  await ensurePartitions(
    contextOf(engine),
    'audit_log',
    months.map(({ start }) => start),
  );
  for (const { start, events } of months) await insertMonth(admin, 'audit.audit_log', start, events);
  // A home that never signed, so that nothing is known about the log outside the database.
  const config = { home: '/nonexistent/bench', origin: 'bench.example/audit', witnesses: [] };
  await sealChain({ ...contextOf(engine), config });
}

/** Events of one month, a second apart. */
export async function insertMonth(admin: Database, table: string, start: UtcInstant, events: number): Promise<void> {
  await admin.withClient((client) =>
    execute(
      client,
      `insert into ${table} (event_type, event_category, event_action, event_timestamp, user_email, additional_data)
       select 'bench', 'system', 'CREATE', $1::timestamptz + n * interval '1 second', 'a@example.org', '{"n": 1}'
         from generate_series(0, $2::int - 1) n`,
      [new Date(start).toISOString(), events],
    ),
  );
}

/** One value of one row. */
export function scalar<T>(db: Database, shape: z.ZodType<T>, text: string, values: string[] = []): Promise<T> {
  return db.withClient(async (client) => (await queryOne(client, z.object({ value: shape }), text, values)).value);
}
