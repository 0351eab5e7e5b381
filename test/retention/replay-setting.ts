/** The home of one database beside a restored one, and homes whose journal is another. */
import { appendFile, cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { replayDestructions } from '../../src/retention/purge-replay.ts';
import { type TestContext, temporaryHome } from '../support/context.ts';
import type { TestDatabase } from '../support/database.ts';

/** The home of a context beside a restored database. @param url of the maintenance login; the restored one's, unless given */
export function restoredContext(
  ctx: TestContext,
  to: TestDatabase,
  home = ctx.config.home,
  url: string | null = to.url('auditkeep_maint'),
): TestContext {
  return { ...ctx, db: to.engine, config: { ...ctx.config, home, maintenanceDatabaseUrl: url } };
}

/** A copy of a context's home whose journal is another one. */
export async function homeWith(
  ctx: TestContext,
  change: (lines: readonly string[]) => readonly string[],
): Promise<string> {
  const home = await temporaryHome();
  await cp(ctx.config.home, home, { recursive: true });
  const file = join(home, 'signer', 'destructions.ndjson');
  await mkdir(dirname(file), { recursive: true });
  const lines = (await readFile(file, 'utf8')).split('\n').filter((line) => line !== '');
  await writeFile(file, '');
  for (const line of change(lines)) await appendFile(file, `${line}\n`);
  return home;
}

/** Replays what a database lacks; partition and outcome of each. */
export async function outcomes(as: TestContext) {
  const done = await replayDestructions(as, { reason: 'test' });
  return done.map(({ entry, outcome }) => [entry.certificate.unit.partition, outcome] as const);
}
