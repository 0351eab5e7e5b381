/** The body of add-checkpoint (https://c2sp.org/tlog-witness), written by the client and read by the witness. */
import { decodeBase64 } from '../tree/checkpoint.ts';
import { DIGEST_BYTES, type Digest } from '../tree/hash.ts';

/** What a request may weigh: 63 proof lines and a note of 16,384 characters fit. */
export const MAX_REQUEST_BYTES = 65_536;
/** The content type of a body that is nothing but a tree size. */
export const SIZE_TYPE = 'text/x.tlog.size';
const MAX_PROOF_LINES = 63;
const SIZE = '0|[1-9][0-9]{0,18}';

export interface AddCheckpoint {
  /** The size that the client believes the witness to be at; 0 for none. */
  readonly oldSize: bigint;
  /** RFC 6962 section 2.1.2 from the old size to that of the checkpoint; empty from 0. */
  readonly proof: readonly Digest[];
  /** The signed checkpoint. */
  readonly note: string;
}

/** The request as it goes over the wire. */
export function formatAddCheckpoint({ oldSize, proof, note }: AddCheckpoint): string {
  return `old ${oldSize}\n${proof.map((node) => `${node.toString('base64')}\n`).join('')}\n${note}`;
}

/** Reads a request; null when it is malformed. What the note says is not looked at. */
export function parseAddCheckpoint(body: Uint8Array): AddCheckpoint | null {
  const text = decodeUtf8(body);
  const split = text?.indexOf('\n\n') ?? -1;
  if (text === null || split < 0) return null;
  const [first, ...lines] = text.slice(0, split).split('\n');
  const [, oldSize] = new RegExp(`^old (${SIZE})$`).exec(first ?? '') ?? [];
  if (oldSize === undefined || lines.length > MAX_PROOF_LINES) return null;
  const proof: Digest[] = [];
  for (const line of lines) {
    const node = decodeBase64(line);
    if (node?.length !== DIGEST_BYTES) return null;
    proof.push(node);
  }
  return { oldSize: BigInt(oldSize), proof, note: text.slice(split + 2) };
}

/** Reads the body of a 409: a decimal size and a newline; null otherwise. */
export function parseSizeBody(text: string): bigint | null {
  const [, size] = new RegExp(`^(${SIZE})\n$`).exec(text) ?? [];
  return size === undefined ? null : BigInt(size);
}

/** Strict: a decoder that replaces or drops bytes would let other bytes be signed than were sent. */
function decodeUtf8(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}
