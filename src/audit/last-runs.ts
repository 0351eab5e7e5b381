/**
 * When each level last ran and how it ended, in the signer's store and not in the database that is verified:
 *
 *   <home>/signer/last-runs.json   { version, origin, levels: { head: { at, to, findings }, ... } }
 */
import { join } from 'node:path';
import { z } from 'zod';
import { VERIFY_LEVELS, type VerifyLevel } from './finding.ts';
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

const runsShape = z.strictObject({
  version: z.literal(1),
  origin: z.string(),
  levels: z.partialRecord(
    z.enum(VERIFY_LEVELS),
    z.strictObject({ at: z.string(), to: z.int().min(0), findings: z.int().min(0) }),
  ),
});

const runsFile = (home: string) => join(home, 'signer', 'last-runs.json');

/** The last run of each level that this home ever ran for a log. @throws CHAIN_SIGNER_STORE */
export async function readLastRuns(home: string, origin: string): Promise<LastRuns> {
  const text = await readPrivate(runsFile(home));
  if (text === null) return {};
  try {
    const stored = runsShape.parse(JSON.parse(text));
    // Another incarnation is another log: nothing of it was verified.
    return stored.origin === origin ? stored.levels : {};
  } catch (cause) {
    throw damagedStore('what is known about the last verifications is damaged', cause);
  }
}

/** Keeps a run; on disk when it resolves. */
export async function writeLastRun(home: string, origin: string, level: VerifyLevel, run: LastRun): Promise<void> {
  const levels = { ...(await readLastRuns(home, origin)), [level]: run };
  await writeDurably(runsFile(home), `${JSON.stringify({ version: 1, origin, levels })}\n`, 'replace');
}
