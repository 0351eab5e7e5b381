/** A Context for tests: a clock that the test sets, a temporary home, a silent logger and the real key ring. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { type Config, loadConfig } from '../../src/config.ts';
import type { Context, Progress } from '../../src/context.ts';
import { openKeyring } from '../../src/keys/open-keyring.ts';
import { type Clock, parseInstant, toInstant, type UtcInstant } from '../../src/time/clock.ts';
import type { TestDatabase } from './database.ts';

/** Where a test's clock stands unless the test says otherwise. */
const TEST_NOW = '2026-03-15T12:00:00.000Z';

/** A clock that stands still until the test moves it. */
export class TestClock implements Clock {
  #now: UtcInstant;

  constructor(now: string | UtcInstant = TEST_NOW) {
    this.#now = instantOf(now);
  }

  now(): UtcInstant {
    return this.#now;
  }

  /** Sets the time, as ISO 8601 with a zone or as an instant. */
  set(now: string | UtcInstant): void {
    this.#now = instantOf(now);
  }

  /** Moves the time by milliseconds. */
  advance(milliseconds: number): void {
    this.#now = toInstant(this.#now + milliseconds);
  }
}

export interface TestContext extends Context {
  readonly clock: TestClock;
}

const homes: string[] = [];
/** One home a database, as in an installation: the database's keys are wrapped with the key file in it. */
const homesOfDatabases = new WeakMap<TestDatabase, Promise<string>>();

/** Removes every home that this file's tests were given. */
export async function removeHomes(): Promise<void> {
  await Promise.all(homes.splice(0).map((home) => rm(home, { recursive: true, force: true })));
}

/**
 * A context on a test database: engine pool, report pool, real key ring over a file KEK in a temporary home (one a
 * database, removed after the file), actor service `test`, progress that does nothing. Call it inside a test or beforeAll.
 */
export async function testContext(db: TestDatabase, overrides: Partial<TestContext> = {}): Promise<TestContext> {
  const clock = overrides.clock ?? new TestClock();
  const config = overrides.config ?? (await testConfig(await homeOf(db)));
  const actor = overrides.actor ?? { kind: 'service', name: 'test' };
  const engine = overrides.db ?? db.engine;
  return {
    db: engine,
    reportDb: db.report,
    clock,
    log: pino({ level: 'silent' }),
    keys: overrides.keys ?? openKeyring({ db: engine, clock, home: config.home, actor }),
    actor,
    progress: silentProgress,
    config,
    ...overrides,
  };
}

function homeOf(db: TestDatabase): Promise<string> {
  const home = homesOfDatabases.get(db) ?? temporaryHome();
  homesOfDatabases.set(db, home);
  return home;
}

/** Without the process's environment and working folder: a test depends on neither. */
async function testConfig(home: string): Promise<Config> {
  return loadConfig({ flags: { home, logLevel: 'silent' }, environment: {}, workingFolder: home });
}

/** A folder of its own with mode 0700, removed after the test file. */
export async function temporaryHome(): Promise<string> {
  const home = await mkdtemp(join(tmpdir(), 'auditkeep-test-home-'));
  homes.push(home);
  return home;
}

const silentProgress: Progress = { start: () => undefined, update: () => undefined, stop: () => undefined };

function instantOf(value: string | UtcInstant): UtcInstant {
  if (typeof value === 'number') return value;
  const instant = parseInstant(value);
  if (instant === null) throw new RangeError(`not an instant: ${value}`);
  return instant;
}
