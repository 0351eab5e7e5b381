/**
 * What the signer knows about its witnesses, beside its key and never in the database:
 *
 *   <home>/signer/witnesses.json                       one entry a witness, 0600, replaced by rename
 *   <home>/checkpoints/<size>.<key id>.cosigned        the checkpoint with one cosignature, never rewritten
 */
import { join } from 'node:path';
import { z } from 'zod';
import { checkpointFolder, damagedStore, readPrivate, writeDurably } from '../signer/signer-store.ts';
import { decodeFrontier, encodeFrontier, type Frontier } from '../tree/merkle.ts';

/** How asking a witness ended. The last two accuse the log; the signature that would prove them is the witness's to show. */
const OUTCOMES = ['cosigned', 'unreachable', 'refused', 'invalid', 'rolled-back', 'rewritten'] as const;
export type WitnessOutcome = (typeof OUTCOMES)[number];

export interface WitnessMemory {
  /** The tree that the witness cosigned last, or is known to be at. */
  readonly frontier: Frontier;
  /** The last cosigned checkpoint; null when there is none. */
  readonly note: string | null;
  readonly outcome: WitnessOutcome;
  /** In words, for people. */
  readonly detail: string;
  /** The size that the witness claimed, where it accused. */
  readonly claimedSize: bigint | null;
  /** ISO 8601. */
  readonly askedAt: string;
}

const sizeText = z.string().regex(/^(0|[1-9][0-9]{0,18})$/);
const memoryShape = z.strictObject({
  version: z.literal(1),
  origin: z.string(),
  witnesses: z.record(
    z.string(),
    z.strictObject({
      size: sizeText,
      frontier: z.base64(),
      note: z.string().nullable(),
      outcome: z.enum(OUTCOMES),
      detail: z.string(),
      claimedSize: sizeText.nullable(),
      askedAt: z.string(),
    }),
  ),
});

const memoryFile = (home: string) => join(home, 'signer', 'witnesses.json');

/** Entries by verifier key; empty for a log that asked nobody yet. @throws CHAIN_SIGNER_STORE when damaged */
export async function readWitnessMemory(home: string, origin: string): Promise<ReadonlyMap<string, WitnessMemory>> {
  const text = await readPrivate(memoryFile(home));
  if (text === null) return new Map();
  try {
    const stored = memoryShape.parse(JSON.parse(text));
    // Another incarnation is another log to its witnesses.
    if (stored.origin !== origin) return new Map();
    return new Map(
      Object.entries(stored.witnesses).map(([vkey, { size, frontier, claimedSize, ...rest }]) => [
        vkey,
        {
          ...rest,
          frontier: decodeFrontier(BigInt(size), Buffer.from(frontier, 'base64')),
          claimedSize: claimedSize === null ? null : BigInt(claimedSize),
        },
      ]),
    );
  } catch (cause) {
    throw damagedStore("the signer's memory of its witnesses is damaged", cause);
  }
}

/** Replaces all entries; on disk when it resolves. */
export async function writeWitnessMemory(
  home: string,
  origin: string,
  memory: ReadonlyMap<string, WitnessMemory>,
): Promise<void> {
  const witnesses = Object.fromEntries(
    [...memory].map(([vkey, { frontier, claimedSize, ...rest }]) => [
      vkey,
      {
        ...rest,
        size: String(frontier.size),
        frontier: encodeFrontier(frontier).toString('base64'),
        claimedSize: claimedSize === null ? null : String(claimedSize),
      },
    ]),
  );
  await writeDurably(memoryFile(home), `${JSON.stringify({ version: 1, origin, witnesses })}\n`, 'replace');
}

/** Puts a cosigned checkpoint into the directory of checkpoints; one that lies there stays. */
export async function writeCosignedFile(
  home: string,
  cosigned: { readonly size: bigint; readonly keyId: string; readonly note: string; readonly incarnation: number },
): Promise<void> {
  const { size, keyId, note, incarnation } = cosigned;
  const name = `${String(size).padStart(20, '0')}.${keyId}.cosigned`;
  await writeDurably(join(checkpointFolder(home, incarnation), name), note, 'keep');
}
