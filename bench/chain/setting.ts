/** What the chain's benchmarks run on: databases with partitions and events, and contexts. */
import { pino } from 'pino';
import type { Verifying } from '../../src/audit/verify/verify-run.ts';
import { loadConfig } from '../../src/config.ts';
import type { Database } from '../../src/db/database.ts';
import { systemClock } from '../../src/time/clock.ts';

export const MONTHS = 24;
/** PostgreSQL's own defaults; only the tests' server turns them off. */
export const DURABLE = ['fsync=on', 'synchronous_commit=on', 'full_page_writes=on', 'max_wal_size=4GB'];

/** Partitions of the hot table for this month and those after it. */
export async function makePartitions(admin: Database): Promise<void> {
  await admin.withClient((client) =>
    client.query(
      `select retention.create_partition('audit_log', m at time zone 'UTC', (m + interval '1 month') at time zone 'UTC', '')
         from generate_series(date_trunc('month', now() at time zone 'UTC'),
                              date_trunc('month', now() at time zone 'UTC') + $1::int * interval '1 month',
                              interval '1 month') m`,
      [MONTHS - 1],
    ),
  );
}

/** Events of one transaction: of `months` months, or of this moment. */
export async function insertEvents(admin: Database, count: number, months: number | 'now'): Promise<void> {
  const time =
    months === 'now'
      ? `now() + i * interval '1 microsecond'`
      : `date_trunc('month', now()) + ((i * 7919) % $1::bigint)::float8 / $1 * ${months} * interval '1 month' * 0.95`;
  await admin.withClient((client) =>
    client.query(
      `insert into audit.audit_log (event_type, event_category, event_action, user_id, user_email, ip_address, user_agent,
                                    resource_type, resource_id, new_values, additional_data, event_timestamp, service_name)
       select 'user.login', 'authentication', 'LOGIN', gen_random_uuid(), 'user' || i || '@example.org', '10.0.0.1',
              'Mozilla/5.0 (X11; Linux x86_64)', 'account', i::text, jsonb_build_object('n', i, 'amount', 12.5),
              '{"source": "bench"}', ${time}, 'bench'
         from generate_series(1::bigint, $1::bigint) i`,
      [count],
    ),
  );
}

/** A context of a home of its own. */
export async function benchContext(db: Database, home: string): Promise<Verifying> {
  return {
    db,
    clock: systemClock,
    log: pino({ level: 'silent' }),
    actor: { kind: 'service', name: 'bench' },
    config: await loadConfig({ flags: { home, logLevel: 'silent' }, environment: {}, workingFolder: home }),
    progress: { start: () => undefined, update: () => undefined, stop: () => undefined },
  };
}

/** The same address for another database or login. */
export function addressOf(url: string, change: { readonly database?: string; readonly user?: string }): string {
  const result = new URL(url);
  if (change.database !== undefined) result.pathname = `/${change.database}`;
  if (change.user !== undefined) result.username = change.user;
  return result.href;
}
