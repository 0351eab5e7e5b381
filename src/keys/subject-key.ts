/**
 * Subject keys: one a natural person. Whose a key is, the database knows as a keyed digest alone. They are as many as persons,
 * so none is kept in memory, and what the database says of them counts each time: a key that was destroyed is gone at once.
 */
import { createHmac } from 'node:crypto';
import { AuditkeepError } from '../errors.ts';
import type { EnvelopeKey } from './envelope.ts';
import type { NamedSecret } from './keyring.ts';
import * as store from './store.ts';
import { activeKek, eventSource, isGone, makeWrapped, type Ring, unknownKey, unwrapStored } from './stored-key.ts';

/** Keys that are made, and named in one event, at once. */
const KEYS_A_BATCH = 1000;

/** What the database knows a person by: HMAC-SHA256 in hex. @param secret the named secret `subject-ref` */
function subjectRefOf(secret: NamedSecret, person: string): string {
  return createHmac('sha256', secret.key).update(`auditkeep-subject/v1\n${person}`).digest('hex');
}

/**
 * The key of each person, made where there is none; null where it was destroyed or is about to be.
 * @param secret the named secret `subject-ref`
 * @throws KEY_REVOKED for a key in another state than active
 */
export async function subjectKeysOf(
  ring: Ring,
  secret: NamedSecret,
  persons: readonly string[],
): Promise<ReadonlyMap<string, EnvelopeKey | null>> {
  const refs = new Map([...new Set(persons)].map((person) => [person, subjectRefOf(secret, person)]));
  const stored = await readOrMake(ring, [...refs.values()]);
  const keys = new Map<string, EnvelopeKey | null>();
  for (const [person, ref] of refs) keys.set(person, await sealingKey(ring, stored.get(ref)));
  return keys;
}

async function sealingKey(ring: Ring, stored: store.StoredKey | undefined): Promise<EnvelopeKey | null> {
  if (stored === undefined) throw new Error('a subject key is missing right after it was made');
  if (isGone(stored) || stored.status === 'pending_destruction') return null;
  if (stored.status === 'active') return unwrapStored(ring, stored);
  throw new AuditkeepError('KEY_REVOKED', {
    message: `subject key ${stored.keyId} is ${stored.status ?? 'in no state'} and encrypts nothing`,
    hint: 'see `auditkeep key list`; a compromised subject key has to be replaced first',
    details: { keyId: stored.keyId },
  });
}

async function readOrMake(ring: Ring, refs: readonly string[]): Promise<ReadonlyMap<string, store.StoredKey>> {
  return ring.db.withClient(async (client) => {
    const known = await store.readSubjectKeys(client, refs);
    const missing = refs.filter((ref) => !known.has(ref));
    if (missing.length === 0) return known;
    const kek = await activeKek(ring, client);
    for (let at = 0; at < missing.length; at += KEYS_A_BATCH) {
      const made: store.NewSubjectKey[] = [];
      for (const ref of missing.slice(at, at + KEYS_A_BATCH)) {
        const { id, wrapped } = await makeWrapped(ring, kek, 'subject');
        made.push({ ref, keyId: id, wrapped });
      }
      await store.createSubjectKeys(client, made, kek.id, eventSource(ring));
    }
    // Another process may have made some of them first, so what counts is read.
    return new Map([...known, ...(await store.readSubjectKeys(client, missing))]);
  });
}

/**
 * Keys by their ids, null where destroyed.
 * @throws KEY_UNKNOWN for an id that is not of a subject key
 */
export async function readSubjectKeysById(
  ring: Ring,
  keyIds: readonly string[],
): Promise<ReadonlyMap<string, EnvelopeKey | null>> {
  const stored = await ring.db.withClient((client) => store.readKeys(client, keyIds));
  const keys = new Map<string, EnvelopeKey | null>();
  for (const keyId of new Set(keyIds)) {
    const found = stored.get(keyId);
    if (found?.purpose !== 'subject') throw unknownKey(keyId);
    keys.set(keyId, isGone(found) ? null : await unwrapStored(ring, found));
  }
  return keys;
}
