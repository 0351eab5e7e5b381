/** The key ring over one database and one provider: creates keys on first use, unwraps them once, keeps them in memory. */
import { randomBytes } from 'node:crypto';
import type { Actor } from '../context.ts';
import type { Database, SqlClient } from '../db/database.ts';
import { AuditkeepError } from '../errors.ts';
import { type Clock, isoOf } from '../time/clock.ts';
import { type EnvelopeKey, openCell, parseEnvelope, sealCell } from './envelope.ts';
import type { DataClass, Keyring, SecretPurpose } from './keyring.ts';
import { fileKekProvider } from './providers/file.ts';
import type { KekName, KekProvider } from './providers/provider.ts';
import * as store from './store.ts';
import { unwrapKey, wrapKey } from './wrap.ts';

/** Uses are counted in blocks of this many cells; usage_count is therefore an upper bound. */
const USAGE_BLOCK = 65_536;
const CELLS_A_SEALER = 16_384;
const CELL_PURPOSES: ReadonlySet<string | null> = new Set(['epoch', 'subject']);
const GONE: ReadonlySet<string | null> = new Set(['destroyed', 'fenced']);

export interface KeyringOptions {
  readonly db: Database;
  readonly clock: Clock;
  /** The folder that holds `keys/`; created when the first key is. */
  readonly home: string;
  readonly actor: Actor;
}

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
  const cellKey = (keyId: string) => keys(keyId, () => readCellKey(ring, keyId));
  return {
    async sealer(dataClass, cells = CELLS_A_SEALER) {
      // Asked of the database each time: another process may have revoked the key of the last batch.
      const keyId = await epochKeyId(ring, dataClass, isoOf(ring.clock.now()).slice(0, 10));
      const cellKeys = { epoch: await cellKey(keyId), subject: null };
      await takeUses(ring, reserved, keyId, cells);
      let left = cells;
      return (context, plaintext) => {
        if (left <= 0) throw new RangeError(`a sealer for ${cells} cells was asked for one more`);
        left -= 1;
        return sealCell(cellKeys, context, plaintext);
      };
    },
    async open(context, envelope) {
      const parsed = parseEnvelope(envelope);
      const epoch = await cellKey(parsed.epochKeyId);
      const subject = parsed.subjectKeyId === null ? null : await cellKey(parsed.subjectKeyId);
      return openCell({ epoch, subject }, context, parsed);
    },
    async secret(purpose) {
      const { id, key } = await secrets(purpose, () => namedSecret(ring, purpose));
      return { keyId: id, key };
    },
  };
}

interface Ring extends KeyringOptions {
  readonly provider: KekProvider;
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

async function readCellKey(ring: Ring, keyId: string): Promise<EnvelopeKey> {
  const stored = await ring.db.withClient((client) => store.readKey(client, keyId));
  if (stored === null || !CELL_PURPOSES.has(stored.purpose)) throw unknownKey(keyId);
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

/** Makes a key, or takes the one that another process made first. */
async function createStored(
  ring: Ring,
  client: SqlClient,
  what: Pick<store.NewKey, 'purpose' | 'dataClass' | 'epochDay'>,
): Promise<EnvelopeKey> {
  const kek = await activeKek(ring, client);
  const keyId = randomBytes(8).toString('hex');
  const key = randomBytes(32);
  const wrapped = await wrapKey(ring.provider, kek, key, { keyId, purpose: what.purpose, kind: 'primary' });
  const winner = await store.createKey(client, { ...what, keyId, kekId: kek.id, wrapped }, eventSource(ring));
  if (winner === keyId) return { id: keyId, key };
  const stored = await store.readKey(client, winner);
  if (stored === null) throw unknownKey(winner);
  return unwrapStored(ring, stored);
}

/** A key-encryption key is made only for a database that names none: a second one would hide that the first is lost. */
async function activeKek(ring: Ring, client: SqlClient): Promise<KekName> {
  const known = await store.readActiveKek(client);
  if (known !== null) return known;
  await store.registerKek(client, await ring.provider.create(), ring.provider.name, eventSource(ring));
  const active = await store.readActiveKek(client);
  if (active === null) throw new Error('no active key-encryption key after registering one');
  return active;
}

async function unwrapStored(ring: Ring, stored: store.StoredKey): Promise<EnvelopeKey> {
  const { keyId, kek, wrapped, purpose } = stored;
  if (GONE.has(stored.status)) {
    throw new AuditkeepError('KEY_DESTROYED', {
      message: `key ${keyId} was destroyed, so what it encrypted cannot be read any more`,
      hint: 'this is what erasure and crypto-shredding do; there is nothing to repair',
      details: { keyId },
    });
  }
  if (kek === null || wrapped === null) throw unknownKey(keyId);
  const key = await unwrapKey(ring.provider, kek, wrapped, { keyId, purpose: purpose ?? '', kind: 'primary' });
  return { id: keyId, key };
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

function eventSource(ring: Ring): store.KeyEventSource {
  return { actor: ring.actor, now: isoOf(ring.clock.now()) };
}

function unknownKey(keyId: string): AuditkeepError {
  return new AuditkeepError('KEY_UNKNOWN', {
    message: `the database has no key ${keyId} that can be used`,
    hint: 'the value comes from another database, or the keys of this one were restored from an older backup',
    details: { keyId },
  });
}
