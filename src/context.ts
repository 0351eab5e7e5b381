/** What every operation receives. Built once by app.ts; tests build their own with a test clock. */
import type { Logger } from 'pino';
import type { Config } from './config.ts';
import type { Database } from './db/database.ts';
import type { Keyring } from './keys/keyring.ts';
import type { Clock } from './time/clock.ts';

/** Who acts: a worker or command as itself, or a person who signs with a key. */
export type Actor =
  | { readonly kind: 'service'; readonly name: string }
  | { readonly kind: 'person'; readonly email: string; readonly keyFile: string | null };

/** Progress of long work, to stderr. On something that is no terminal it does nothing. */
export interface Progress {
  /** Starts a bar; total null when the amount is not known beforehand. */
  start(label: string, total: number | null): void;
  /** Sets how much is done. */
  update(done: number): void;
  stop(): void;
}

export interface Context {
  /** The engine's pool (role auditkeep_engine). */
  readonly db: Database;
  /** The controls' pool (role auditkeep_report): reads the fact views and nothing else. */
  readonly reportDb: Database;
  readonly clock: Clock;
  readonly log: Logger;
  readonly keys: Keyring;
  readonly actor: Actor;
  readonly progress: Progress;
  readonly config: Config;
}
