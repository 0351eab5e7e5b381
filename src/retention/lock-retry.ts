/**
 * Tries again where a lock could not be had at once. Retention never queues for a strong lock: a queued ACCESS EXCLUSIVE
 * stops every writer behind it, a refused one stops nobody.
 */
import { randomInt } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { isLockFailure, sqlStateOf } from '../db/errors.ts';
import { AuditkeepError } from '../errors.ts';

/** How long to go on trying. */
export interface RetryWindow {
  readonly attempts: number;
  /** Upper end of the random pause between two attempts. */
  readonly maxPauseMs: number;
}

/** About six seconds. */
export const DEFAULT_WINDOW: RetryWindow = { attempts: 60, maxPauseMs: 200 };

const STRUCTURE_LOCK_TAKEN = 'AK106';
const CANCELLED = '57014';

/**
 * Runs fn until it returns or fails for another reason than a lock. fn is told which attempt this is, from 0.
 * @throws RETENTION_BUSY when the window is over
 */
export async function retryOnLock<T>(window: RetryWindow, fn: (attempt: number) => Promise<T>): Promise<T> {
  let last: unknown = null;
  for (let attempt = 0; attempt < window.attempts; attempt += 1) {
    try {
      return await fn(attempt);
    } catch (error) {
      if (!isBusy(error)) throw error;
      last = error;
      await delay(randomInt(10, window.maxPauseMs));
    }
  }
  throw new AuditkeepError('RETENTION_BUSY', {
    message: `a lock could not be had in ${window.attempts} attempts`,
    hint: 'a report, a verification or a long transaction holds it; the next run tries again',
    cause: last,
  });
}

/** Whether a failure says only that somebody else holds a lock, the structure lock among them. */
function isBusy(error: unknown): boolean {
  const state = sqlStateOf(error);
  if (isLockFailure(error) || state === STRUCTURE_LOCK_TAKEN) return true;
  // The statement timeout that bounds the wait; a cancel by a person says so in other words and is obeyed.
  return state === CANCELLED && error instanceof Error && error.message.includes('statement timeout');
}
