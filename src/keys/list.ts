/** Lists the keys: metadata only, never a key. */
import type { Context } from '../context.ts';
import { type KeyListEntry, listKeys } from './store.ts';

/** Keys, newest first; without subject keys. The limit keeps memory flat: epoch keys are three a day. */
export function readKeyList(ctx: Pick<Context, 'db'>, input: { readonly limit: number }): Promise<KeyListEntry[]> {
  return ctx.db.withClient((client) => listKeys(client, input.limit));
}
