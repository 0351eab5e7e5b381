/** What every connection of ours is set to, whatever the server's defaults are. */
import { expect, test } from 'vitest';
import { z } from 'zod';
import { queryOne } from '../../src/db/query.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();

test('commits are durable on a server whose default is that they are not', async () => {
  const setting = (client: Parameters<typeof queryOne>[0], text: string) =>
    queryOne(client, z.object({ value: z.string() }), text).then((row) => row.value);
  await db.engine.withClient(async (client) => {
    expect(await setting(client, `select reset_val as value from pg_settings where name = 'synchronous_commit'`)).toBe(
      'off',
    );
    expect(await setting(client, `select current_setting('synchronous_commit') as value`)).toBe('on');
  });
});
