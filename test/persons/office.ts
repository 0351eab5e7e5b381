/** People with keys, a signed register and a folder, on a database of their own. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { TestClock, type TestContext, testContext } from '../support/context.ts';
import { type TestDatabase, useDatabase } from '../support/database.ts';
import { foundRegister, type Roster } from './roster.ts';

export interface Office {
  readonly db: TestDatabase;
  readonly ctx: TestContext;
  readonly roster: Roster;
  /** Removed after the file. */
  readonly folder: string;
}

/**
 * Call it at the top of a test file; what it holds is there from beforeAll on.
 * @param now where the clock stands; without it where a test's clock does
 */
export function useOffice(now?: string): Office {
  const db = useDatabase();
  let opened: Omit<Office, 'db'> | null = null;
  beforeAll(async () => {
    const folder = await mkdtemp(join(tmpdir(), 'auditkeep-test-office-'));
    const ctx = await testContext(db, now === undefined ? {} : { clock: new TestClock(now) });
    opened = { ctx, folder, roster: await foundRegister(ctx, folder) };
  });
  afterAll(() => (opened === null ? undefined : rm(opened.folder, { recursive: true, force: true })));
  const open = () => {
    if (opened === null) throw new Error('the office opens in beforeAll');
    return opened;
  };
  return {
    db,
    get ctx() {
      return open().ctx;
    },
    get roster() {
      return open().roster;
    },
    get folder() {
      return open().folder;
    },
  };
}
