/** What an attacker with superuser rights does: triggers off, change, triggers on again. */
import type { Database } from '../../src/db/database.ts';

/** Runs statements as a superuser whom no trigger stops, and leaves the triggers as they were. */
export async function tamper(admin: Database, ...statements: readonly string[]): Promise<void> {
  await admin.withClient(async (client) => {
    const triggers = await client.query<{ name: string; trigger: string }>(
      `select c.oid::regclass::text as name, t.tgname as trigger from pg_catalog.pg_trigger t join pg_catalog.pg_class c on c.oid = t.tgrelid
        where t.tgname like 'ak_child%' and c.relnamespace = 'audit'::regnamespace
          and c.relname ~ '^(audit_log_(late|y)|chain_|checkpoint|cosignature|erasure|tile)'`,
    );
    const each = async (action: (trigger: string) => string) => {
      for (const { name, trigger } of triggers.rows) await client.query(`alter table ${name} ${action(trigger)}`);
    };
    await client.query('begin');
    await each((trigger) => `disable trigger ${trigger}`);
    for (const statement of statements) await client.query(statement);
    await each((trigger) => `enable always trigger ${trigger}`);
    await client.query('commit');
  });
}
