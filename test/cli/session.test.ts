/** What a command asks its session for: a rehearsal is one from the beginning, or none. */
import { PassThrough } from 'node:stream';
import { expect, it } from 'vitest';
import { openSession } from '../../src/cli/session.ts';
import { column } from '../audit/event-fixtures.ts';
import { testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();

async function session() {
  const { config } = await testContext(db);
  const streams = { stdout: new PassThrough(), stderr: new PassThrough() };
  const options = { json: true, quiet: true, color: false };
  return openSession({ ...config, databaseUrl: db.url() }, streams, options);
}

it('refuses a dry run on connections of a command that acts', async () => {
  const { session: acting, close } = await session();
  await acting.context();
  await expect(acting.context({ dryRun: true })).rejects.toThrow('a dry run was asked for');
  await close();
});

it('stays a rehearsal, whoever asks for the context again', async () => {
  const { session: dry, close } = await session();
  await dry.context({ dryRun: true });
  const { db: again } = await dry.context();
  await again.withClient((client) => client.query('select audit.begin_incarnation(1)'));
  await close();
  expect(await column(db.admin, 'select incarnation from audit.chain_head')).toEqual([1]);
});
