/**
 * The ids of events that wait for the sealer, as one run of an import knows them. Reading all of them for every batch
 * would cost the square of what waits; so each batch reads only those that were committed since the batch before looked.
 */
import type { SqlClient } from '../db/database.ts';
import { IdFilter } from './id-filter.ts';
import { findStoredAmong, readWaitingSince, readWaitingWatermark } from './waiting-store.ts';

export class WaitingEvents {
  readonly #ids = new IdFilter();
  /** What was committed in this snapshot is in the filter, or sealed; null before the first look. */
  #seen: string | null = null;
  /** The transaction that stored this run's last batch; its ids were added without reading them. */
  #ownTxid: string | null = null;

  /**
   * Learns which events wait. Call it inside the batch's transaction, under the import lock, and before the chain is asked
   * for the ids: what the sealer links in between is then known here, and what it linked before is in the chain.
   */
  async look(client: SqlClient): Promise<void> {
    const mark = await readWaitingWatermark(client);
    const since = this.#seen ?? mark.sealed;
    for await (const batch of readWaitingSince(client, since, this.#ownTxid)) {
      for (const { id } of batch) this.#ids.add(id);
    }
    this.#seen = mark.now;
    this.#ownTxid = null;
  }

  /**
   * Which of the ids an event has that waited at the last look, whether it waits still or was linked since. Exact: an id
   * that the filter may hold is looked up.
   */
  async find(client: SqlClient, ids: readonly string[]): Promise<ReadonlySet<string>> {
    const suspects = ids.filter((id) => this.#ids.mayHave(id));
    return new Set(suspects.length === 0 ? [] : await findStoredAmong(client, suspects));
  }

  /** Takes the ids of all rows that a transaction of this run has committed since the last look. */
  addStored(txid: string, ids: Iterable<string>): void {
    for (const id of ids) this.#ids.add(id);
    this.#ownTxid = txid;
  }
}
