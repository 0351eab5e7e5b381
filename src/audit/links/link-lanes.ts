/** Chain hashes of links and nodes of the tree, hashed four at a time (sha-lanes.ts): what soundRun() and nodeHashes() give. */

import type { Slab } from '../copy/slabs.ts';
import { eachTuple, type Tuple } from '../copy/tuples.ts';
import { BLOCK_BYTES, type ShaLanes, WORK } from '../lanes/sha-lanes.ts';
import { DIGEST_BYTES, type Digest } from '../tree/hash.ts';
import type { LinkRun } from './link-run.ts';
import { LINK, linkSource } from './link-source.ts';

const LANES = [0, 1, 2, 3] as const;
const [NODE, LINKED] = [0x01, 0x02];
const SEQ_BYTES = 8;
/** Both messages are of two blocks: 0x01 and two nodes; 0x02, the digest before, int64 seq and the leaf. */
const MESSAGE_BYTES = 2 * BLOCK_BYTES;
const LENGTH = { node: 1 + 2 * DIGEST_BYTES, link: 1 + DIGEST_BYTES + SEQ_BYTES + DIGEST_BYTES } as const;
/** The memory: four messages, four digests, then nodes and their children. */
const DIGESTS_AT = WORK.links.from + 5 * MESSAGE_BYTES;
const PREVIOUS_AT = DIGESTS_AT + LANES.length * DIGEST_BYTES;
const CHILDREN_AT = PREVIOUS_AT + DIGEST_BYTES;
/** A power of two, so that pieces of children are of whole lanes. */
const CHILDREN_BYTES = 1 << 15;
const NODES_AT = CHILDREN_AT + CHILDREN_BYTES;

const messageAt = (lane: number) => WORK.links.from + lane * MESSAGE_BYTES;
const digestAt = (lane: number) => DIGESTS_AT + lane * DIGEST_BYTES;

export class LinkLanes {
  readonly #lanes: ShaLanes;

  constructor(lanes: ShaLanes) {
    this.#lanes = lanes;
  }

  /** Whether a slab is not too large. */
  canTake(slab: Slab): boolean {
    return this.#lanes.holds(slab);
  }

  /** As soundRun() of link-run.ts. @throws RangeError for a slab that canTake() denies */
  soundRun(slab: Slab, from: { readonly size: bigint; readonly chainHash: Digest }): LinkRun | null {
    const loaded = this.#lanes.load(slab);
    if (loaded === null) throw new RangeError('a slab that is too large');
    const { memory } = this.#lanes;
    memory.set(from.chainHash, PREVIOUS_AT);
    this.#begin(LINKED, LENGTH.link);
    const leaves = Buffer.allocUnsafe(slab.byteLength);
    const stored = [0, 0, 0, 0];
    let [filled, count, sound, previous] = [0, 0, true, PREVIOUS_AT];
    const visit = (tuple: Tuple) => {
      const [seq, leaf, chained] = [tuple.start(LINK.seq), tuple.start(LINK.leaf), tuple.start(LINK.chainHash)];
      const whole =
        tuple.end(LINK.leaf) === leaf + DIGEST_BYTES && tuple.end(LINK.chainHash) === chained + DIGEST_BYTES;
      if (!sound || !whole || this.#lanes.view.getBigInt64(seq) !== from.size + BigInt(count)) {
        sound = false;
        return;
      }
      const lane = count % LANES.length;
      this.#fill(messageAt(lane), { previous, seq, leaf });
      stored[lane] = chained;
      filled += memory.copy(leaves, filled, leaf, leaf + DIGEST_BYTES);
      previous = chained;
      count += 1;
      if (lane === LANES.length - 1) sound = this.#follow(stored, LANES.length);
    };
    eachTuple(loaded.bytes, linkSource, visit, loaded.from);
    if (!sound || !this.#follow(stored, count % LANES.length)) return null;
    const chainHash = Buffer.from(memory.subarray(previous, previous + DIGEST_BYTES));
    return { count, leaves: leaves.subarray(0, filled), chainHash };
  }

  /** As nodeHashes() of hash.ts. */
  readonly nodeHashes = (children: Buffer): Buffer => {
    const nodes = Buffer.allocUnsafe(Math.floor(children.length / (2 * DIGEST_BYTES)) * DIGEST_BYTES);
    this.#begin(NODE, LENGTH.node);
    for (let at = 0; at < nodes.length; at += CHILDREN_BYTES / 2) {
      const part = children.subarray(2 * at, 2 * at + CHILDREN_BYTES);
      this.#lanes.memory.set(part, CHILDREN_AT);
      const bytes = Math.min(CHILDREN_BYTES / 2, nodes.length - at);
      this.#hashNodes(bytes / DIGEST_BYTES);
      this.#lanes.memory.copy(nodes, at, NODES_AT, NODES_AT + bytes);
    }
    return nodes;
  };

  /** Nodes over what lies at CHILDREN_AT; a few more than asked for, over what lay there before. */
  #hashNodes(count: number): void {
    const { copy, hash } = this.#lanes.run;
    const [m0, m1, m2, m3] = [messageAt(0), messageAt(1), messageAt(2), messageAt(3)];
    for (let node = 0; node < count; node += LANES.length) {
      for (const lane of LANES) {
        copy(messageAt(lane) + 1, CHILDREN_AT + (node + lane) * 2 * DIGEST_BYTES, 2 * DIGEST_BYTES);
      }
      const to = NODES_AT + node * DIGEST_BYTES;
      hash(m0, m1, m2, m3, 2, to, to + DIGEST_BYTES, to + 2 * DIGEST_BYTES, to + 3 * DIGEST_BYTES);
    }
  }

  /** Whether the digests of the messages are those that are stored. */
  #follow(stored: readonly number[], count: number): boolean {
    const { hash, same } = this.#lanes.run;
    const [m0, m1, m2, m3] = [messageAt(0), messageAt(1), messageAt(2), messageAt(3)];
    hash(m0, m1, m2, m3, 2, digestAt(0), digestAt(1), digestAt(2), digestAt(3));
    for (let lane = 0; lane < count; lane += 1) if (same(digestAt(lane), stored[lane] ?? 0) !== 1) return false;
    return true;
  }

  /** Messages of a length that begin with a byte, ended: what lies between is still to be filled in. */
  #begin(first: number, length: number): void {
    for (const lane of LANES) {
      this.#lanes.run.pad(messageAt(lane), length);
      this.#lanes.memory[messageAt(lane)] = first;
    }
  }

  /** In order, since copy() writes more than the length of seq. */
  #fill(message: number, at: { readonly previous: number; readonly seq: number; readonly leaf: number }): void {
    const { copy } = this.#lanes.run;
    copy(message + 1, at.previous, DIGEST_BYTES);
    copy(message + 1 + DIGEST_BYTES, at.seq, SEQ_BYTES);
    copy(message + 1 + DIGEST_BYTES + SEQ_BYTES, at.leaf, DIGEST_BYTES);
  }
}
