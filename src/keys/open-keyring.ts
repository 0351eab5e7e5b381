/** The key ring over one database and one provider: creates keys on first use, unwraps them once, keeps them in memory. */
import type { Actor } from '../context.ts';
import type { Database } from '../db/database.ts';
import { type Clock, isoOf } from '../time/clock.ts';
import { type EnvelopeKey, openCell, parseEnvelope, sealCell } from './envelope.ts';
import type { DataClass, Keyring, SealedCell, SecretPurpose } from './keyring.ts';
import { fileKekProvider } from './providers/file.ts';
import { openSealKey, type SealKeyOptions } from './seal-key.ts';
import * as store from './store.ts';
import { createStored, type Ring, unknownKey, unwrapStored } from './stored-key.ts';
import { readSubjectKeysById, subjectKeysOf } from './subject-key.ts';

/** Uses are counted in blocks of this many cells; usage_count is therefore an upper bound. */
const USAGE_BLOCK = 65_536;
const CELLS_A_SEALER = 16_384;

export interface KeyringOptions {
  readonly db: Database;
  readonly clock: Clock;
  /** The folder that holds `keys/`; created when the first key is. */
  readonly home: string;
  readonly actor: Actor;
  /** Default: the product's own, in the name of auditkeep. */
  readonly seal?: SealKeyOptions;
}

const OWN_SEAL: SealKeyOptions = { organization: 'auditkeep', files: null, writes: true };

/**
 * The key ring of one database. Nothing is read until it is used. It takes connections of its own from the pool, so ask
 * it for sealers and secrets before a transaction, not inside one.
 */
export function openKeyring(options: KeyringOptions): Keyring {
  const ring: Ring = { ...options, provider: fileKekProvider(options.home) };
  const keys = memory<EnvelopeKey>();
  const secrets = memory<EnvelopeKey>();
  /** Uses that are counted in the database already and that no sealer has, by key. */
  const reserved = new Map<string, number>();
  const epochKey = (keyId: string) => keys(keyId, () => readKeyOf(ring, keyId, 'epoch'));
  const secret = async (purpose: SecretPurpose) => {
    const { id, key } = await secrets(purpose, () => namedSecret(ring, purpose));
    return { keyId: id, key };
  };
  const sealingKey = async (dataClass: DataClass, cells: number) => {
    // Asked of the database each time: another process may have revoked the key of the last batch.
    const keyId = await epochKeyId(ring, dataClass, isoOf(ring.clock.now()).slice(0, 10));
    const key = await epochKey(keyId);
    await takeUses(ring, reserved, keyId, cells);
    return key;
  };
  return {
    secret,
    async sealer(dataClass, cells = CELLS_A_SEALER) {
      const cellKeys = { epoch: await sealingKey(dataClass, cells), subject: null };
      let left = cells;
      return (context, plaintext) => {
        if (left <= 0) throw new RangeError(`a sealer for ${cells} cells was asked for one more`);
        left -= 1;
        return sealCell(cellKeys, context, plaintext);
      };
    },
    async subjectSealer(dataClass, persons) {
      const epoch = await sealingKey(dataClass, persons.length);
      const subjects = await subjectKeysOf(ring, await secret('subject-ref'), persons);
      let left = persons.length;
      return (person, context, plaintext) => {
        const subject = subjects.get(person);
        if (subject === undefined || left <= 0)
          throw new RangeError('a sealer was asked for more than it was made for');
        left -= 1;
        return subject === null ? null : sealCell({ epoch, subject }, context, plaintext);
      };
    },
    async open(context, envelope) {
      const parsed = parseEnvelope(envelope);
      const epoch = await epochKey(parsed.epochKeyId);
      const { subjectKeyId } = parsed;
      // Not kept in memory: it may be destroyed any time, and then counts no more.
      const subject = subjectKeyId === null ? null : await readKeyOf(ring, subjectKeyId, 'subject');
      return openCell({ epoch, subject }, context, parsed);
    },
    openEach: (cells) => openEach(ring, epochKey, cells),
    sealKey: (mayCreate) =>
      openSealKey(options.home, { ...(options.seal ?? OWN_SEAL), mayCreate, now: ring.clock.now() }),
  };
}

async function openEach(ring: Ring, epochKey: (keyId: string) => Promise<EnvelopeKey>, cells: readonly SealedCell[]) {
  const parsed = cells.map(({ context, envelope }) => ({ context, envelope: parseEnvelope(envelope) }));
  const named = parsed.flatMap(({ envelope }) => envelope.subjectKeyId ?? []);
  const subjects = await readSubjectKeysById(ring, named);
  const opened: (Uint8Array | null)[] = [];
  for (const { context, envelope } of parsed) {
    const epoch = await epochKey(envelope.epochKeyId);
    const subject = envelope.subjectKeyId === null ? null : subjects.get(envelope.subjectKeyId);
    const isDestroyed = envelope.subjectKeyId !== null && subject == null;
    opened.push(isDestroyed ? null : openCell({ epoch, subject: subject ?? null }, context, envelope));
  }
  return opened;
}

/** Remembers what was loaded, by its name; callers that come while it loads wait for it; a failure is not remembered. */
function memory<T>(): (name: string, load: () => Promise<T>) => Promise<T> {
  const known = new Map<string, Promise<T>>();
  return (name, load) => {
    const found = known.get(name);
    if (found !== undefined) return found;
    const loading = load();
    known.set(name, loading);
    loading.catch(() => known.delete(name));
    return loading;
  };
}

async function readKeyOf(ring: Ring, keyId: string, purpose: string): Promise<EnvelopeKey> {
  const stored = await ring.db.withClient((client) => store.readKey(client, keyId));
  if (stored === null || stored.purpose !== purpose) throw unknownKey(keyId);
  return unwrapStored(ring, stored);
}

async function epochKeyId(ring: Ring, dataClass: DataClass, day: string): Promise<string> {
  return ring.db.withClient(async (client) => {
    const active = await store.readEpochKeyId(client, dataClass, day);
    if (active !== null) return active;
    return (await createStored(ring, client, { purpose: 'epoch', dataClass, epochDay: day })).id;
  });
}

async function namedSecret(ring: Ring, purpose: SecretPurpose): Promise<EnvelopeKey> {
  return ring.db.withClient(async (client) => {
    const stored = await store.readSecret(client, purpose);
    if (stored !== null) return unwrapStored(ring, stored);
    return createStored(ring, client, { purpose, dataClass: null, epochDay: null });
  });
}

/** Takes uses off what is counted, counting whole blocks more first when it is too little. */
async function takeUses(ring: Ring, reserved: Map<string, number>, keyId: string, cells: number): Promise<void> {
  while ((reserved.get(keyId) ?? 0) < cells) {
    const missing = cells - (reserved.get(keyId) ?? 0);
    const count = Math.ceil(missing / USAGE_BLOCK) * USAGE_BLOCK;
    await ring.db.withClient((client) => store.reserveUsage(client, keyId, count, isoOf(ring.clock.now())));
    reserved.set(keyId, (reserved.get(keyId) ?? 0) + count);
  }
  reserved.set(keyId, (reserved.get(keyId) ?? 0) - cells);
}
