/**
 * Bundles made from nothing: by somebody who has the log's key and both persons' keys, so that whatever the verifier
 * still accepts is its own doing. Small ones, one partial tile, whose every byte a test may choose.
 */
import { createHash, createHmac, generateKeyPairSync, sign } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { canonicalJson, type JsonValue } from '../../src/canonical-json.ts';
import { readSshKeyFile, writeSshKeyPair } from '../../src/keys/ssh-key.ts';
import { NAMESPACES, signSshsig } from '../../src/keys/sshsig.ts';

const ORIGIN = 'made.example/log';
const REQUEST = '11111111-2222-4333-8444-555555555555';
const ZEROS = Buffer.alloc(32);

const sha256 = (...parts: readonly (Uint8Array | string)[]): Buffer =>
  parts.reduce((hash, part) => hash.update(part), createHash('sha256')).digest();

export interface Keys {
  readonly vkey: string;
  readonly signers: string;
  note(text: string): string;
  erasure(payload: string): Promise<{ fingerprint: string; signature: string }[]>;
}

/** The keys of a log and of two persons; the persons' lie in the folder. */
export async function makeKeys(folder: string): Promise<Keys> {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const raw = Buffer.concat([Buffer.from([1]), publicKey.export({ format: 'der', type: 'spki' }).subarray(12)]);
  const id = sha256(`${ORIGIN}\n`, raw).subarray(0, 4);
  const files = ['ann', 'ben'].map((name) => join(folder, name));
  for (const file of files) await writeSshKeyPair(file, 'made');
  const keys = await Promise.all(files.map(readSshKeyFile));
  const lines = keys.map(({ publicKey: { text } }, at) => `p${at}@example.org ${text}\n`);
  return {
    vkey: `${ORIGIN}+${id.toString('hex')}+${raw.toString('base64')}`,
    signers: lines.join(''),
    note: (text) => {
      const signature = Buffer.concat([id, sign(null, Buffer.from(text), privateKey)]);
      return `${text}\n\u2014 ${ORIGIN} ${signature.toString('base64')}\n`;
    },
    erasure: (payload) =>
      Promise.all(
        keys.map(async (key) => ({
          fingerprint: key.publicKey.fingerprint,
          signature: await signSshsig(key, NAMESPACES.erasure, Buffer.from(payload)),
        })),
      ),
  };
}

/** frame() of the specification. */
function frame(bytes: Uint8Array | null): Buffer {
  const length = Buffer.alloc(4);
  length.writeInt32BE(bytes === null ? -1 : bytes.length);
  return Buffer.concat([length, bytes ?? Buffer.alloc(0)]);
}

export interface MadeEvent {
  readonly id: Buffer;
  /** Milliseconds since 1970. */
  readonly time?: number;
  readonly type?: string;
  /** additional_data; the payload group is empty without. */
  readonly data?: string;
  /** A commitment of an actor group that is gone. */
  readonly erased?: Buffer;
}

const SALT = Buffer.alloc(16, 7);

const columnsOf = ({ data }: MadeEvent) =>
  Buffer.concat([null, null, null, null, data === undefined ? null : Buffer.from(data), null, null].map(frame));

/** What opens an event's payload: salt and columns. */
const openingOf = (event: MadeEvent) =>
  Buffer.concat([frame(event.data === undefined ? null : SALT), frame(columnsOf(event))]);

function entryOf(event: MadeEvent): Buffer {
  const time = Buffer.alloc(8);
  time.writeBigInt64BE(BigInt((event.time ?? Date.UTC(2026, 1, 3)) - Date.UTC(2000, 0, 1)) * 1000n);
  const commitment =
    event.data === undefined
      ? null
      : createHmac('sha256', SALT).update('auditkeep-event/v1/payload\n').update(columnsOf(event)).digest();
  const bare = [event.id, time, Buffer.from(event.type ?? 'made'), ...Array<null>(11).fill(null)];
  const values = [...bare, event.erased ?? null, commitment];
  return Buffer.concat([Buffer.from('auditkeep-event/v1\n'), ...values.map(frame)]);
}

/** RFC 6962, as it is defined. */
function treeHash(leaves: readonly Buffer[]): Buffer {
  if (leaves.length < 2) return leaves[0] ?? sha256('');
  const split = 2 ** Math.floor(Math.log2(leaves.length - 1));
  return sha256(Buffer.from([1]), treeHash(leaves.slice(0, split)), treeHash(leaves.slice(split)));
}

const leafOf = (entry: Uint8Array) => sha256(Buffer.from([0]), entry);

function chainOf(leaves: readonly Buffer[]): Buffer {
  let last: Buffer = ZEROS;
  const hashes = leaves.map((leaf, seq) => {
    const place = Buffer.alloc(8);
    place.writeBigInt64BE(BigInt(seq));
    last = sha256(Buffer.from([2]), last, place, leaf);
    return last;
  });
  return Buffer.concat(hashes);
}

/** Parts by name. */
export type Made = Map<string, Buffer>;

const LISTED = ['README.txt', 'checkpoint', 'checkpoints.ndjson', 'erasures.ndjson', 'records.ndjson', 'log.vkey'];

/** Writes bundle.json anew over the listed parts. */
export function listAnew(parts: Made, fields: { readonly [name: string]: JsonValue } = {}): Made {
  const files = LISTED.filter((name) => parts.has(name)).map((name) => [
    name,
    sha256(parts.get(name) ?? '').toString('hex'),
  ]);
  const before = JSON.parse(parts.get('bundle.json')?.toString() ?? '{}') as { [name: string]: JsonValue };
  const manifest = { ...before, files: Object.fromEntries(files) as JsonValue, ...fields };
  return parts.set('bundle.json', Buffer.from(canonicalJson(manifest)));
}

/** The bundle of these events, opened, under a checkpoint of them all. */
export function makeBundle(keys: Keys, events: readonly MadeEvent[], lists: { [name: string]: string } = {}): Made {
  const entries = events.map(entryOf);
  const leaves = entries.map(leafOf);
  const width = `000.p/${events.length}`;
  const sized = entries.map((entry) => {
    const length = Buffer.alloc(2);
    length.writeUInt16BE(entry.length);
    return Buffer.concat([length, entry]);
  });
  const openings = events.map((event) =>
    Buffer.concat([frame(null), frame(Buffer.concat(Array<Buffer>(7).fill(frame(null)))), openingOf(event)]),
  );
  const note = (count: number) =>
    keys.note(`${ORIGIN}\n${count}\n${treeHash(leaves.slice(0, count)).toString('base64')}\n`);
  const parts: Made = new Map([
    ['README.txt', Buffer.from('made\n')],
    ['checkpoint', Buffer.from(note(events.length))],
    ['checkpoints.ndjson', Buffer.from(`${canonicalJson({ note: note(1) })}\n`)],
    ['erasures.ndjson', Buffer.from(lists['erasures'] ?? '')],
    ['records.ndjson', Buffer.from(lists['records'] ?? '')],
    ['log.vkey', Buffer.from(`${keys.vkey}\n`)],
    [`tile/0/${width}`, Buffer.concat(leaves)],
    [`tile/entries/${width}`, Buffer.concat(sized)],
    [`chain/${width}`, chainOf(leaves)],
    [`openings/${width}`, Buffer.concat(openings)],
  ]);
  const size = String(events.length);
  return listAnew(parts, { format: 'auditkeep-bundle/v1', origin: ORIGIN, size, from: '0', to: size, open: true });
}

export interface ErasureMade {
  /** The record's entry, and when it was. */
  readonly time?: number;
  /** Turns the signed text; signed as it then is. */
  readonly payload?: (text: string) => string;
  /** Turns additional_data. */
  readonly data?: (text: string) => string;
}

/** A bundle of three events: the first with an erased group, the last the record of it that two persons signed. */
export async function makeErasure(keys: Keys, made: ErasureMade = {}): Promise<Made> {
  const commitment = sha256('erased');
  const [first, record] = ['aaaaaaaa-0000-4000-8000-000000000001', 'aaaaaaaa-0000-4000-8000-000000000003'];
  const root = leafOf(Buffer.from(`${first}/actor/${commitment.toString('hex')}`)).toString('hex');
  const facts = { format: 'auditkeep-erasure/v1', groups: 1, request_id: REQUEST, root, time: '2026-02-03T00:00:00Z' };
  const payload = (made.payload ?? String)(canonicalJson(facts));
  const signed = JSON.stringify({ payload, signatures: await keys.erasure(payload) });
  const idOf = (text: string) => Buffer.from(text.replaceAll('-', ''), 'hex');
  const event: MadeEvent = {
    id: idOf(record),
    type: 'chain.erasure',
    data: (made.data ?? String)(signed),
    ...(made.time === undefined ? {} : { time: made.time }),
  };
  const events = [{ id: idOf(first), erased: commitment }, { id: idOf(first.replace(/1$/, '2')) }, event];
  const line = { seq: '0', eventId: first, group: 'actor', commitment: commitment.toString('hex') };
  return makeBundle(keys, events, {
    erasures: `${canonicalJson({ ...line, requestId: REQUEST, recordEventId: record })}\n`,
    records: `${canonicalJson({
      seq: '2',
      kind: 'chain.erasure',
      entry: entryOf(event).toString('base64'),
      opening: openingOf(event).toString('base64'),
    })}\n`,
  });
}

/** Writes the parts as a folder. */
export async function writeParts(folder: string, parts: Made): Promise<void> {
  for (const [name, bytes] of parts) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), bytes);
  }
}
