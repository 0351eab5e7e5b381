/** What the tests of destruction begin with. */
import { expect } from 'vitest';
import { runArchive } from '../../src/retention/archive.ts';
import { approvePurge, requestPurge } from '../../src/retention/purge-request.ts';
import { runPurge } from '../../src/retention/purge-run.ts';
import type { UtcInstant } from '../../src/time/clock.ts';
import { foundRegister, type Roster } from '../persons/roster.ts';
import { type TestContext, temporaryHome, testContext } from '../support/context.ts';
import type { TestDatabase } from '../support/database.ts';
import { guardsLater, waitInQuarantine } from './later.ts';
import { ensureMonths, insertEvents, instant, linkAll } from './rows.ts';

/** Months of 2015 in the archive, ten events each, eight more years hot, and everybody in the register. */
export async function arrange(
  db: TestDatabase,
  months: readonly string[],
): Promise<{ ctx: TestContext; roster: Roster }> {
  const ctx = await testContext(db, {});
  const roster = await foundRegister(ctx, await temporaryHome());
  await ensureMonths(db.engine, [...months, '2025-12']);
  await db.engine.withClient(async (client) => {
    for (const month of months) await insertEvents(client, `${month}-10T00:00:00Z`, 10);
    await insertEvents(client, '2025-12-10T00:00:00Z', 100);
  });
  await linkAll(db.engine);
  const archived = await runArchive(ctx, {
    table: 'audit_log',
    before: instant('2016-01-01T00:00:00Z'),
    reason: 'test',
  });
  expect(archived.units.map(({ outcome }) => outcome.kind)).toEqual(months.map(() => 'archived'));
  return { ctx, roster };
}
/** All that is due of one table. */
export const scope = { table: 'audit_log', reason: 'records schedule' } as const;

/** Requests, approves and carries out the destruction of what is due by a day. @param ahead hours, beyond its cooling-off */
export async function destroy(
  db: TestDatabase,
  ctx: TestContext,
  roster: Roster,
  { before, ahead = 73 }: { readonly before?: UtcInstant; readonly ahead?: number } = {},
): Promise<string> {
  const { planId } = await requestPurge(roster.as(ctx, 'records'), {
    ...scope,
    ...(before === undefined ? {} : { before }),
  });
  await approvePurge(roster.as(ctx, 'records2'), planId);
  await guardsLater(db, ahead);
  await runPurge(ctx, { plan: planId, reason: 'test' });
  await waitInQuarantine(db);
  const { units } = await runPurge(ctx, { plan: planId, reason: 'test' });
  expect(units.map(({ outcome }) => outcome.kind)).toEqual(units.map(() => 'purged'));
  return planId;
}
