#!/usr/bin/env node
/**
 * Checks audit bundles and proofs offline: Node.js 20 or newer, this one file, nothing else. Written from
 * docs/spec/audit-event-v1.md, checkpoint-v1.md and tlog-bundle-v1.md and from the C2SP and RFC documents they name; it
 * imports nothing of the program that makes bundles. It is one long file on purpose: an auditor reads and copies one.
 *
 *   node verify.mjs BUNDLE --key 'NAME+ID+KEY' [--signers FILE] [--checkpoint FILE]... [--witness 'NAME+ID+KEY']... [--json]
 *   node verify.mjs proof FILE --key 'NAME+ID+KEY' [--entry FILE] [--witness ...]... [--json]
 *   node verify.mjs consistency OLD NEW PROOF --key 'NAME+ID+KEY' [--json]
 *
 * Exit codes: 0 intact, 1 tampered, 2 cannot decide.
 */
import * as crypto from 'node:crypto';
import {
  closeSync,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  realpathSync,
  statSync,
} from 'node:fs';
import * as zlib from 'node:zlib';

const HASH_BYTES = 32;
const TILE_WIDTH = 256;
const MAX_NOTE_CHARACTERS = 16_384;
const MAX_SMALL_FILE = 1 << 20;
const MAX_LIST_FILE = 1 << 30;
const MAX_ENTRIES_FILE = TILE_WIDTH * (2 + 0xffff);
const MAX_OPENINGS_FILE = 0x7fff_ffff;
const MAX_SHOWN = 50;
/** No line of a list and no JSON nests or is longer than this by far. */
const MAX_LINE = 1 << 20;
const MAX_NESTING = 32;
/** Findings that are kept: a list of a thousand million empty lines must not fill the memory. */
const MAX_FINDINGS = 10_000;
const MAX_MISSING = 1000;

/** Something that is not as it must be: exit code 1. */
class Tampered extends Error {
  constructor(kind, where, what, place = {}) {
    super(`${kind}: ${where}: ${what}`);
    this.finding = { class: kind, where, what, ...place };
  }
}

/** Something that this program cannot judge: exit code 2. */
class Undecided extends Error {}

/** Findings and doubts of one run. Whatever a step throws becomes one of them: what a file holds ends no run. */
class Judgement {
  findings = [];
  doubts = [];
  #more = 0;

  get isFull() {
    return this.#more > 0;
  }

  add(kind, where, what, place = {}) {
    if (this.findings.length < MAX_FINDINGS) this.findings.push({ class: kind, where, what, ...place });
    else this.#more += 1;
  }

  /** Runs a step; what it finds does not keep the next ones from running. Gives undefined when it did not end. */
  guard(where, step) {
    try {
      return step();
    } catch (error) {
      this.#take(where, error);
      return undefined;
    }
  }

  #take(where, error) {
    if (error instanceof Tampered) {
      const { class: kind, where: named, what, ...place } = error.finding;
      this.add(kind, named, what, place);
    } else if (error instanceof Undecided) this.doubts.push(error.message);
    // The system's refusal (no right to read, a disk's error) says nothing about the bundle.
    else if (error?.syscall !== undefined) this.doubts.push(`${where} cannot be read: ${error.code}`);
    else this.add('part-invalid', where, `cannot be judged: ${error?.message}`);
  }
}

/** Text of a bundle as it may stand in a terminal: control, format and lone surrogate characters as \uXXXX. */
export function escapeControls(text) {
  const units = (found) => found.split('').map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (found) => units(found).join(''));
}

const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);

/** Whether an object has exactly these fields. Names are compared one by one: joined, `a,b` would be a and b. */
function hasExactly(value, fields) {
  const names = Object.keys(value);
  return names.length === fields.length && fields.every((name) => Object.hasOwn(value, name));
}

// ---- hashes and the tree (RFC 6962, RFC 9162) ----------------------------------------------------------------------

export function sha256(...parts) {
  const bytes = parts.length === 1 ? parts[0] : Buffer.concat(parts);
  return crypto.hash ? crypto.hash('sha256', bytes, 'buffer') : crypto.createHash('sha256').update(bytes).digest();
}

const ZERO = Buffer.from([0]);
const ONE = Buffer.from([1]);
const TWO = Buffer.from([2]);

export const leafHash = (entry) => sha256(ZERO, entry);
export const nodeHash = (left, right) => sha256(ONE, left, right);

/** chain_hash of a leaf: SHA-256(0x02 || previous || int64 seq || leaf). */
function linkHash(previous, seq, leaf) {
  const position = Buffer.alloc(8);
  position.writeBigInt64BE(BigInt(seq));
  return sha256(TWO, previous, position, leaf);
}

/** The growing tree: the roots of its full subtrees, largest first. */
export class Tree {
  #nodes = [];
  size = 0;

  push(leaf) {
    let node = leaf;
    for (let rest = this.size; rest % 2 === 1; rest = (rest - 1) / 2) node = nodeHash(this.#nodes.pop(), node);
    this.#nodes.push(node);
    this.size += 1;
  }

  root() {
    if (this.size === 0) return sha256(Buffer.alloc(0));
    return this.#nodes.reduceRight((right, left) => nodeHash(left, right));
  }
}

function treeOf(leaves) {
  const tree = new Tree();
  for (const leaf of leaves) tree.push(leaf);
  return tree.root();
}

const isHash = (bytes) => bytes.length === HASH_BYTES;

/** RFC 9162 section 2.1.3.2. Sizes are bigint. */
export function verifyInclusion({ index, size, leaf, root, proof }) {
  if (index < 0n || index >= size || ![leaf, root, ...proof].every(isHash)) return false;
  let at = index;
  let last = size - 1n;
  let hash = leaf;
  for (const sibling of proof) {
    if (last === 0n) return false;
    if (at % 2n === 1n || at === last) {
      hash = nodeHash(sibling, hash);
      while (at % 2n === 0n && at !== 0n) {
        at /= 2n;
        last /= 2n;
      }
    } else {
      hash = nodeHash(hash, sibling);
    }
    at /= 2n;
    last /= 2n;
  }
  return last === 0n && hash.equals(root);
}

/** RFC 9162 section 2.1.4.2. An empty first tree proves nothing and is refused. Sizes are bigint. */
export function verifyConsistency({ size1, size2, root1, root2, proof }) {
  if (size1 <= 0n || size1 > size2) return false;
  if (size1 === size2) return proof.length === 0 && root1.equals(root2);
  if (![root1, root2, ...proof].every(isHash)) return false;
  const isPower = (size1 & (size1 - 1n)) === 0n;
  const path = isPower ? [root1, ...proof] : [...proof];
  if (path.length === 0) return false;
  let at = size1 - 1n;
  let last = size2 - 1n;
  while (at % 2n === 1n) {
    at /= 2n;
    last /= 2n;
  }
  let first = path[0];
  let second = path[0];
  for (const node of path.slice(1)) {
    if (last === 0n) return false;
    if (at % 2n === 1n || at === last) {
      first = nodeHash(node, first);
      second = nodeHash(node, second);
      while (at % 2n === 0n && at !== 0n) {
        at /= 2n;
        last /= 2n;
      }
    } else {
      second = nodeHash(second, node);
    }
    at /= 2n;
    last /= 2n;
  }
  return last === 0n && first.equals(root1) && second.equals(root2);
}

// ---- signed notes and checkpoints (C2SP signed-note, tlog-checkpoint, tlog-cosignature) ------------------------------

/** Padded, canonical base64 or null. */
function fromBase64(text) {
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : null;
}

/**
 * Reads a verifier key line, `name+id+base64(type || key)`. Type 0x01 is a log's, 0x04 a witness's.
 * @throws Undecided when it is malformed
 */
export function parseVerifierKey(line) {
  const [, name, id, encoded] = /^([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})$/u.exec(line.trim()) ?? [];
  const bytes = encoded === undefined ? null : fromBase64(encoded);
  if (bytes === null || bytes.length !== 33 || (bytes[0] !== 1 && bytes[0] !== 4)) {
    throw new Undecided('the verifier key is not NAME+ID+KEY of an Ed25519 key');
  }
  if (
    sha256(Buffer.from(`${name}\n`), bytes)
      .subarray(0, 4)
      .toString('hex') !== id
  ) {
    throw new Undecided('the id in the verifier key is not that of its key');
  }
  const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), bytes.subarray(1)]);
  const publicKey = crypto.createPublicKey({ key: spki, format: 'der', type: 'spki' });
  return { name, id: Buffer.from(id, 'hex'), type: bytes[0], publicKey };
}

/** Parts a note into its text and its signature lines; every byte is accounted for. */
export function splitNote(note, where = 'note') {
  const bad = (what) => new Tampered('checkpoint-invalid', where, what);
  if (note.length > MAX_NOTE_CHARACTERS) throw bad('is longer than a note may be');
  for (const character of note) {
    const code = character.codePointAt(0);
    if ((code < 0x20 && code !== 0x0a) || code === 0xfffd || (code >= 0xd800 && code <= 0xdfff)) {
      throw bad('holds characters that a note may not hold');
    }
  }
  const split = note.lastIndexOf('\n\n');
  if (split < 0 || !note.endsWith('\n')) throw bad('has no signatures');
  const signatures = note
    .slice(split + 2, -1)
    .split('\n')
    .map((line) => {
      const [, name, encoded] = /^\u2014 ([^\s+]+) ([A-Za-z0-9+/]+={0,2})$/u.exec(line) ?? [];
      const bytes = encoded === undefined ? null : fromBase64(encoded);
      if (bytes === null || bytes.length <= 4) throw bad('has a malformed signature line');
      return { name, id: bytes.subarray(0, 4), signature: bytes.subarray(4) };
    });
  return { text: note.slice(0, split + 1), signatures };
}

/** The text of a note that a key has signed. @throws Tampered */
export function openNote(note, key, where = 'note') {
  const { text, signatures } = splitNote(note, where);
  const ours = signatures.filter((line) => line.name === key.name && line.id.equals(key.id));
  if (ours.length === 0) throw new Tampered('checkpoint-invalid', where, `bears no signature by ${key.name}`);
  for (const { signature } of ours) {
    if (!verifySignature(key, text, signature)) {
      throw new Tampered('checkpoint-invalid', where, `the signature of ${key.name} does not verify`);
    }
  }
  return text;
}

function verifySignature(key, text, signature) {
  if (key.type === 1)
    return signature.length === 64 && crypto.verify(null, Buffer.from(text), key.publicKey, signature);
  // A time of zero would say nothing about when, and tlog-witness forbids it.
  if (signature.length !== 72 || signature.readBigUInt64BE(0) === 0n) return false;
  const message = `cosignature/v1\ntime ${signature.readBigUInt64BE(0)}\n${text}`;
  return crypto.verify(null, Buffer.from(message), key.publicKey, signature.subarray(8));
}

/** Origin, size and root of a checkpoint's text. */
export function parseTreeHead(text, where = 'checkpoint') {
  const bad = (what) => new Tampered('checkpoint-invalid', where, what);
  const lines = text.split('\n').slice(0, -1);
  if (lines.length < 3 || lines.includes('')) throw bad('is not a checkpoint: fewer than three lines, or an empty one');
  if (!/^(0|[1-9][0-9]{0,18})$/.test(lines[1])) throw bad('has a malformed size');
  const root = fromBase64(lines[2]);
  if (root === null || !isHash(root)) throw bad('has a malformed root');
  return { origin: lines[0], size: BigInt(lines[1]), root };
}

/** The tree head of a checkpoint of the log that the key names; without a key it is only read. */
function openCheckpoint(note, key, where) {
  const text = key === null ? splitNote(note, where).text : openNote(note, key, where);
  const head = parseTreeHead(text, where);
  if (key !== null && head.origin !== key.name) {
    throw new Tampered('checkpoint-invalid', where, `is of the log ${head.origin}, not ${key.name}`);
  }
  return head;
}

/** Which of the given witnesses have not cosigned. @throws Tampered when a cosignature does not verify */
function missingWitnesses(note, witnesses, where) {
  const { text, signatures } = splitNote(note, where);
  return witnesses.filter((key) => {
    const theirs = signatures.filter((line) => line.name === key.name && line.id.equals(key.id));
    if (theirs.some(({ signature }) => !verifySignature(key, text, signature))) {
      throw new Tampered('checkpoint-invalid', where, `the cosignature of ${key.name} does not verify`);
    }
    return theirs.length === 0;
  });
}

// ---- entries (audit-event/v1) --------------------------------------------------------------------------------------

const ENTRY_PREFIX = Buffer.from('auditkeep-event/v1\n');
const BARE_COLUMNS = [
  'id',
  'event_timestamp',
  'event_type',
  'event_category',
  'event_action',
  'request_id',
  'correlation_id',
  'resource_type',
  'security_classification',
  'data_sensitivity',
  'result',
  'server_name',
  'service_name',
  'version',
];
const GROUPS = {
  actor: ['user_id', 'user_email', 'user_roles', 'session_id', 'ip_address', 'user_agent', 'actor_envelope'],
  payload: [
    'resource_id',
    'resource_path',
    'old_values',
    'new_values',
    'additional_data',
    'error_message',
    'payload_envelope',
  ],
};
const UUID_COLUMNS = new Set(['id', 'request_id', 'correlation_id', 'user_id', 'session_id']);

/** Frames from an offset: int32 length, -1 for NULL. Gives null when they do not fit; a length is checked before use. */
function readFrames(bytes, start, count) {
  const values = [];
  let at = start;
  for (let n = 0; n < count; n += 1) {
    if (at + 4 > bytes.length) return null;
    const length = bytes.readInt32BE(at);
    at += 4;
    if (length < -1 || length > bytes.length - at) return null;
    values.push(length === -1 ? null : bytes.subarray(at, at + length));
    at += Math.max(length, 0);
  }
  return { values, end: at };
}

/** The fields of an entry, or null when the bytes are no audit-event/v1 entry. */
export function parseEntry(entry) {
  if (!entry.subarray(0, ENTRY_PREFIX.length).equals(ENTRY_PREFIX)) return null;
  const frames = readFrames(entry, ENTRY_PREFIX.length, BARE_COLUMNS.length + 2);
  if (frames === null || frames.end !== entry.length) return null;
  const [id, time] = frames.values;
  const actor = frames.values[BARE_COLUMNS.length];
  const payload = frames.values[BARE_COLUMNS.length + 1];
  if (id?.length !== 16 || time?.length !== 8) return null;
  if ([actor, payload].some((digest) => digest !== null && !isHash(digest))) return null;
  return { id, columns: frames.values.slice(0, BARE_COLUMNS.length), commitments: { actor, payload } };
}

function uuidText(bytes) {
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

function timeText(bytes) {
  const micros = bytes.readBigInt64BE() + 946_684_800_000_000n;
  const rest = ((micros % 1000n) + 1000n) % 1000n;
  const date = new Date(Number((micros - rest) / 1000n));
  return Number.isNaN(date.getTime())
    ? `${micros} us`
    : `${date.toISOString().slice(0, -1)}${String(rest).padStart(3, '0')}Z`;
}

/** Columns as text, by name, without those that are NULL. */
function describe(names, values) {
  const shown = {};
  for (const [at, name] of names.entries()) {
    const value = values[at];
    if (value === null) continue;
    if (UUID_COLUMNS.has(name) && value.length === 16) shown[name] = uuidText(value);
    else shown[name] = name === 'event_timestamp' ? timeText(value) : value.toString('utf8');
  }
  return shown;
}

/**
 * What a group's opening says against its commitment: `opened`, `empty` (never had any), `gone` (columns and salt are
 * NULL, the commitment is not), or `broken`.
 */
export function judgeOpening(group, salt, framed, commitment) {
  const columns = framed === null ? null : readFrames(framed, 0, GROUPS[group].length);
  if (columns === null || columns.end !== framed.length) return 'broken';
  if (salt === null) {
    if (columns.values.some((value) => value !== null)) return 'broken';
    return commitment === null ? 'empty' : 'gone';
  }
  if (commitment === null || salt.length !== 16) return 'broken';
  const mac = crypto.createHmac('sha256', salt).update(`auditkeep-event/v1/${group}\n`).update(framed).digest();
  return mac.equals(commitment) ? 'opened' : 'broken';
}

// ---- signatures of persons (OpenSSH PROTOCOL.sshsig, ssh-keygen(1) ALLOWED SIGNERS) -----------------------------------

/** Fields of the SSH wire encoding, one after the other; throws where the bytes end early. */
class Wire {
  #at = 0;

  constructor(bytes) {
    this.bytes = bytes;
  }

  raw(length) {
    if (length > this.bytes.length - this.#at) throw new RangeError('ends early');
    this.#at += length;
    return this.bytes.subarray(this.#at - length, this.#at);
  }

  number = () => this.raw(4).readUInt32BE(0);
  string = () => this.raw(this.number());
  text = () => this.string().toString('latin1');

  /** An mpint that is not negative, without the zero that says so. */
  unsigned() {
    const bytes = this.string();
    if (bytes[0] >= 0x80 || (bytes[0] === 0 && !(bytes[1] >= 0x80))) throw new RangeError('a malformed number');
    return bytes[0] === 0 ? bytes.subarray(1) : bytes;
  }

  end() {
    if (this.#at !== this.bytes.length) throw new RangeError('has bytes after its end');
  }
}

const wireString = (bytes) => {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, Buffer.from(bytes)]);
};
const EC = {
  nistp256: { crv: 'P-256', hash: 'sha256', size: 32 },
  nistp384: { crv: 'P-384', hash: 'sha384', size: 48 },
  nistp521: { crv: 'P-521', hash: 'sha512', size: 66 },
};

/** An SSH public key: type, fingerprint as `ssh-keygen -l` prints it, and a check of raw signatures. Throws when malformed. */
function sshKey(blob) {
  const wire = new Wire(blob);
  const type = wire.text();
  const isToken = type.startsWith('sk-');
  const base64url = (bytes) => bytes.toString('base64url');
  let jwk;
  let curve = null;
  if (type === 'ssh-ed25519' || type === 'sk-ssh-ed25519@openssh.com') {
    jwk = { kty: 'OKP', crv: 'Ed25519', x: base64url(wire.string()) };
  } else if (/^(ecdsa-sha2-nistp(256|384|521)|sk-ecdsa-sha2-nistp256@openssh\.com)$/.test(type)) {
    const name = wire.text();
    curve = EC[name];
    const point = wire.string();
    if (curve === undefined || !type.includes(name) || point.length !== 1 + 2 * curve.size || point[0] !== 4) {
      throw new RangeError('a malformed point');
    }
    const [x, y] = [point.subarray(1, 1 + curve.size), point.subarray(1 + curve.size)];
    jwk = { kty: 'EC', crv: curve.crv, x: base64url(x), y: base64url(y) };
  } else if (type === 'ssh-rsa') {
    const [e, n] = [wire.unsigned(), wire.unsigned()];
    if (n.length < 256) throw new RangeError('an RSA key below 2048 bits');
    jwk = { kty: 'RSA', e: base64url(e), n: base64url(n) };
  } else throw new RangeError('a type of key that is not known here');
  const application = isToken ? wire.string() : null;
  wire.end();
  const key = crypto.createPublicKey({ key: jwk, format: 'jwk' });
  const fingerprint = `SHA256:${sha256(blob).toString('base64').replace(/=+$/, '')}`;
  return { type, curve, application, key, fingerprint };
}

/** Whether a signature blob is the key's over these bytes. */
function isSshSignature({ type, curve, application, key }, data, blob) {
  const wire = new Wire(blob);
  const algorithm = wire.text();
  let signature = wire.string();
  let signed = data;
  if (application !== null) {
    const rest = wire.raw(5);
    // PROTOCOL.u2f: the token signs hash(application), flags, counter, hash(data); bit 0 says that somebody touched it.
    if ((rest[0] & 1) === 0) return false;
    signed = Buffer.concat([sha256(application), rest, sha256(data)]);
  }
  wire.end();
  if (type === 'ssh-rsa') {
    const hash = { 'rsa-sha2-512': 'sha512', 'rsa-sha2-256': 'sha256' }[algorithm];
    return hash !== undefined && crypto.verify(hash, signed, key, signature);
  }
  if (algorithm !== type) return false;
  if (curve === null) return crypto.verify(null, signed, key, signature);
  const numbers = new Wire(signature);
  const pair = [numbers.unsigned(), numbers.unsigned()];
  numbers.end();
  if (pair.some((number) => number.length > curve.size)) return false;
  signature = Buffer.concat(pair.flatMap((number) => [Buffer.alloc(curve.size - number.length), number]));
  return crypto.verify(curve.hash, signed, { key, dsaEncoding: 'ieee-p1363' }, signature);
}

/** The fingerprint of the key that made an armored signature over a text, or null when it does not verify. */
export function openSshsig(armored, namespace, text) {
  try {
    const [, body] = /^-----BEGIN SSH SIGNATURE-----\n([A-Za-z0-9+/=\n]+)\n-----END SSH SIGNATURE-----\n?$/.exec(
      armored,
    );
    const wire = new Wire(fromBase64(body.replaceAll('\n', '')));
    if (wire.raw(6).toString('latin1') !== 'SSHSIG' || wire.number() !== 1) return null;
    const key = sshKey(wire.string());
    const [name, reserved, hash, signature] = [wire.text(), wire.string(), wire.text(), wire.string()];
    wire.end();
    if (name !== namespace || !['sha256', 'sha512'].includes(hash)) return null;
    const digest = crypto.createHash(hash).update(text).digest();
    const parts = [Buffer.from(namespace), reserved, Buffer.from(hash), digest].map(wireString);
    const signed = Buffer.concat([Buffer.from('SSHSIG'), ...parts]);
    return isSshSignature(key, signed, signature) ? key.fingerprint : null;
  } catch {
    return null;
  }
}

/** 14 digits of a UTC time, as allowed_signers writes it; null for a time that it cannot write. */
const stampOf = (iso) => (/^\d{4}-/.test(iso) ? iso.replace(/\D/g, '').slice(0, 14) : null);

/**
 * Reads a list of signers: OpenSSH's allowed_signers, one principal a line, with namespaces, valid-after and valid-before.
 * @throws Undecided for a line that cannot be read: it might be the one that counts
 */
export function parseSigners(text) {
  return text
    .split('\n')
    .filter((line) => line.trim() !== '' && !line.startsWith('#'))
    .map((line) => {
      const [, principal, options = '', type, body] =
        /^(\S+)\s+(?:((?:[a-z-]+="[^"]*",?|cert-authority,?)+)\s+)?([a-z][a-z0-9@.-]*)\s+([A-Za-z0-9+/]+={0,2})(?:\s.*)?$/.exec(
          line,
        ) ?? [];
      let fingerprint;
      try {
        const key = sshKey(fromBase64(body));
        if (key.type !== type || /cert-authority/.test(options)) throw new RangeError('not this key');
        ({ fingerprint } = key);
      } catch {
        throw new Undecided('a line of the list of signers cannot be read');
      }
      const option = (name) => new RegExp(`(?:^|,)${name}="([^"]*)"`).exec(options)?.[1] ?? null;
      const bound = (name) => option(name)?.replace(/Z$/, '').padEnd(14, '0') ?? null;
      const namespaces = option('namespaces')?.split(',') ?? null;
      return { principal, fingerprint, namespaces, after: bound('valid-after'), before: bound('valid-before') };
    });
}

/** The person whom a list names for a key, a purpose and a time; null when it names nobody. */
function personOf(signers, fingerprint, namespace, time) {
  const at = stampOf(time);
  if (at === null) return null;
  const line = signers.find(
    (signer) =>
      signer.fingerprint === fingerprint &&
      (signer.namespaces === null || signer.namespaces.includes(namespace)) &&
      (signer.after === null || signer.after <= at) &&
      (signer.before === null || at < signer.before),
  );
  return line?.principal ?? null;
}

// ---- where a bundle lies: a folder or a zip ------------------------------------------------------------------------

const PART_NAME = new RegExp(
  '^(README\\.txt|bundle\\.json|log\\.vkey|checkpoint|(checkpoints|erasures|records|certificates|manifests)\\.ndjson|' +
    '(tile/([0-9]|[1-5][0-9]|6[0-3]|entries)|chain|openings)/(x[0-9]{3}/)*[0-9]{3}(\\.p/[1-9][0-9]{0,2})?)$',
);

function openFolder(folder) {
  const names = [];
  const walk = (below) => {
    for (const entry of readdirSync(below === '' ? folder : `${folder}/${below}`, { withFileTypes: true })) {
      const name = below === '' ? entry.name : `${below}/${entry.name}`;
      if (entry.isDirectory()) walk(name);
      else if (entry.isFile()) names.push(name);
      else throw new Tampered('unexpected-part', name, 'is neither a file nor a folder');
    }
  };
  walk('');
  return {
    names,
    read(name, limit) {
      const path = `${folder}/${name}`;
      const size = lstatSync(path).size;
      if (size > limit) throw new Tampered('part-invalid', name, `has ${size} bytes, more than it may have`);
      return readFileSync(path);
    },
    close() {},
  };
}

function crc32(bytes) {
  if (zlib.crc32) return zlib.crc32(bytes);
  let crc = 0xffff_ffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb8_8320 : 0);
  }
  return (crc ^ 0xffff_ffff) >>> 0;
}

function openZip(path) {
  const fd = openSync(path, 'r');
  try {
    return readZip(fd, path);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** A zip of the one form that tlog-bundle-v1 allows: parts stored, sorted, side by side, every byte determined. */
function readZip(fd, path) {
  const bad = (what) => new Tampered('zip-invalid', path.split('/').pop(), what);
  const length = fstatSync(fd).size;
  const slice = (at, size) => {
    if (at < 0 || size < 0 || at + size > length) throw bad('names bytes that it does not have');
    const bytes = Buffer.alloc(size);
    let done = 0;
    while (done < size) {
      const read = readSync(fd, bytes, done, size - done, at + done);
      if (read === 0) throw bad('ends early');
      done += read;
    }
    return bytes;
  };
  if (length < 22) throw bad('is no zip');
  const end = slice(length - 22, 22);
  if (end.readUInt32LE(0) !== 0x06054b50 || end.readUInt32LE(4) !== 0 || end.readUInt16LE(20) !== 0) {
    throw bad('does not end as a zip without comment ends');
  }
  const count = end.readUInt16LE(8);
  const directoryAt = end.readUInt32LE(16);
  const directorySize = end.readUInt32LE(12);
  if (end.readUInt16LE(10) !== count || directoryAt + directorySize !== length - 22)
    throw bad('has bytes that no part accounts for');
  if (directorySize < count * 46 || directorySize > count * (46 + 1024))
    throw bad('has a directory that does not fit its count');
  const directory = slice(directoryAt, directorySize);
  const parts = new Map();
  let at = 0;
  let offset = 0;
  let previous = '';
  for (let n = 0; n < count; n += 1) {
    if (at + 46 > directory.length) throw bad('has a directory that ends early');
    const nameLength = directory.readUInt16LE(at + 28);
    const name = directory.subarray(at + 46, at + 46 + nameLength).toString('latin1');
    const size = directory.readUInt32LE(at + 20);
    if (!PART_NAME.test(name))
      throw bad(`has a part with a name that is not allowed: ${JSON.stringify(name.slice(0, 80))}`);
    if (parts.has(name)) throw bad(`has the part ${name} twice`);
    if (name <= previous) throw bad(`has the part ${name} out of order`);
    if (offset + 30 + nameLength + size > directoryAt) throw bad(`has the part ${name} beyond its end`);
    const fixed = Buffer.from('504b01020a000a000000000000002100', 'hex');
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(offset, 10);
    const same =
      directory.subarray(at, at + 16).equals(fixed) &&
      directory.readUInt32LE(at + 24) === size &&
      directory.subarray(at + 32, at + 46).equals(Buffer.concat([Buffer.alloc(10), tail.subarray(10)])) &&
      directory.readUInt16LE(at + 30) === 0;
    if (!same) throw bad(`has the part ${name} in another form than stored, without extras`);
    const header = slice(offset, 30 + nameLength);
    const expected = Buffer.concat([
      Buffer.from('504b0304', 'hex'),
      directory.subarray(at + 6, at + 32),
      Buffer.from(name, 'latin1'),
    ]);
    if (!header.equals(expected)) throw bad(`has a header of ${name} that differs from its directory`);
    parts.set(name, { at: offset + 30 + nameLength, size, crc: directory.readUInt32LE(at + 16) });
    offset += 30 + nameLength + size;
    at += 46 + nameLength;
    previous = name;
  }
  if (at !== directory.length || offset !== directoryAt) throw bad('has bytes that no part accounts for');
  return {
    names: [...parts.keys()],
    read(name, limit) {
      const part = parts.get(name);
      if (part.size > limit) throw new Tampered('part-invalid', name, `has ${part.size} bytes, more than it may have`);
      const bytes = slice(part.at, part.size);
      if (crc32(bytes) !== part.crc) throw new Tampered('part-invalid', name, 'does not have the checksum of the zip');
      return bytes;
    },
    close: () => closeSync(fd),
  };
}

function openSource(path) {
  let found;
  try {
    found = statSync(path);
  } catch {
    throw new Undecided(`there is nothing at ${path}`);
  }
  return found.isDirectory() ? openFolder(path.replace(/\/+$/, '')) : openZip(path);
}

// ---- bundles (tlog-bundle/v1) --------------------------------------------------------------------------------------

const LISTED = ['README.txt', 'checkpoint', 'checkpoints.ndjson', 'erasures.ndjson', 'records.ndjson'];
/** Parts that a bundle has where it has something to say in them. */
const OPTIONAL = ['log.vkey', 'certificates.ndjson', 'manifests.ndjson'];

/** RFC 8785 for what a bundle holds: strings, numbers, booleans, null, and lists and objects of them. */
function canonicalJson(value, depth = 0) {
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  if (depth > MAX_NESTING) throw new RangeError('nests too deep');
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item, depth + 1)).join(',')}]`;
  const fields = Object.keys(value)
    .sort()
    .map((name) => `${JSON.stringify(name)}:${canonicalJson(value[name], depth + 1)}`);
  return `{${fields.join(',')}}`;
}

/** Whether the text that ended before this place is the name of a field. */
function isName(text, end) {
  let at = end;
  while (' \t\n\r'.includes(text[at] ?? ':')) at += 1;
  return text[at] === ':';
}

/** Whether an object in a JSON text has a name twice, or nests too deep; the text is known to be JSON. */
function isAmbiguous(text) {
  const open = [];
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at];
    if (character === '{' || character === '[') open.push(new Set());
    else if (character === '}' || character === ']') open.pop();
    if (open.length > MAX_NESTING) return true;
    if (character !== '"') continue;
    const start = at;
    for (at += 1; text[at] !== '"'; at += 1) if (text[at] === '\\') at += 1;
    if (!isName(text, at + 1)) continue;
    const name = JSON.parse(text.slice(start, at + 1));
    if (open.at(-1).has(name)) return true;
    open.at(-1).add(name);
  }
  return false;
}

/** Whether a text is the canonical one of an object. Nothing that is read here nests deep. */
function isCanonical(value, text) {
  try {
    return isObject(value) && canonicalJson(value) === text;
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}

/** An object of exactly these fields, written canonically. */
function parseCanonical(text, fields, where) {
  let value;
  if (text.length > MAX_LINE) throw new Tampered('part-invalid', where, 'is longer than it may be');
  try {
    value = JSON.parse(text);
  } catch {
    throw new Tampered('part-invalid', where, 'is not JSON');
  }
  if (!isCanonical(value, text)) throw new Tampered('part-invalid', where, 'is not canonical JSON');
  if (!hasExactly(value, fields)) {
    throw new Tampered('part-invalid', where, 'has other fields than it must have');
  }
  return value;
}

function parseCount(text, where) {
  const isCount = typeof text === 'string' && /^(0|[1-9][0-9]{0,15})$/.test(text);
  if (!isCount || !Number.isSafeInteger(Number(text)))
    throw new Tampered('part-invalid', where, 'has a malformed number');
  return Number(text);
}

function readManifest(source) {
  const where = 'bundle.json';
  if (!source.names.includes(where)) throw new Tampered('part-missing', where, 'is missing');
  const text = source.read(where, MAX_SMALL_FILE).toString('utf8');
  const value = parseCanonical(text, ['format', 'origin', 'size', 'from', 'to', 'open', 'files'], where);
  const bad = (what) => new Tampered('part-invalid', where, what);
  if (value.format !== 'auditkeep-bundle/v1') throw bad('is not auditkeep-bundle/v1');
  const [size, from, to] = [value.size, value.from, value.to].map((count) => parseCount(count, where));
  if (typeof value.origin !== 'string' || typeof value.open !== 'boolean') throw bad('has a malformed field');
  if (from > to || to > size || from % TILE_WIDTH !== 0 || (to % TILE_WIDTH !== 0 && to !== size)) {
    throw bad('names a range that is not one of whole tiles');
  }
  const files = value.files;
  if (!isObject(files) || !hasExactly(files, [...LISTED, ...OPTIONAL.filter((name) => Object.hasOwn(files, name))]))
    throw bad('lists other files than it must');
  const isDigest = (digest) => typeof digest === 'string' && /^[0-9a-f]{64}$/.test(digest);
  if (!Object.values(files).every(isDigest)) throw bad('has a malformed sha256');
  return { origin: value.origin, size, from, to, open: value.open, files };
}

/** `x001/x234/067`, and `.p/<width>` when it is partial. */
export function tilePath(index, width) {
  let path = String(index % 1000).padStart(3, '0');
  for (let rest = Math.floor(index / 1000); rest > 0; rest = Math.floor(rest / 1000)) {
    path = `x${String(rest % 1000).padStart(3, '0')}/${path}`;
  }
  return width === TILE_WIDTH ? path : `${path}.p/${width}`;
}

function* tilesOf(first, end) {
  for (let at = first; at < end; at += TILE_WIDTH) {
    const width = Math.min(TILE_WIDTH, end - at);
    yield { at, width, path: tilePath(at / TILE_WIDTH, width) };
  }
}

/** Every part that a bundle of this manifest must have, and no other. */
function* expectedParts(manifest) {
  yield 'bundle.json';
  yield* Object.keys(manifest.files);
  for (let level = 0, width = manifest.size; width > 0; level += 1, width = Math.floor(width / TILE_WIDTH)) {
    for (const { path } of tilesOf(0, width)) yield `tile/${level}/${path}`;
  }
  for (const { path } of tilesOf(manifest.from, manifest.to)) {
    yield `tile/entries/${path}`;
    yield `chain/${path}`;
    if (manifest.open) yield `openings/${path}`;
  }
}

/** How many parts that are: told without naming them, as the numbers may be any. */
function countParts({ files, size, from, to, open }) {
  let count = 1 + Object.keys(files).length + Math.ceil((to - from) / TILE_WIDTH) * (open ? 3 : 2);
  for (let width = size; width > 0; width = Math.floor(width / TILE_WIDTH)) count += Math.ceil(width / TILE_WIDTH);
  return count;
}

/** One run over one bundle: what was checked and what was found. */
class BundleCheck extends Judgement {
  counts = {
    leaves: 0,
    tiles: 0,
    checkpoints: 0,
    entries: 0,
    openings: 0,
    erased: 0,
    records: 0,
    certificates: 0,
    purged: 0,
  };
  #destroyed = [];
  #standing = 0;
  #present = new Set();
  #ids = new BigUint64Array(1024);
  #wanted = new Map();
  #rewritten = false;
  #records = new Map();
  #requests = new Map();
  #told = undefined;
  #upper = [];
  #isRootSigned = false;
  #lastRead = { name: null, entries: [] };
  lost = [];
  erasures = new Map();

  constructor(source) {
    super();
    this.source = source;
  }

  /** Each section by itself: what one cannot judge is a finding of it and hides nothing of the others. */
  run(options) {
    const manifest = this.guard('bundle.json', () => readManifest(this.source));
    if (manifest === undefined) return;
    this.manifest = manifest;
    this.log = namesOf(manifest.origin);
    this.#present = new Set(this.source.names);
    this.guard('bundle.json', () => this.#checkParts());
    const listed = this.#readListed();
    this.key = this.#chooseKey(options.key, listed.get('log.vkey'));
    const head = this.guard('checkpoint', () => this.#openHead(listed.get('checkpoint'), options.witnesses));
    this.guard('records.ndjson', () => this.#readRecords(listed.get('records.ndjson'), options.signers));
    this.guard('checkpoints.ndjson', () => this.#openEarlier(listed.get('checkpoints.ndjson')));
    for (const { text, where } of options.checkpoints) this.#openKept(text, where);
    if (head !== undefined) this.#want(head, 'checkpoint');
    this.guard('erasures.ndjson', () => this.#readErasures(listed.get('erasures.ndjson')));
    this.guard('records.ndjson', () => this.#checkRequests());
    const manifests = this.guard('manifests.ndjson', () => this.#readManifests(listed.get('manifests.ndjson')));
    this.guard('certificates.ndjson', () =>
      this.#readCertificates(listed.get('certificates.ndjson'), { manifests: manifests ?? new Map(), ...options }),
    );
    this.guard('tile/0', () => this.#walk());
    this.guard('tile/entries', () => this.#findDoubled());
    this.#concludeRecords(options.signers);
    if (this.#standing > 0)
      this.doubts.push(`${this.#standing} entries are still there that a certificate calls destroyed`);
    if (!this.#isRootSigned) this.doubts.push('no signed root was compared with the tree');
  }

  #checkParts() {
    const present = new Set(this.#present);
    const demanded = countParts(this.manifest);
    if (demanded > present.size + MAX_MISSING) {
      const what = `declares ${this.manifest.size} events, that is ${demanded} parts, and there are ${present.size}`;
      throw new Tampered('part-missing', 'bundle.json', what);
    }
    for (const name of expectedParts(this.manifest)) {
      if (!present.delete(name)) this.add('part-missing', name, 'is missing');
    }
    for (const name of present) this.add('unexpected-part', name, 'is not a part of this bundle');
  }

  #readListed() {
    const listed = new Map();
    for (const [name, digest] of Object.entries(this.manifest.files)) {
      if (!this.#present.has(name)) continue;
      this.guard(name, () => {
        const isList = name.endsWith('.ndjson');
        const bytes = this.source.read(name, isList ? MAX_LIST_FILE : MAX_SMALL_FILE);
        if (sha256(bytes).toString('hex') !== digest)
          this.add('part-invalid', name, 'does not have the sha256 of bundle.json');
        listed.set(name, isList ? bytes : bytes.toString('utf8'));
      });
    }
    return listed;
  }

  /** The key that was given; else the one inside, which shows only that the bundle agrees with itself. */
  #chooseKey(given, inside) {
    if (inside !== undefined) {
      this.guard('log.vkey', () => {
        const key = readInsideKey(inside);
        if (given !== null && !(key.name === given.name && key.publicKey.equals(given.publicKey))) {
          this.add('key-differs', 'log.vkey', 'is not the key that you gave');
        }
      });
    }
    if (given !== null) return given;
    this.doubts.push('no key was given: the bundle can at most be internally consistent');
    return inside === undefined ? null : (this.guard('log.vkey', () => readInsideKey(inside)) ?? null);
  }

  #openHead(note, witnesses) {
    if (note === undefined) return undefined;
    const head = openCheckpoint(note, this.key, 'checkpoint');
    if (head.origin !== this.manifest.origin || head.size !== BigInt(this.manifest.size)) {
      throw new Tampered('part-invalid', 'bundle.json', 'names another log or size than the checkpoint');
    }
    for (const key of missingWitnesses(note, witnesses, 'checkpoint')) {
      this.doubts.push(`the witness ${key.name} has not cosigned`);
    }
    this.counts.checkpoints += 1;
    return head;
  }

  /** Of every origin that the log had, the oldest first; those beyond what a restore kept are only read. */
  #openEarlier(bytes) {
    let last = '';
    for (const { line, where } of linesOf(bytes, 'checkpoints.ndjson', this)) {
      this.guard(where, () => {
        const { note } = parseCanonical(line, ['note'], where);
        if (typeof note !== 'string') throw new Tampered('part-invalid', where, 'holds no note');
        const { head, incarnation } = this.#openOfLog(note, where);
        const order = `${String(incarnation).padStart(10, '0')}/${String(head.size).padStart(19, '0')}`;
        if (order <= last || (incarnation === this.log.incarnation && head.size >= BigInt(this.manifest.size))) {
          throw new Tampered('checkpoint-invalid', where, 'is out of order');
        }
        last = order;
        if (head.size <= this.#keptOf(incarnation)) this.#want(head, where);
        this.counts.checkpoints += 1;
      });
    }
  }

  /** A checkpoint of the log under the name that it has, or one that it had before a restore. */
  #openOfLog(note, where) {
    const named = parseTreeHead(splitNote(note, where).text, where).origin;
    const incarnation = this.log.names.indexOf(named) + 1;
    if (incarnation === 0) throw new Tampered('checkpoint-invalid', where, `is of another log: ${named}`);
    return { head: openCheckpoint(note, keyNamed(this.key, named), where), incarnation };
  }

  /** How many leaves of an earlier incarnation every later one kept. */
  #keptOf(incarnation) {
    if (incarnation === this.log.incarnation) return BigInt(this.manifest.size);
    const kept = this.lost.filter((record) => record.incarnation > incarnation).map((record) => record.kept);
    return kept.length < this.log.incarnation - incarnation ? 0n : kept.reduce((a, b) => (a < b ? a : b));
  }

  #openKept(text, where) {
    this.guard(where, () => {
      const { head, incarnation } = this.#openOfLog(text, where);
      if (head.size > this.#keptOf(incarnation)) {
        const end = incarnation === this.log.incarnation ? 'this bundle ends at' : 'a restore kept only';
        this.doubts.push(`${where} is of ${head.size} events, ${end} ${this.#keptOf(incarnation)}`);
        return;
      }
      this.#want(head, where);
      this.counts.checkpoints += 1;
    });
  }

  /** The records of erasures and incarnations: entries whose payload is opened, each signed by two. */
  #readRecords(bytes, signers) {
    let last = -1;
    for (const { line, where } of linesOf(bytes, 'records.ndjson', this)) {
      this.guard(where, () => {
        const stored = parseCanonical(line, ['seq', 'kind', 'entry', 'opening'], where);
        const seq = parseCount(stored.seq, where);
        if (seq <= last || seq >= this.manifest.size) throw new Tampered('part-invalid', where, 'is out of order');
        last = seq;
        const record = readRecord(stored, where, signers);
        this.#records.set(seq, { ...record, where });
        this.counts.records += 1;
        if (record.kind === 'chain.incarnation') this.#readIncarnation(record, seq, where);
        else this.#requests.set(record.payload.request_id, { ...record, seq, where, lines: [] });
      });
    }
    for (let incarnation = 2; incarnation <= this.log.incarnation; incarnation += 1) {
      if (this.lost.some((record) => record.incarnation === incarnation)) continue;
      this.doubts.push(
        `the log's name says incarnation ${incarnation}, and no record here tells what was lost before it`,
      );
    }
  }

  #readIncarnation({ payload }, seq, where) {
    const { incarnation, abandoned_note: note } = payload;
    const [kept, abandoned] = [payload.kept_size, payload.abandoned_size].map((text) => parseCount(text, where));
    if (!Number.isInteger(incarnation) || incarnation < 2 || incarnation > this.log.incarnation || kept > seq) {
      throw new Tampered('record-invalid', where, 'is not of an incarnation of this log');
    }
    // The bytes of a note that was never signed say nothing: it may be empty where only a witness knew more.
    if (typeof note !== 'string') throw new Tampered('record-invalid', where, 'names no abandoned checkpoint');
    if (note !== '') this.#openOfLog(note, `${where}, abandoned checkpoint`);
    this.lost.push({ incarnation, kept: BigInt(kept) });
    this.doubts.push(
      `${abandoned - kept} events from seq ${kept} on were signed and lost at a restore: incarnation ${incarnation} goes on without them`,
    );
  }

  #want(head, where) {
    if (head.size === 0n) return;
    const size = Number(head.size);
    this.#wanted.set(size, [...(this.#wanted.get(size) ?? []), { root: head.root, where }]);
  }

  #readErasures(bytes) {
    let last = '';
    for (const { line, where } of linesOf(bytes, 'erasures.ndjson', this)) {
      this.guard(where, () => {
        const fields = ['seq', 'eventId', 'group', 'commitment', 'requestId', 'recordEventId'];
        const record = parseCanonical(line, fields, where);
        if (!fields.every((field) => typeof record[field] === 'string')) {
          throw new Tampered('part-invalid', where, 'holds something else than texts');
        }
        const seq = parseCount(record.seq, where);
        const order = `${String(seq).padStart(16, '0')}/${record.group}`;
        if (seq >= this.manifest.size || order <= last) {
          throw new Tampered('part-invalid', where, 'is out of order or beyond the checkpoint');
        }
        last = order;
        if (!Object.hasOwn(GROUPS, record.group)) throw new Tampered('part-invalid', where, 'names no group');
        const request = this.#requests.get(record.requestId);
        if (request === undefined || request.eventId !== record.recordEventId || seq >= request.seq) {
          throw new Tampered('erased-without-record', where, 'no record that comes later names this request', { seq });
        }
        request.lines.push(`${record.eventId}/${record.group}/${record.commitment}`);
        this.erasures.set(seq, { ...this.erasures.get(seq), [record.group]: { ...record, where } });
      });
    }
  }

  /** What two persons signed is the root over all groups of a request, and their number. */
  #checkRequests() {
    for (const { payload, lines, where } of this.#requests.values()) {
      const root = treeOf(lines.sort().map((line) => leafHash(Buffer.from(line)))).toString('hex');
      if (payload.groups === lines.length && payload.root === root) continue;
      this.add('record-invalid', where, 'was signed over other groups than erasures.ndjson has');
    }
  }

  /** A record counts when its entry is the leaf at its place. */
  #checkRecord(seq, leaf) {
    const record = this.#records.get(seq);
    if (record === undefined || leafHash(record.entry).equals(leaf)) return;
    this.add('record-invalid', record.where, 'is not the entry at its place in the tree', { seq });
  }

  #concludeRecords(signers) {
    if (signers !== null) return;
    const vouched = [
      [this.#records.size, 'records'],
      [this.counts.certificates, 'certificates'],
    ].filter(([count]) => count > 0);
    for (const [count, what] of vouched)
      this.doubts.push(`no list of signers was given: nobody vouches for the persons of ${count} ${what}`);
  }

  /** The manifests of partitions that left, by unit; what each says of its leaves is recomputed. */
  #readManifests(bytes) {
    const manifests = new Map();
    let budget = this.manifest.size;
    for (const { line, where } of linesOf(bytes, 'manifests.ndjson', this)) {
      this.guard(where, () => {
        const bad = (what) => new Tampered('manifest-invalid', where, what);
        const fields = ['unit', 'partition', 'rows', 'fingerprint', 'method', 'seqs'];
        const stored = parseCanonical(line, fields, where);
        const isText = fields.every((field) => field === 'seqs' || typeof stored[field] === 'string');
        const pairs = Array.isArray(stored.seqs) ? stored.seqs : [];
        if (!isText || !pairs.every(Array.isArray)) throw bad('has a malformed field');
        const numbers = pairs.map((pair) => pair.map((text) => parseCount(text, where)));
        const { ranges, count } = readRanges(numbers, this.manifest.size, bad);
        if (manifests.has(stored.unit)) throw bad('is of a unit that was told before');
        // No place is in two partitions, so all of them together are not more than the log.
        if (count > budget) throw bad('has more places than are left in the log');
        budget -= count;
        if (stored.method !== 'leaves/1') throw bad('has a fingerprint of an unknown method');
        if (parseCount(stored.rows, where) !== count) throw bad('has another number of rows than of places');
        if (fingerprintOf(this.#leavesAt(ranges, bad)) !== stored.fingerprint) {
          throw bad('has another fingerprint than the leaves at its places');
        }
        manifests.set(stored.unit, { ...stored, ranges });
      });
    }
    return manifests;
  }

  /** Certificates of destruction (certificate-v1): one that holds explains why the entries at its places are not there. */
  #readCertificates(bytes, { manifests, signers }) {
    let budget = this.manifest.size;
    for (const { line, where } of linesOf(bytes, 'certificates.ndjson', this)) {
      this.guard(where, () => {
        const bad = (what) => new Tampered('certificate-invalid', where, what);
        const { document, signature } = parseCanonical(line, ['document', 'signature'], where);
        const certificate = readCertificate(document, signature, { key: this.key, bad });
        if (!this.log.names.includes(certificate.origin)) throw bad('is of another log');
        const { ranges, count } = readRanges(certificate.seqs, this.manifest.size, bad);
        if (count > budget) throw bad('has more places than are left in the log');
        budget -= count;
        const { unit } = certificate;
        if (unit.table !== 'audit_log' || unit.rows !== count)
          throw bad('is not about as many events as it has places');
        checkDecisions(certificate, signers, bad);
        const leaves = this.#leavesAt(ranges, bad);
        if (treeOf(leaves).toString('hex') !== certificate.merkle_root) {
          throw bad('has another Merkle root than the leaves at its places');
        }
        if (unit.fingerprint_method !== 'leaves/1' || fingerprintOf(leaves) !== unit.fingerprint) {
          throw bad('has another fingerprint than the leaves at its places');
        }
        const manifest = manifests.get(String(unit.id));
        if (manifest === undefined || manifest.partition !== unit.partition || !sameRanges(manifest.ranges, ranges)) {
          throw bad('is of a unit whose manifest is not here, or is another');
        }
        this.#destroyed.push(...ranges);
        this.counts.certificates += 1;
      });
    }
    this.#destroyed.sort(([a], [b]) => a - b);
  }

  /** The leaves at some places, as tile/0 has them; the walk holds those against the signed root. */
  #leavesAt(ranges, bad) {
    const leaves = [];
    let tile = { at: -1, bytes: null };
    for (const [from, to] of ranges) {
      for (let seq = from; seq < to; seq += 1) {
        const at = seq - (seq % TILE_WIDTH);
        if (tile.at !== at) tile = { at, bytes: this.#leafTile(at) };
        if (tile.bytes === null) throw bad('is about places whose leaves are not there');
        leaves.push(tile.bytes.subarray((seq - at) * HASH_BYTES, (seq - at + 1) * HASH_BYTES));
      }
    }
    return leaves;
  }

  /** A tile of leaves, or null: what is wrong with it is a finding of the walk. */
  #leafTile(at) {
    const width = Math.min(TILE_WIDTH, this.manifest.size - at);
    const name = `tile/0/${tilePath(at / TILE_WIDTH, width)}`;
    try {
      const bytes = this.#present.has(name) ? this.source.read(name, TILE_WIDTH * HASH_BYTES) : null;
      return bytes?.length === width * HASH_BYTES ? bytes : null;
    } catch {
      return null;
    }
  }

  #isDestroyed(seq) {
    let [low, high] = [0, this.#destroyed.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#destroyed[middle][1] <= seq) low = middle + 1;
      else high = middle;
    }
    return low < this.#destroyed.length && this.#destroyed[low][0] <= seq;
  }

  /** The whole tree once, leaf by leaf; the entries of the range beside it. */
  #walk() {
    const tree = new Tree();
    let chainHash = Buffer.alloc(HASH_BYTES);
    let agreed = 0;
    for (const { at, width, path } of tilesOf(0, this.manifest.size)) {
      const leaves = this.#hashes(`tile/0/${path}`, width);
      if (leaves === null) {
        this.doubts.push(`nothing from seq ${at} on could be checked against the signed roots`);
        return;
      }
      let told = this.#told ?? chainHash;
      const chain = at >= this.manifest.from && at < this.manifest.to ? this.#hashes(`chain/${path}`, width) : null;
      for (const [k, leaf] of leaves.entries()) {
        chainHash = linkHash(chainHash, at + k, leaf);
        if (chain !== null) {
          // Behind a break the chain that is told goes on from where it stands, so one change is one finding.
          const fits = [chainHash, linkHash(told, at + k, leaf)].some((hash) => hash.equals(chain[k]));
          const what = `hash ${k} does not follow from tile/0/${path}`;
          if (!fits) this.add('rehashed', `chain/${path}`, what, { seq: at + k });
          told = chain[k];
        }
        this.#checkRecord(at + k, leaf);
        tree.push(leaf);
        if (this.#wanted.has(tree.size)) agreed = this.#compareRoot(tree, agreed);
      }
      this.#told = chain === null ? undefined : told;
      this.counts.leaves += width;
      this.#cut(0, at / TILE_WIDTH, leaves);
      if (at >= this.manifest.from && at < this.manifest.to) this.#checkEntries(at, width, path, leaves);
    }
    this.#finishTiles();
  }

  #compareRoot(tree, agreed) {
    for (const { root, where } of this.#wanted.get(tree.size)) {
      if (root.equals(tree.root())) continue;
      if (!this.#rewritten) {
        this.add('rewritten', where, `the tree of ${tree.size} leaves has another root; it last agreed at ${agreed}`, {
          checkpointFrom: agreed,
          checkpointTo: tree.size,
        });
      }
      this.#rewritten = true;
      return agreed;
    }
    if (tree.size === this.manifest.size) this.#isRootSigned = true;
    return tree.size;
  }

  #hashes(name, width) {
    if (!this.#present.has(name)) return null;
    return (
      this.guard(name, () => {
        const bytes = this.source.read(name, TILE_WIDTH * HASH_BYTES);
        if (bytes.length !== width * HASH_BYTES) {
          throw new Tampered('part-invalid', name, `has ${bytes.length} bytes, not ${width * HASH_BYTES}`);
        }
        return Array.from({ length: width }, (_, at) => bytes.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES));
      }) ?? null
    );
  }

  /** Takes a tile whose hashes were recomputed, or are leaves; full ones go one level up. */
  #cut(level, index, hashes) {
    this.counts.tiles += 1;
    if (level > 0) this.#compareTile(level, index, hashes);
    if (hashes.length < TILE_WIDTH) return;
    this.#upper[level] ??= { index: 0, hashes: [] };
    const open = this.#upper[level];
    open.hashes.push(treeOf(hashes));
    if (open.hashes.length < TILE_WIDTH) return;
    this.#upper[level] = { index: open.index + 1, hashes: [] };
    this.#cut(level + 1, open.index, open.hashes);
  }

  #finishTiles() {
    for (const [level, { index, hashes }] of this.#upper.entries()) {
      if (hashes.length > 0) this.#cut(level + 1, index, hashes);
    }
  }

  #compareTile(level, index, hashes) {
    const name = `tile/${level}/${tilePath(index, hashes.length)}`;
    const stored = this.#hashes(name, hashes.length);
    if (stored === null) return;
    for (const [at, hash] of hashes.entries()) {
      if (hash.equals(stored[at])) continue;
      const below = tilePath(index * TILE_WIDTH + at, TILE_WIDTH);
      this.add('tile-differs', name, `hash ${at} is not the root of tile/${level - 1}/${below}`);
    }
  }

  #checkEntries(at, width, path, leaves) {
    const name = `tile/entries/${path}`;
    const entries = this.#present.has(name)
      ? this.guard(name, () => splitEntries(this.source.read(name, MAX_ENTRIES_FILE), width, name))
      : undefined;
    if (entries === undefined) return;
    const opened = this.manifest.open ? this.#openings(`openings/${path}`, width) : null;
    for (const [k, entry] of entries.entries()) {
      const place = { seq: at + k };
      if (entry === null) {
        if (this.#isDestroyed(place.seq)) this.counts.purged += 1;
        else this.add('deleted', name, 'the entry is not there', place);
        continue;
      }
      if (this.#isDestroyed(place.seq)) this.#standing += 1;
      const event = parseEntry(entry);
      if (event !== null) place.eventId = uuidText(event.id);
      const leaf = leafHash(entry);
      if (!leaf.equals(leaves[k])) {
        const moved = leaves.some((other) => other.equals(leaf));
        this.add(
          moved ? 'reordered' : 'modified',
          name,
          moved ? `the entry is of another place of tile/0/${path}` : `the entry is not what tile/0/${path} is of`,
          place,
        );
      } else if (event === null) {
        this.add('part-invalid', name, 'the entry is not audit-event/v1', place);
      }
      this.counts.entries += 1;
      if (event === null) continue;
      this.#remember(at + k - this.manifest.from, event.id);
      if (event.columns[2]?.toString() === 'chain.incarnation' && !this.#records.has(place.seq))
        this.add('record-invalid', name, 'the record of an incarnation is not in records.ndjson', place);
      this.#checkErasure(event, place);
      if (opened !== null) this.#checkOpening(event, opened[k], `openings/${path}`, place);
    }
  }

  #openings(name, width) {
    if (!this.#present.has(name)) return null;
    return (
      this.guard(name, () => {
        const bytes = this.source.read(name, MAX_OPENINGS_FILE);
        const frames = readFrames(bytes, 0, width * 4);
        if (frames === null || frames.end !== bytes.length) {
          throw new Tampered('part-invalid', name, 'does not hold four frames for each entry');
        }
        return Array.from({ length: width }, (_, at) => frames.values.slice(at * 4, at * 4 + 4));
      }) ?? null
    );
  }

  #checkOpening(event, [actorSalt, actor, payloadSalt, payload], name, place) {
    const groups = { actor: [actorSalt, actor], payload: [payloadSalt, payload] };
    for (const [group, [salt, framed]] of Object.entries(groups)) {
      const said = judgeOpening(group, salt, framed, event.commitments[group]);
      const recorded = this.erasures.get(place.seq)?.[group] !== undefined;
      if (said === 'broken')
        this.add('commitment-broken', name, `the ${group} columns are not what was committed to`, place);
      else if (said === 'gone' && !recorded)
        this.add('erased-without-record', name, `the ${group} columns are gone, no record says so`, place);
      else if (said === 'opened' && recorded)
        this.doubts.push(
          `seq ${place.seq}: a record says that the ${group} columns are erased, and they are still there`,
        );
      else if (said === 'opened') this.counts.openings += 1;
    }
  }

  #checkErasure(event, place) {
    const records = this.erasures.get(place.seq);
    if (records === undefined) return;
    for (const [group, { eventId, commitment, where }] of Object.entries(records)) {
      this.counts.erased += 1;
      if (eventId !== place.eventId || commitment !== event.commitments[group]?.toString('hex')) {
        this.add('erasure-invalid', where, `does not fit the ${group} group of the entry`, place);
      }
    }
  }

  #remember(at, id) {
    if (at >= this.#ids.length) {
      const grown = new BigUint64Array(Math.max(this.#ids.length * 2, at + 1));
      grown.set(this.#ids);
      this.#ids = grown;
    }
    // Zero means that there is no entry; two ids of one fold are told apart by reading them again.
    this.#ids[at] = id.readBigUInt64BE(0) ^ id.readBigUInt64BE(8) || 1n;
  }

  /** An event id twice. Eight bytes an event in memory; what looks the same is read again. */
  #findDoubled() {
    const ids = this.#ids.subarray(0, this.manifest.to - this.manifest.from);
    const sorted = ids.slice().sort();
    const twice = new Set();
    for (let at = 1; at < sorted.length; at += 1) {
      if (sorted[at] === sorted[at - 1] && sorted[at] !== 0n) twice.add(sorted[at]);
    }
    if (twice.size === 0) return;
    const seen = new Map();
    for (const [at, folded] of ids.entries()) {
      if (!twice.has(folded)) continue;
      const seq = this.manifest.from + at;
      const id = this.#idAt(seq);
      if (id === null) continue;
      if (seen.has(id))
        this.add('doubled', `seq ${seq}`, `the event is also at seq ${seen.get(id)}`, { seq, eventId: id });
      seen.set(id, seq);
    }
  }

  #idAt(seq) {
    const at = seq - (seq % TILE_WIDTH);
    const width = Math.min(TILE_WIDTH, this.manifest.to - at);
    const name = `tile/entries/${tilePath(at / TILE_WIDTH, width)}`;
    // All ids of a bundle may be of one fold: each file is still read once.
    if (this.#lastRead.name !== name) {
      this.#lastRead = { name, entries: splitEntries(this.source.read(name, MAX_ENTRIES_FILE), width, name) };
    }
    const entry = this.#lastRead.entries[seq - at];
    const event = entry === null ? null : parseEntry(entry);
    return event === null ? null : uuidText(event.id);
  }
}

/** The names that a log had: `name`, and from the second incarnation on `name/2` and so on. */
function namesOf(origin) {
  const [, base, digits] = /^(.+)\/([2-9]|[1-9][0-9]{1,3})$/.exec(origin) ?? [];
  const incarnation = digits === undefined ? 1 : Number(digits);
  const names = Array.from({ length: incarnation }, (_, at) => (at === 0 ? (base ?? origin) : `${base}/${at + 1}`));
  return { incarnation, names };
}

/** The same public key under another name of the log, which gives it another id. */
function keyNamed(key, name) {
  if (key === null || key.name === name) return key;
  const raw = key.publicKey.export({ format: 'der', type: 'spki' }).subarray(-32);
  const id = sha256(Buffer.from(`${name}\n`), Buffer.from([key.type]), raw).subarray(0, 4);
  return { ...key, name, id };
}

const NAMESPACES = {
  'chain.erasure': { name: 'erasure@auditkeep.v1', format: 'auditkeep-erasure/v1' },
  'chain.incarnation': { name: 'incarnation@auditkeep.v1', format: 'auditkeep-incarnation/v1' },
};

/** The text in additional_data, what it says, and two signatures that are not yet checked. */
function readSigned(data, format, bad) {
  let record;
  let payload;
  try {
    record = JSON.parse(data);
    payload = JSON.parse(record.payload);
  } catch {
    throw bad('holds no signed text');
  }
  if (isAmbiguous(data) || !hasExactly(record, ['payload', 'signatures']))
    throw bad('holds something else than a signed text and its signatures');
  if (!isCanonical(payload, record.payload) || payload.format !== format) throw bad('is not a text of its format');
  if (typeof payload.time !== 'string' || Number.isNaN(Date.parse(payload.time))) throw bad('names no time');
  const { signatures } = record;
  if (!Array.isArray(signatures) || signatures.length !== 2 || !signatures.every(isObject))
    throw bad('is not signed by two');
  return { text: record.payload, payload, signatures };
}

/** Takes a record apart: entry, opened payload, the text that two persons signed, and who they are. @throws Tampered */
function readRecord({ kind, entry: entryText, opening }, where, signers) {
  const bad = (what) => new Tampered('record-invalid', where, what);
  if (typeof kind !== 'string' || !Object.hasOwn(NAMESPACES, kind)) throw bad('is of an unknown kind');
  const [entry, frames] = [entryText, opening].map((text) => (typeof text === 'string' ? fromBase64(text) : null));
  const event = entry === null ? null : parseEntry(entry);
  if (event === null || event.columns[2]?.toString() !== kind) throw bad('holds no entry of its kind');
  const opened = frames === null ? null : readFrames(frames, 0, 2);
  if (opened === null || opened.end !== frames.length) throw bad('holds no opening');
  const [salt, framed] = opened.values;
  if (judgeOpening('payload', salt, framed, event.commitments.payload) !== 'opened') {
    throw bad('is opened to something else than was sealed');
  }
  const data = readFrames(framed, 0, GROUPS.payload.length).values[4]?.toString('utf8') ?? '';
  const { text, payload, signatures } = readSigned(data, NAMESPACES[kind].format, bad);
  const { name } = NAMESPACES[kind];
  const keys = signatures.map(({ fingerprint, signature }) => {
    const key = typeof signature === 'string' ? openSshsig(signature, name, text) : null;
    if (key === null || key !== fingerprint) throw bad('bears a signature that does not verify');
    return key;
  });
  // By the time of the entry, which the signed root fixes; the time in the text is what the signers say.
  const time = timeText(event.columns[1]);
  const persons = signers === null ? keys : keys.map((key) => personOf(signers, key, name, time));
  if (persons.includes(null)) throw bad('is signed by a key that your list of signers does not have for it');
  if (persons[0] === persons[1]) throw bad('is signed twice by one person');
  return { kind, entry, eventId: uuidText(event.id), payload };
}

const CERTIFICATE = 'auditkeep-certificate/v1';
const CERTIFICATE_FIELDS = [
  ...['format', 'certificate_id', 'installation_id', 'origin', 'unit', 'plan', 'policy', 'method', 'verification'],
  ...['decisions', 'seqs', 'merkle_root', 'purged_at', 'backups_age_out_at'],
];
const DECISION = { name: 'plan-approval@auditkeep.v1', format: 'auditkeep-object-decision/v1' };

/** What the log's key signed; without a key the signature is nobody's word, and the run cannot be intact. @throws Tampered */
function readCertificate(document, signature, { key, bad }) {
  if (typeof document !== 'string' || typeof signature !== 'string') throw bad('holds something else than texts');
  const bytes = fromBase64(signature);
  if (bytes === null) throw bad('has a malformed signature');
  if (key !== null && !crypto.verify(null, Buffer.from(`${CERTIFICATE}\n${document}`), key.publicKey, bytes)) {
    throw bad("is not signed by the log's key");
  }
  const certificate = parseText(document, bad);
  const { format, method, unit, plan, decisions } = certificate;
  if (format !== CERTIFICATE || method !== 'drop-table' || !hasExactly(certificate, CERTIFICATE_FIELDS)) {
    throw bad(`is not ${CERTIFICATE}`);
  }
  if (!isObject(unit) || !isObject(plan) || !Array.isArray(decisions)) throw bad('has a malformed field');
  if (Number.isNaN(Date.parse(certificate.purged_at))) throw bad('does not say when');
  return certificate;
}

function parseText(text, bad) {
  try {
    const value = JSON.parse(text);
    if (isCanonical(value, text)) return value;
  } catch {
    // Said below.
  }
  throw bad('is not a canonical text');
}

/** Request and approval (decision-v1, section 3): of this plan, one after the other, by two persons, before the end. */
function checkDecisions({ plan, decisions, purged_at: purgedAt, installation_id: installation }, signers, bad) {
  if (decisions.length !== 2 || !decisions.every(isObject)) throw bad('does not hold two decisions');
  let previous = null;
  const persons = decisions.map(({ payload, signature }, at) => {
    if (typeof payload !== 'string' || typeof signature !== 'string') throw bad('holds a malformed decision');
    const said = parseText(payload, bad);
    const fits =
      said.format === DECISION.format &&
      said.meaning === ['request', 'approve'][at] &&
      said.installation_id === installation &&
      said.previous_decision_sha256 === previous &&
      isObject(said.object) &&
      said.object.kind === 'plan' &&
      said.object.id === plan.id &&
      said.object_hash === plan.hash;
    if (!fits) throw bad('holds a decision about something else');
    previous = sha256(Buffer.from(payload)).toString('hex');
    const key = openSshsig(signature, DECISION.name, payload);
    if (key === null || key !== said.key_fingerprint) throw bad('holds a decision that its key did not sign');
    if (!(Date.parse(said.time) <= Date.parse(purgedAt))) throw bad('holds a decision of after the destruction');
    return { said: said.person, listed: signers === null ? key : personOf(signers, key, DECISION.name, said.time) };
  });
  if (persons.some(({ listed }) => listed === null)) {
    throw bad('holds a decision by a key that your list of signers does not have for it');
  }
  const [first, second] = persons;
  if (first.said === second.said || first.listed === second.listed) throw bad('holds two decisions of one person');
}

/** Places in the chain: pairs of numbers, ascending, within the log. @throws Tampered */
function readRanges(pairs, size, bad) {
  let [last, count] = [0, 0];
  if (!Array.isArray(pairs) || pairs.length === 0) throw bad('names no places in the log');
  for (const pair of pairs) {
    const isPair = Array.isArray(pair) && pair.length === 2 && pair.every(Number.isSafeInteger);
    if (!isPair || pair[0] < last || pair[1] <= pair[0] || pair[1] > size) throw bad('names places that are not there');
    last = pair[1];
    count += pair[1] - pair[0];
  }
  return { ranges: pairs, count };
}

const sameRanges = (a, b) => a.length === b.length && a.every(([from, to], at) => from === b[at][0] && to === b[at][1]);

/** leaves/1: over the hashes of groups by first byte, each of the sorted leaves that begin with it. */
function fingerprintOf(leaves) {
  const sorted = [...leaves].sort(Buffer.compare);
  const groups = [];
  for (let at = 0; at < sorted.length; ) {
    let end = at;
    while (end < sorted.length && sorted[end][0] === sorted[at][0]) end += 1;
    groups.push(sha256(Buffer.concat(sorted.slice(at, end))));
    at = end;
  }
  return sha256(Buffer.concat(groups)).toString('hex');
}

function readInsideKey(text) {
  if (!text.endsWith('\n')) throw new Tampered('part-invalid', 'log.vkey', 'does not end in a newline');
  try {
    return parseVerifierKey(text.slice(0, -1));
  } catch (error) {
    throw new Tampered('part-invalid', 'log.vkey', error.message);
  }
}

/** The lines of a list, one at a time, and where each stands; one that does not end is a finding. */
function* linesOf(bytes, name, check) {
  if (bytes === undefined) return;
  for (let [at, n] = [0, 1]; at < bytes.length && !check.isFull; n += 1) {
    const where = `${name} line ${n}`;
    const end = bytes.indexOf(0x0a, at);
    if (end < 0) {
      check.add('part-invalid', name, 'ends within a line');
      return;
    }
    if (end - at > MAX_LINE) check.add('part-invalid', where, 'is longer than it may be');
    else yield { line: bytes.toString('utf8', at, end), where };
    at = end + 1;
  }
}

/** C2SP entry bundle: uint16 length and entry, `width` times and nothing else; length 0 is an entry that is not there. */
function splitEntries(bytes, width, name) {
  const entries = [];
  let at = 0;
  for (let n = 0; n < width; n += 1) {
    const length = at + 2 <= bytes.length ? bytes.readUInt16BE(at) : -1;
    if (length < 0 || at + 2 + length > bytes.length)
      throw new Tampered('part-invalid', name, `ends within entry ${n}`);
    entries.push(length === 0 ? null : bytes.subarray(at + 2, at + 2 + length));
    at += 2 + length;
  }
  if (at !== bytes.length) throw new Tampered('part-invalid', name, `holds more than ${width} entries`);
  return entries;
}

/**
 * Checks a bundle, a folder or a zip. key: from parseVerifierKey, or null; checkpoints: notes that you kept;
 * signers: from parseSigners, or null.
 * Never throws for what a bundle holds.
 */
export function verifyBundle(path, { key = null, checkpoints = [], witnesses = [], signers = null } = {}) {
  const check = new BundleCheck(null);
  check.guard('bundle', () => {
    check.source = openSource(path);
    check.run({ key, checkpoints, witnesses, signers });
  });
  check.source?.close();
  if (check.findings.length === 0 && check.counts.entries === 0) check.doubts.push('no entry was checked');
  const { origin = null, size = null, from = null, to = null, open = null } = check.manifest ?? {};
  return conclude('bundle', { origin, size, from, to, open, checked: check.counts }, key, check);
}

function conclude(kind, about, key, { findings, doubts, isFull }) {
  if (isFull)
    doubts.push(`only the first ${MAX_FINDINGS} findings were kept, and what follows them may not have been read`);
  const verdict = findings.length > 0 ? 'tampered' : doubts.length > 0 ? 'undecided' : 'intact';
  const exitCode = { intact: 0, tampered: 1, undecided: 2 }[verdict];
  const onlyUnvouched = doubts.every((doubt) => /^no (key|list of signers) was given/.test(doubt));
  const consistent = verdict === 'undecided' && key === null && onlyUnvouched;
  return { kind, verdict: consistent ? 'internally-consistent' : verdict, exitCode, ...about, findings, doubts };
}

// ---- proofs (C2SP tlog-proof) --------------------------------------------------------------------------------------

const EXTRA_PREFIX = Buffer.from('auditkeep-proof/v1\n');

/** Takes a tlog-proof apart; every byte is accounted for. */
export function parseProof(text) {
  const bad = (what) => new Tampered('proof-invalid', 'proof', what);
  const split = text.indexOf('\n\n');
  if (split < 0) throw bad('has no checkpoint');
  const lines = text.slice(0, split).split('\n');
  if (lines.shift() !== 'c2sp.org/tlog-proof@v1') throw bad('is not c2sp.org/tlog-proof@v1');
  let extra = null;
  if (lines[0]?.startsWith('extra ')) {
    extra = fromBase64(lines.shift().slice(6));
    if (extra === null) throw bad('has malformed extra data');
  }
  const [, index] = /^index (0|[1-9][0-9]{0,18})$/.exec(lines.shift() ?? '') ?? [];
  if (index === undefined) throw bad('has a malformed index');
  if (lines.length > 63) throw bad('has more hashes than a tree has levels');
  const proof = lines.map((line) => {
    const hash = fromBase64(line);
    if (hash === null || !isHash(hash)) throw bad('has a malformed hash');
    return hash;
  });
  return { index: BigInt(index), extra, proof, note: text.slice(split + 2) };
}

/** The entry and, when the proof is opened, salts and columns of both groups. */
function parseExtra(extra) {
  if (!extra.subarray(0, EXTRA_PREFIX.length).equals(EXTRA_PREFIX)) return null;
  const bad = () => new Tampered('proof-invalid', 'extra', 'does not hold an entry, or an entry and four frames');
  const one = readFrames(extra, EXTRA_PREFIX.length, 1);
  if (one === null || one.values[0] === null) throw bad();
  if (one.end === extra.length) return { entry: one.values[0], opening: null };
  const rest = readFrames(extra, one.end, 4);
  if (rest === null || rest.end !== extra.length) throw bad();
  return { entry: one.values[0], opening: rest.values };
}

/** Checks a proof's text. entry: the bytes of the entry when the proof does not hold it. */
export function verifyProof(text, { key = null, entry = null, witnesses = [] } = {}) {
  const check = new Judgement();
  const about = { origin: null, size: null, index: null, event: null, opened: null };
  check.guard('proof', () => {
    if (key === null) check.doubts.push('no key was given: the proof can at most be internally consistent');
    const { index, extra, proof, note } = parseProof(text);
    const head = openCheckpoint(note, key, 'checkpoint');
    Object.assign(about, { origin: head.origin, size: String(head.size), index: String(index) });
    for (const witness of missingWitnesses(note, witnesses, 'checkpoint')) {
      check.doubts.push(`the witness ${witness.name} has not cosigned`);
    }
    const inside = extra === null ? null : parseExtra(extra);
    const bytes = entry ?? inside?.entry;
    if (bytes === undefined) throw new Undecided('the proof holds no entry and none was given');
    if (entry !== null && inside !== null && !entry.equals(inside.entry)) {
      throw new Tampered('proof-invalid', 'extra', 'holds another entry than the one that you gave');
    }
    if (!verifyInclusion({ index, size: head.size, leaf: leafHash(bytes), root: head.root, proof })) {
      throw new Tampered('proof-invalid', 'proof', 'the entry is not in the signed tree at this place');
    }
    const event = parseEntry(bytes);
    if (event !== null) about.event = describe(BARE_COLUMNS, event.columns);
    if (inside?.opening) about.opened = openGroups(event, inside.opening);
  });
  return conclude('proof', about, key, check);
}

function openGroups(event, [actorSalt, actor, payloadSalt, payload]) {
  if (event === null) throw new Tampered('proof-invalid', 'extra', 'opens an entry that is not audit-event/v1');
  const opened = {};
  for (const [group, salt, framed] of [
    ['actor', actorSalt, actor],
    ['payload', payloadSalt, payload],
  ]) {
    const said = judgeOpening(group, salt, framed, event.commitments[group]);
    if (said === 'broken') {
      throw new Tampered('commitment-broken', 'extra', `the ${group} columns are not what was committed to`);
    }
    opened[group] =
      said === 'opened' ? describe(GROUPS[group], readFrames(framed, 0, GROUPS[group].length).values) : said;
  }
  return opened;
}

/** Checks that a newer checkpoint begins with an older one; proof: one base64 hash a line. */
export function verifyGrowth(older, newer, proofText, { key = null } = {}) {
  const check = new Judgement();
  const about = { origin: null, size: null, from: null };
  check.guard('proof', () => {
    if (key === null) check.doubts.push('no key was given: the checkpoints can at most be internally consistent');
    const [first, second] = [openCheckpoint(older, key, 'older'), openCheckpoint(newer, key, 'newer')];
    Object.assign(about, { origin: second.origin, size: String(second.size), from: String(first.size) });
    if (first.origin !== second.origin) throw new Tampered('checkpoint-invalid', 'newer', 'is of another log');
    if (first.size === 0n) throw new Undecided('the older checkpoint is of an empty tree, which proves nothing');
    const proof = proofText
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => fromBase64(line) ?? Buffer.alloc(0));
    const claim = { size1: first.size, size2: second.size, root1: first.root, root2: second.root, proof };
    if (!verifyConsistency(claim)) {
      throw new Tampered('rewritten', 'newer', 'the proof does not show that it begins with the older tree');
    }
  });
  return conclude('consistency', about, key, check);
}

// ---- command line --------------------------------------------------------------------------------------------------

const USAGE = `usage: node verify.mjs BUNDLE --key 'NAME+ID+KEY' [--signers FILE] [--checkpoint FILE]... [--witness 'NAME+ID+KEY']... [--json]
       node verify.mjs proof FILE --key 'NAME+ID+KEY' [--entry FILE] [--witness 'NAME+ID+KEY']... [--json]
       node verify.mjs consistency OLD NEW PROOF --key 'NAME+ID+KEY' [--json]`;

function parseArguments(args) {
  const options = { words: [], json: false, key: [], checkpoint: [], witness: [], entry: [], signers: [] };
  for (let at = 0; at < args.length; at += 1) {
    const word = args[at];
    const name = word.startsWith('--') ? word.slice(2) : null;
    if (name === null) options.words.push(word);
    else if (name === 'json') options.json = true;
    else if (Array.isArray(options[name]) && name !== 'words' && at + 1 < args.length) options[name].push(args[++at]);
    else throw new Undecided(`${word} is not an option here, or lacks its value\n${USAGE}`);
  }
  if (options.key.length > 1 || options.entry.length > 1 || options.signers.length > 1)
    throw new Undecided(`--key, --entry and --signers are given once\n${USAGE}`);
  return options;
}

function readGiven(path, limit = 1 << 26) {
  try {
    if (statSync(path).size > limit) throw new Undecided(`${path} is too large`);
    return readFileSync(path);
  } catch (error) {
    throw error instanceof Undecided ? error : new Undecided(`${path} cannot be read`);
  }
}

/** UTF-8 that is not well-formed becomes U+FFFD, which no note, proof or key line may hold. */
const readText = (path) => readGiven(path).toString('utf8');

function runCommand({ words, ...given }) {
  const key = given.key.length === 0 ? null : parseVerifierKey(given.key[0]);
  if (key !== null && key.type !== 1) throw new Undecided('--key is a witness key, not a log key');
  const witnesses = given.witness.map(parseVerifierKey);
  const [command, ...files] = words;
  if (command === 'proof' && files.length === 1) {
    const entry = given.entry.length === 0 ? null : readGiven(given.entry[0]);
    return verifyProof(readText(files[0]), { key, entry, witnesses });
  }
  if (command === 'consistency' && files.length === 3) return verifyGrowth(...files.map(readText), { key });
  if (words.length !== 1) throw new Undecided(USAGE);
  const checkpoints = given.checkpoint.map((path) => ({ where: path, text: readText(path) }));
  const signers = given.signers.length === 0 ? null : parseSigners(readText(given.signers[0]));
  return verifyBundle(words[0], { key, checkpoints, witnesses, signers });
}

function reportText(result, keyGiven) {
  const lines = [
    `${result.kind} of ${result.origin ?? 'an unknown log'}${result.size === null ? '' : `, signed at ${result.size} events`}`,
  ];
  lines.push(`key       ${keyGiven ? 'given by you' : 'none given'}`);
  if (result.checked) {
    const { leaves, tiles, checkpoints, entries, openings, erased, records, certificates, purged } = result.checked;
    lines.push(
      `checked   ${leaves} leaves, ${tiles} tiles, ${checkpoints} checkpoints, ${entries} entries, ${openings} openings, ${erased} erasures, ${records} records, ${certificates} certificates over ${purged} destroyed entries`,
    );
  }
  if (result.kind === 'proof' && result.index !== null) lines.push(`place     seq ${result.index}`);
  for (const [group, values] of Object.entries({ event: result.event, ...result.opened })) {
    if (typeof values === 'string') lines.push(`${group.padEnd(9)} ${values}`);
    else
      for (const [name, value] of Object.entries(values ?? {}))
        lines.push(`${group.padEnd(9)} ${name} = ${JSON.stringify(value)}`);
  }
  for (const { class: kind, where, what, seq, eventId } of result.findings.slice(0, MAX_SHOWN)) {
    const place = [
      seq === undefined ? '' : ` (seq ${seq}`,
      eventId === undefined ? '' : `, event ${eventId}`,
      seq === undefined ? '' : ')',
    ];
    lines.push(`finding   ${kind}: ${where}: ${what}${place.join('')}`);
  }
  if (result.findings.length > MAX_SHOWN)
    lines.push(`          and ${result.findings.length - MAX_SHOWN} more (--json has all)`);
  for (const doubt of result.doubts) lines.push(`doubt     ${doubt}`);
  const words = {
    intact: 'INTACT',
    tampered: 'TAMPERED',
    undecided: 'CANNOT DECIDE',
    'internally-consistent': 'CANNOT DECIDE: internally consistent, by a key that nobody vouched for',
  };
  return [...lines, words[result.verdict]].map(escapeControls).join('\n');
}

/** JSON escapes only some control characters by itself; those left stand in strings, where JSON may escape any. */
const jsonText = (value) => JSON.stringify(value, null, 2).split('\n').map(escapeControls).join('\n');

function main(args) {
  const json = args.includes('--json');
  try {
    const options = parseArguments(args);
    const result = runCommand(options);
    console.log(json ? jsonText(result) : reportText(result, options.key.length > 0));
    return result.exitCode;
  } catch (error) {
    const message = error instanceof Undecided ? error.message : `unexpected: ${error?.message ?? error}`;
    if (json) console.log(jsonText({ verdict: 'undecided', exitCode: 2, findings: [], doubts: [message] }));
    else console.error(message.split('\n').map(escapeControls).join('\n'));
    return 2;
  }
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === import.meta.filename) {
  process.exitCode = main(process.argv.slice(2));
}
