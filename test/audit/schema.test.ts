/** The chain's tables refuse what would rewrite them, even to the engine by raw SQL. */
import { expect, it } from 'vitest';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();

const FORBIDDEN = [
  'update audit.chain_link set leaf = leaf',
  'delete from audit.chain_link',
  'truncate audit.chain_link',
  "insert into audit.chain_link values (0, now(), gen_random_uuid(), 1, '\\x00', '\\x00')",
  'update audit.chain_head set size = 0',
  'delete from audit.chain_head',
  'insert into audit.chain_head (singleton) values (false)',
  "insert into audit.checkpoint (origin, size, root, note) values ('x', 1, '\\x00', '')",
  'delete from audit.checkpoint',
  "insert into audit.erasure (event_id, event_group, commitment, request_id) values (gen_random_uuid(), 'actor', '\\x00', gen_random_uuid())",
  'create table audit.mine (a int)',
];

it.each(FORBIDDEN)('refuses the engine: %s', async (statement) => {
  await expect(db.engine.withClient((client) => client.query(statement))).rejects.toMatchObject({
    code: 'DB_PRIVILEGE',
  });
});

it.each(['chain_link', 'chain_link_p000000', 'checkpoint', 'erasure', 'tile', 'chain_head'])(
  'refuses TRUNCATE of %s even to its owner while the triggers are on',
  async (table) => {
    const owner = db.as('auditkeep_owner');
    await expect(owner.withClient((client) => client.query(`truncate audit.${table} cascade`))).rejects.toMatchObject({
      code: 'AK100',
    });
  },
);
