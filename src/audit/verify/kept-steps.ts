/**
 * What a full verification that was cut short had finished, in the signer's store and not in the database:
 *
 *   <home>/signer/full-steps.json   one line of JSON, then the SHA-256 of that line in hex; 0600, replaced by rename
 *
 * It holds the key of the run's sums: whoever knows it can prepare rows whose sums agree.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { z } from 'zod';
import type { PartialSums } from '../scan/event-sums.ts';
import { MAC_WORDS } from '../scan/fixed-mac.ts';
import { readPrivate, writeDurably } from '../signer/signer-store.ts';
import { sha256 } from '../tree/hash.ts';

/** Must be raised with everything that changes what the sums of the same events are: elements, slices, canonical bytes. */
const FORMAT = 2;
const LANE_BYTES = 4;

const decimal = z.string().regex(/^-?[0-9]{1,19}$/);
const keyText = z.base64().refine((text) => Buffer.from(text, 'base64').length === 32);
const lanesText = z
  .base64()
  .refine((text) => Buffer.from(text, 'base64').length === (MAC_WORDS + 1) * LANE_BYTES)
  .transform((text) => {
    const bytes = Buffer.from(text, 'base64');
    return Int32Array.from({ length: MAC_WORDS + 1 }, (_, lane) => bytes.readInt32LE(lane * LANE_BYTES));
  });

const stepShape = z.strictObject({
  parent: z.string(),
  relation: z.string(),
  from: decimal,
  to: decimal,
  identity: z.string(),
  /** Transactions below it had ended when the unit was read. */
  horizon: decimal,
  /** Milliseconds since 1970. */
  readAt: z.int(),
  rows: z.int().min(0),
  slices: z.array(z.tuple([z.int(), lanesText])),
  suspect: z.array(z.int()),
  young: z.array(z.int()),
});

const runShape = z.strictObject({
  version: z.literal(1),
  format: z.literal(FORMAT),
  origin: z.string(),
  /** ISO 8601. */
  startedAt: z.string(),
  key: keyText,
  /** Transactions from this one on are young: a slice of their own. */
  since: decimal,
  /** The signer's last checkpoint when the run began; null when nothing was signed. */
  checkpoint: z.strictObject({ size: decimal, root: z.base64() }).nullable(),
  steps: z.array(stepShape),
});

/** One unit that was read to its end. */
export type KeptStep = z.infer<typeof stepShape>;

/** What a run has kept, or keeps. */
export type KeptRun = z.infer<typeof runShape>;

const stepsFile = (home: string) => join(home, 'signer', 'full-steps.json');

/** What was kept; null when nothing was, a reason in words when it cannot be used. */
export async function readKeptRun(home: string): Promise<KeptRun | string | null> {
  try {
    const text = await readPrivate(stepsFile(home));
    if (text === null) return null;
    const [body = '', digest] = text.split('\n');
    if (sha256(Buffer.from(body)).toString('hex') !== digest) return 'the file of kept units is damaged';
    const parsed = runShape.safeParse(JSON.parse(body));
    return parsed.success ? parsed.data : 'the file of kept units is of another version';
  } catch {
    return 'the file of kept units cannot be read, or others may read it';
  }
}

/** Forgets what was kept. */
export async function removeKeptRun(home: string): Promise<void> {
  await rm(stepsFile(home), { force: true });
}

/** The sums of a step. */
export function sumsOf({ slices, suspect, young }: KeptStep): PartialSums {
  return { slices: new Map(slices), suspect: new Set(suspect), young: new Set(young), youngSeq: null };
}

/** Writes steps behind the back of the run: while one write is under way, further steps gather for the next one. */
export class StepKeeper {
  readonly #home: string;
  readonly #log: Logger;
  readonly #run: KeptRun;
  readonly #written: string[];
  #changed = false;
  #writing: Promise<void> | null = null;

  constructor({ home, log, run }: { readonly home: string; readonly log: Logger; readonly run: KeptRun }) {
    this.#home = home;
    this.#log = log;
    this.#run = run;
    this.#written = run.steps.map(stepText);
  }

  /** Keeps a step; on disk soon. */
  add(step: KeptStep): void {
    this.#written.push(stepText(step));
    this.#changed = true;
    this.#writing ??= this.#write();
  }

  /** Resolves when nothing is being written any more. */
  async settle(): Promise<void> {
    while (this.#writing !== null) await this.#writing;
  }

  async #write(): Promise<void> {
    try {
      while (this.#changed) {
        this.#changed = false;
        const head = JSON.stringify({ ...this.#run, steps: [] }).slice(0, -2);
        const body = `${head}${this.#written.join(',')}]}`;
        const digest = sha256(Buffer.from(body)).toString('hex');
        await writeDurably(stepsFile(this.#home), `${body}\n${digest}\n`, 'replace');
      }
    } catch (error) {
      // A run that cannot keep its steps verifies all the same.
      this.#log.warn({ err: error }, 'chain.steps_not_kept');
    } finally {
      this.#writing = null;
    }
  }
}

function stepText(step: KeptStep): string {
  const slices = step.slices.map(([at, lanes]) => {
    const bytes = Buffer.alloc(lanes.length * LANE_BYTES);
    for (const [lane, value] of lanes.entries()) bytes.writeInt32LE(value, lane * LANE_BYTES);
    return [at, bytes.toString('base64')];
  });
  return JSON.stringify({ ...step, slices });
}
