/** Where the demo does not run. That it runs is test/readme.test.ts. */
import { expect, test } from 'vitest';
import { z } from 'zod';
import { claimDatabase } from '../../src/cli/demo/guard.ts';
import { execute, queryOne } from '../../src/db/query.ts';
import { testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { runCli } from './process.ts';

const empty = useDatabase();
const used = useDatabase();

function countEvents(db: typeof empty): Promise<bigint> {
  return db.admin.withClient(async (client) => {
    const row = await queryOne(client, z.object({ n: z.bigint() }), 'select count(*) as n from audit.audit_log_all');
    return row.n;
  });
}

test('a server of the user’s own is left alone without --apply', async () => {
  const ended = await runCli(['demo', '--out', '/nonexistent/out'], { DATABASE_URL: empty.url() });
  expect(ended.code).toBe(4);
  expect(ended.stderr).toMatch(/^error DEMO_REFUSED: .*; .*--apply.*\n$/);
  expect(await countEvents(empty)).toBe(0n);
});

test('a database with records of others is refused, and stays as it is', async () => {
  await used.admin.withClient((client) =>
    execute(
      client,
      `insert into audit.audit_log (event_type, event_category, event_action, service_name)
       values ('user.session', 'authentication', 'LOGIN', 'shop')`,
    ),
  );
  const ctx = await testContext(used);
  await expect(claimDatabase(ctx)).rejects.toMatchObject({ code: 'DEMO_REFUSED' });
  expect(await countEvents(used)).toBe(1n);
});

test('an empty database is claimed once, and stays the demo’s when it is full', async () => {
  const ctx = await testContext(empty);
  await claimDatabase(ctx);
  await empty.admin.withClient((client) =>
    execute(
      client,
      `insert into audit.audit_log (event_type, event_category, event_action, service_name)
       values ('user.session', 'authentication', 'LOGIN', 'generator')`,
    ),
  );
  await claimDatabase(ctx);
  expect(await countEvents(empty)).toBe(2n);
});
