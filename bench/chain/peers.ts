/** The tables that inserts are compared with: columns, indexes and partitions of audit.audit_log, nothing else of ours. */
import type { Database } from '../../src/db/database.ts';

/** Makes peer.plain and peer.chained beside an audit.audit_log that has its partitions. */
export async function makePeers(admin: Database): Promise<void> {
  await admin.withClient(async (client) => {
    await client.query('create schema peer');
    for (const table of ['plain', 'chained']) {
      await client.query(`
        create table peer.${table} (like audit.audit_log including defaults including constraints including indexes)
          partition by range (event_timestamp);
        alter table peer.${table}
          drop constraint audit_log_event_timestamp_check,
          alter actor_salt drop default, alter payload_salt drop default,
          alter txid drop default, alter txid drop not null,
          alter hash_version drop default, alter hash_version drop not null;
        do $$
        declare leaf record;
        begin
          for leaf in select c.relname, pg_get_expr(c.relpartbound, c.oid) as bounds
                        from pg_inherits i join pg_class c on c.oid = i.inhrelid
                       where i.inhparent = 'audit.audit_log'::regclass and c.relkind = 'r' loop
            execute format('create table peer.%I partition of peer.${table} %s', '${table}_' || leaf.relname, leaf.bounds);
          end loop;
        end $$`);
    }
    await client.query(`
      create table peer.head (hash text not null);
      insert into peer.head values (repeat('0', 64));
      create function peer.chain() returns trigger language plpgsql as $$
      begin
        perform pg_advisory_xact_lock(1);
        new.previous_event_hash := (select h.hash from peer.head h);
        new.event_hash := encode(sha256(convert_to(new.previous_event_hash || new::text, 'UTF8')), 'hex');
        update peer.head set hash = new.event_hash;
        return new;
      end $$;
      create trigger chain before insert on peer.chained for each row execute function peer.chain()`);
  });
}
