/** Keys as the database stores them: made with their wrap, and unwrapped again. */
import { randomBytes } from 'node:crypto';
import type { Actor } from '../context.ts';
import type { Database, SqlClient } from '../db/database.ts';
import { AuditkeepError } from '../errors.ts';
import { type Clock, isoOf } from '../time/clock.ts';
import type { EnvelopeKey } from './envelope.ts';
import type { KekName, KekProvider } from './providers/provider.ts';
import * as store from './store.ts';
import { unwrapKey, wrapKey } from './wrap.ts';

const GONE: ReadonlySet<string | null> = new Set(['destroyed', 'fenced']);

/** What keys are made and read with. */
export interface Ring {
  readonly db: Database;
  readonly clock: Clock;
  readonly actor: Actor;
  readonly provider: KekProvider;
}

/** Whether a key was destroyed; its id never comes back. */
export function isGone(stored: Pick<store.StoredKey, 'status'>): boolean {
  return GONE.has(stored.status);
}

/** Makes an epoch key or a named secret, or takes the one that another process made first. */
export async function createStored(
  ring: Ring,
  client: SqlClient,
  what: Pick<store.NewKey, 'purpose' | 'dataClass' | 'epochDay'>,
): Promise<EnvelopeKey> {
  const kek = await activeKek(ring, client);
  const { id, key, wrapped } = await makeWrapped(ring, kek, what.purpose);
  const winner = await store.createKey(client, { ...what, keyId: id, kekId: kek.id, wrapped }, eventSource(ring));
  if (winner === id) return { id, key };
  const stored = await store.readKey(client, winner);
  if (stored === null) throw unknownKey(winner);
  return unwrapStored(ring, stored);
}

/** A new key with its primary wrap; nothing is stored. */
export async function makeWrapped(ring: Ring, kek: KekName, purpose: string) {
  const id = randomBytes(8).toString('hex');
  const key = randomBytes(32);
  return { id, key, wrapped: await wrapKey(ring.provider, kek, key, { keyId: id, purpose, kind: 'primary' }) };
}

/** A key-encryption key is made only for a database that names none: a second one would hide that the first is lost. */
export async function activeKek(ring: Ring, client: SqlClient): Promise<KekName> {
  const known = await store.readActiveKek(client);
  if (known !== null) return known;
  await store.registerKek(client, await ring.provider.create(), ring.provider.name, eventSource(ring));
  const active = await store.readActiveKek(client);
  if (active === null) throw new Error('no active key-encryption key after registering one');
  return active;
}

/** @throws KEY_DESTROYED, KEY_UNKNOWN, TAMPERED, and those of the provider */
export async function unwrapStored(ring: Ring, stored: store.StoredKey): Promise<EnvelopeKey> {
  const { keyId, kek, wrapped, purpose } = stored;
  if (isGone(stored)) {
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

/** Who and when, for the event of a change. */
export function eventSource(ring: Ring): store.KeyEventSource {
  return { actor: ring.actor, now: isoOf(ring.clock.now()) };
}

/** KEY_UNKNOWN for a key that is not there, or not as a key for cells. */
export function unknownKey(keyId: string): AuditkeepError {
  return new AuditkeepError('KEY_UNKNOWN', {
    message: `the database has no key ${keyId} that can be used`,
    hint: 'the value comes from another database, or the keys of this one were restored from an older backup',
    details: { keyId },
  });
}
