/** What every connection of ours is set to, whatever the server's defaults are. */
import { expect, test } from 'vitest';
import { z } from 'zod';
import type { SqlClient } from '../../src/db/database.ts';
import { queryOne } from '../../src/db/query.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();

const readText = (client: SqlClient, text: string): Promise<string> =>
  queryOne(client, z.object({ value: z.string() }), text).then((row) => row.value);

test('commits are durable on a server whose default is that they are not', async () => {
  await db.engine.withClient(async (client) => {
    expect(await readText(client, `select reset_val as value from pg_settings where name = 'synchronous_commit'`)).toBe(
      'off',
    );
    expect(await readText(client, `select current_setting('synchronous_commit') as value`)).toBe('on');
  });
});

test('a query ends with the process that asked for it', async () => {
  const server = await db.admin.withClient((client) => readText(client, 'select version() as value'));
  const expected = server.includes('linux') ? '10s' : '0';
  for (const database of [db.engine, db.report]) {
    const text = `select current_setting('client_connection_check_interval') as value`;
    expect(await database.withClient((client) => readText(client, text))).toBe(expected);
  }
});
