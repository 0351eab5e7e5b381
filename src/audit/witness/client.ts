/**
 * Asks one witness for its cosignature (https://c2sp.org/tlog-witness, the client's side). Whatever the witness does
 * (answers garbage, too much, too late or not at all) ends in an answer of ours within its time limit.
 */
import { openCheckpoint, type TreeHead, type VerifierKey } from '../tree/checkpoint.ts';
import type { Digest } from '../tree/hash.ts';
import { formatAddCheckpoint, parseSizeBody, SIZE_TYPE } from './add-checkpoint.ts';
import { openCosignature } from './cosignature.ts';
import type { Witness } from './policy.ts';

/** Far more than a few signature lines; the rest is not read. */
const MAX_ANSWER_BYTES = 16_384;
/** The first with the size we believe in, the second with the size it names, one more for a log signed twice at once. */
const MAX_REQUESTS = 3;

export type WitnessAnswer =
  /** The checkpoint with the witness's own line only. */
  | { readonly kind: 'cosigned'; readonly note: string }
  | { readonly kind: 'unreachable' | 'refused' | 'invalid'; readonly detail: string }
  /** The witness says that it cosigned a larger tree, or a tree that ours does not begin with. */
  | { readonly kind: 'rolled-back' | 'rewritten'; readonly detail: string; readonly claimedSize: bigint };

export interface Question {
  readonly note: string;
  readonly head: TreeHead;
  readonly logKey: VerifierKey;
  /** The size that the witness cosigned last, as far as we know. */
  readonly oldSize: bigint;
  readonly timeoutMs: number;
  /** An honest proof from any size up to the head's; it is verified before it is given out. */
  prove(oldSize: bigint): Promise<readonly Digest[]>;
}

/** Asks until there is an answer; at most three requests, each within the time limit. */
export async function askWitness(witness: Witness, question: Question): Promise<WitnessAnswer> {
  const { note, head, timeoutMs } = question;
  let oldSize = question.oldSize > head.size ? 0n : question.oldSize;
  for (let request = 1; request <= MAX_REQUESTS; request += 1) {
    const proof = await question.prove(oldSize);
    const reply = await post(`${witness.url}/add-checkpoint`, formatAddCheckpoint({ oldSize, proof, note }), timeoutMs);
    if ('failure' in reply) return { kind: 'unreachable', detail: reply.failure };
    if (reply.status === 200) return readCosignature(reply.text, witness, question);
    const claimedSize = oldSize;
    // From the empty tree no proof can fail: a witness that says so is wrong by itself.
    if (reply.status === 422 && oldSize > 0n) {
      return { kind: 'rewritten', detail: 'an honest proof does not lead from its tree to ours', claimedSize };
    }
    if (reply.status !== 409) return { kind: 'refused', detail: `answers ${reply.status}` };
    const size = reply.type === SIZE_TYPE ? parseSizeBody(reply.text) : null;
    if (size === null) {
      // The document asks for a size only when the old one is not the witness's: without one it is the other conflict,
      // two roots of one size. From the empty tree there is no such conflict.
      const conflicts = oldSize === head.size && oldSize > 0n && reply.text === '';
      if (conflicts) return { kind: 'rewritten', detail: 'has cosigned another tree of this size', claimedSize };
      return { kind: 'invalid', detail: 'answers 409 without a size' };
    }
    if (size > head.size) return { kind: 'rolled-back', detail: `has cosigned ${size} leaves`, claimedSize: size };
    if (size === oldSize && size === head.size) {
      return { kind: 'rewritten', detail: 'has cosigned another tree of this size', claimedSize };
    }
    if (size === oldSize) return { kind: 'invalid', detail: 'answers 409 with the size that it was given' };
    oldSize = size;
  }
  return { kind: 'invalid', detail: 'names another size each time' };
}

/** Only a cosignature that verifies under the configured key is kept, and of a note only its own line. */
function readCosignature(text: string, witness: Witness, { note, head, logKey }: Question): WitnessAnswer {
  const invalid = { kind: 'invalid', detail: 'its cosignature does not verify' } as const;
  const ours = text.split('\n').filter((line) => line.startsWith(`\u2014 ${witness.key.name} `));
  try {
    for (const line of ours) {
      const cosigned = `${note}${line}\n`;
      if (openCosignature(cosigned, witness.key) === null) continue;
      const opened = openCheckpoint(cosigned, logKey);
      if (opened.size === head.size && opened.root.equals(head.root)) return { kind: 'cosigned', note: cosigned };
    }
  } catch {
    // Whatever a line holds that no note may: garbage.
    return invalid;
  }
  return invalid;
}

type Reply = { readonly status: number; readonly type: string; readonly text: string } | { readonly failure: string };

async function post(url: string, body: string, timeoutMs: number): Promise<Reply> {
  try {
    // The signal also ends a body that trickles; a redirect could lead our request anywhere.
    const response = await fetch(url, {
      method: 'POST',
      body,
      redirect: 'error',
      signal: AbortSignal.timeout(timeoutMs),
      headers: { 'content-type': 'text/plain; charset=utf-8' },
    });
    const type = (response.headers.get('content-type') ?? '').split(';')[0]?.trim() ?? '';
    return { status: response.status, type, text: await readText(response) };
  } catch (error) {
    return { failure: failureOf(error) };
  }
}

async function readText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  const body: AsyncIterable<Uint8Array> | null = response.body;
  for await (const chunk of body ?? []) {
    length += chunk.length;
    // Leaving the loop cancels the rest.
    if (length > MAX_ANSWER_BYTES) return '';
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** undici says only "fetch failed"; the cause says why. */
function failureOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown failure';
  if (error.name === 'TimeoutError') return 'no answer in time';
  const { cause } = error;
  if (cause instanceof Error) return 'code' in cause && typeof cause.code === 'string' ? cause.code : cause.message;
  return error.message;
}
