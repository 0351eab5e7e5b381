/** A bundle of a real database: 600 events, two of them erased in part, two checkpoints; as a folder and as a zip. */
import { randomUUID } from 'node:crypto';
import { cp, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, expect } from 'vitest';
import { exportChain } from '../../src/audit/export/export.ts';
import { signCheckpoint } from '../../src/audit/publish/sign.ts';
import { readChainStatus } from '../../src/audit/publish/status.ts';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { eraseEvents } from '../../src/persons/erase-events.ts';
import { addEvents, column } from '../audit/event-fixtures.ts';
import { emailOf, foundRegister, type Roster } from '../persons/roster.ts';
import { type TestContext, temporaryHome, testContext } from '../support/context.ts';
import { type TestDatabase, useDatabase } from '../support/database.ts';
import { type Report, verifier } from './verifier.ts';

export const ERASED = 7;
export const LEAVES = 600;

interface Made {
  readonly db: TestDatabase;
  readonly ctx: TestContext;
  readonly roster: Roster;
  /** Public keys of who signed the erasures, as an auditor keeps them. */
  readonly signers: string;
  readonly vkey: string;
  /** The first of two checkpoints. */
  readonly firstNote: string;
  /** The bundle; beside it the same as .zip. */
  readonly folder: string;
  /** Ids of the events by their place in the chain. */
  readonly ids: readonly string[];
}

async function make(db: TestDatabase): Promise<Made> {
  const ctx = await testContext(db);
  await addEvents(db.engine, 250);
  const roster = await foundRegister(ctx, await temporaryHome());
  const records = (await sealChain(ctx)).size;
  const firstNote = (await signCheckpoint(ctx)).note ?? '';
  let ids = (await column(db.admin, 'select event_id::text from audit.chain_link order by seq')) as string[];
  await eraseEvents(ctx, {
    requestId: randomUUID(),
    groups: [
      { eventId: ids[ERASED] ?? '', group: 'actor' },
      { eventId: ids[249] ?? '', group: 'payload' },
    ],
    keyFiles: [roster.keyFile('records'), roster.keyFile('everything')],
  });
  const size = Number((await sealChain(ctx)).size);
  expect(size).toBeGreaterThan(Number(records));
  await addEvents(db.engine, LEAVES - size, 1000);
  await sealChain(ctx);
  await signCheckpoint(ctx);
  const vkey = (await readChainStatus(ctx)).verifierKey ?? '';
  ids = (await column(db.admin, 'select event_id::text from audit.chain_link order by seq')) as string[];
  const signers = await allowedSigners(roster, 'records', 'everything');
  const folder = join(await temporaryHome(), 'bundle');
  await exportChain(ctx, { out: folder, open: true, zip: true });
  return { db, ctx, roster, signers, vkey, firstNote, folder, ids };
}

/** What a verifier is asked about a bundle, by the log's key and the signers' keys. */
export interface RealBundle extends Made {
  check(path: string): Report;
  /** Checks a copy of the bundle after a change to it. */
  checkChanged(change: (copy: string) => Promise<void>): Promise<Report>;
  /** Changes one part of a copy at a time, puts it back, and gives what the verifier said. */
  partChanger(): Promise<(name: string, change: (path: string) => Promise<void>) => Promise<Report>>;
}

/** Call it at the top of a test file; the bundle is there from beforeAll on. */
export function useRealBundle(): RealBundle {
  const db = useDatabase();
  let made: Made | null = null;
  beforeAll(async () => {
    made = await make(db);
  });
  const ready = () => {
    if (made === null) throw new Error('the bundle is made in beforeAll');
    return made;
  };
  const check = (path: string) => {
    const { vkey, signers } = ready();
    return verifier.verifyBundle(path, {
      key: verifier.parseVerifierKey(vkey),
      signers: verifier.parseSigners(signers),
    });
  };
  const copyOf = async () => {
    const copy = join(await temporaryHome(), 'copy');
    await cp(ready().folder, copy, { recursive: true });
    return copy;
  };
  return {
    db,
    get ctx() {
      return ready().ctx;
    },
    get roster() {
      return ready().roster;
    },
    get signers() {
      return ready().signers;
    },
    get vkey() {
      return ready().vkey;
    },
    get firstNote() {
      return ready().firstNote;
    },
    get folder() {
      return ready().folder;
    },
    get ids() {
      return ready().ids;
    },
    check,
    checkChanged: async (change) => {
      const copy = await copyOf();
      await change(copy);
      return check(copy);
    },
    partChanger: async () => {
      const copy = await copyOf();
      return async (name, change) => {
        await change(join(copy, name));
        const report = check(copy);
        await cp(join(ready().folder, name), join(copy, name));
        return report;
      };
    },
  };
}

/** An allowed_signers file as an auditor keeps it. */
export async function allowedSigners(roster: Roster, ...names: readonly string[]): Promise<string> {
  const lines = names.map(async (name) => `${emailOf(name)} ${await readFile(`${roster.keyFile(name)}.pub`, 'utf8')}`);
  return (await Promise.all(lines)).join('');
}

/** The bytes with one bit changed. */
export function flip(bytes: Buffer, at: number): Buffer {
  const changed = Buffer.from(bytes);
  changed[at] = (changed[at] ?? 0) ^ 1;
  return changed;
}
