/**
 * When each level last ran and how it ended, in the signer's store and not in the database that is verified:
 *
 *   <home>/signer/last-run-<level>.json   { version, origin, at, to, findings }
 *
 * A file a level, replaced by rename: levels run side by side, and none undoes what another one says.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { VERIFY_LEVELS, type VerifyLevel } from '../links/finding.ts';
import { damagedStore, readPrivate, writeDurably } from './signer-store.ts';

/** One run of a level. */
export interface LastRun {
  /** ISO 8601. */
  readonly at: string;
  /** The links that were looked at end here. */
  readonly to: number;
  readonly findings: number;
}

export type LastRuns = Readonly<Partial<Record<VerifyLevel, LastRun>>>;

const runShape = z.strictObject({
  version: z.literal(1),
  origin: z.string(),
  at: z.string(),
  to: z.int().min(0),
  findings: z.int().min(0),
});

const runFile = (home: string, level: VerifyLevel) => join(home, 'signer', `last-run-${level}.json`);

/** The last run of each level that this home ever ran for a log. @throws CHAIN_SIGNER_STORE */
export async function readLastRuns(home: string, origin: string): Promise<LastRuns> {
  const runs: Partial<Record<VerifyLevel, LastRun>> = {};
  for (const level of VERIFY_LEVELS) {
    const run = await readLastRun(runFile(home, level), origin);
    if (run !== null) runs[level] = run;
  }
  return runs;
}

async function readLastRun(file: string, origin: string): Promise<LastRun | null> {
  const text = await readPrivate(file);
  if (text === null) return null;
  try {
    const { at, to, findings, ...of } = runShape.parse(JSON.parse(text));
    // Another incarnation is another log: nothing of it was verified.
    return of.origin === origin ? { at, to, findings } : null;
  } catch (cause) {
    throw damagedStore(`${file} is damaged`, cause);
  }
}

/** Keeps a run; on disk when it resolves. */
export async function writeLastRun(home: string, origin: string, level: VerifyLevel, run: LastRun): Promise<void> {
  await writeDurably(runFile(home, level), `${JSON.stringify({ version: 1, origin, ...run })}\n`, 'replace');
}
