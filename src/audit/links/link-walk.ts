/**
 * Walks the links in seq order: density, chain hashes, the Merkle tree and its roots at given sizes, and the head. Pure:
 * links go in, findings come out. Memory is the frontier and one entry a problem.
 *
 * A chain hash that does not follow is judged by the next one. It follows from the hash that was computed: only the
 * stored hash was altered (rehashed). It follows from the hash that is stored: the leaf at that place is not the one
 * that was chained there (reordered, unless the event at that place says something more exact).
 */

import { uuidText } from '../copy/pg-time.ts';
import { type Slab, slabRows } from '../copy/slabs.ts';
import { GENESIS } from '../tree/chain.ts';
import { DIGEST_BYTES, type Digest, linkHash } from '../tree/hash.ts';
import { appendPackedLeaves, EMPTY_FRONTIER, type Frontier, rootOf } from '../tree/merkle.ts';
import { type Finding, finding } from './finding.ts';
import type { LinkLanes } from './link-lanes.ts';
import { type LinkRun, soundRun } from './link-run.ts';
import { type LinkRow, linkSource } from './link-source.ts';

interface Break {
  readonly seq: bigint;
  readonly eventId: string;
  readonly computed: Digest;
  readonly stored: Digest;
}

export interface WalkedHead {
  readonly size: bigint;
  readonly chainHash: Digest;
  readonly frontier: Frontier;
}

export class LinkWalk {
  #next: bigint;
  #previous: Digest;
  #open: Break | null = null;
  #frontier: Frontier;
  #walked = 0;
  #clean = true;
  readonly #roots = new Map<bigint, Digest>();
  readonly #wanted: readonly bigint[];
  readonly #lanes: LinkLanes | null;
  readonly #findings: Finding[] = [];

  /**
   * @param sizes tree sizes whose roots are wanted
   * @param start where the walk begins, when not at the first link; roots are right only if the frontier is
   * @param lanes hashes slabs and the tree, if there are lanes
   */
  constructor(
    sizes: readonly bigint[] = [],
    start: WalkedHead = { size: 0n, chainHash: GENESIS, frontier: EMPTY_FRONTIER },
    lanes: LinkLanes | null = null,
  ) {
    this.#lanes = lanes;
    this.#next = start.size;
    this.#previous = start.chainHash;
    this.#frontier = start.frontier;
    this.#wanted = [...new Set(sizes)].sort((a, b) => (a < b ? -1 : 1));
  }

  /** Links in seq order. */
  push(links: readonly LinkRow[]): void {
    for (const link of links) this.#step(link);
    this.#grow(Buffer.concat(links.map((link) => link.leaf)));
    // Links are views of a slab whose memory is given back.
    this.#previous = Buffer.from(this.#previous);
    if (this.#open !== null) this.#open = { ...this.#open, stored: Buffer.from(this.#open.stored) };
  }

  /** A slab of links in seq order; rows are made of them only where one does not follow from the one before. */
  pushSlab(slab: Slab): void {
    const run = this.#open === null ? this.#soundRun(slab) : null;
    if (run === null) {
      this.push(slabRows(slab, linkSource));
      return;
    }
    this.#walked += run.count;
    this.#next += BigInt(run.count);
    this.#previous = run.chainHash;
    this.#grow(run.leaves);
  }

  /** Compares with the head and gives everything found. Call once, after the last link. */
  finish(head: WalkedHead): Finding[] {
    if (this.#open !== null) this.#close(this.#open, head.chainHash);
    if (this.#next < head.size) {
      this.#report(finding('truncated', { ...this.#place(), ...sizes(head.size, this.#next) }));
    } else if (this.#next > head.size) {
      this.#report(finding('rolled-back', sizes(this.#next, head.size)));
    } else if (this.#clean && !this.#previous.equals(head.chainHash)) {
      this.#report(finding('rewritten', hashes(this.#previous, head.chainHash)));
    } else if (this.#clean && !rootOf(this.#frontier).equals(rootOf(head.frontier))) {
      this.#report(finding('rewritten', hashes(rootOf(this.#frontier), rootOf(head.frontier))));
    }
    return this.#findings;
  }

  /** Gives everything found in a walk that ends, by intention, before the head. Call once, after the last link. */
  finishAt(size: bigint): Finding[] {
    if (this.#open !== null) this.#close(this.#open, null);
    if (this.#next < size) this.#report(finding('deleted', { ...this.#place(), ...sizes(size, this.#next) }));
    return this.#findings;
  }

  /** Where chain and tree end now. */
  get reached(): WalkedHead {
    return { size: this.#next, chainHash: this.#previous, frontier: this.#frontier };
  }

  /** Links seen. */
  get walked(): number {
    return this.#walked;
  }

  /** Where the links end. */
  get end(): bigint {
    return this.#next;
  }

  /** True while every link followed from the one before. */
  get clean(): boolean {
    return this.#clean;
  }

  /** The root at one of the wanted sizes; undefined when the chain never had that size. */
  rootAt(size: bigint): Digest | undefined {
    return this.#roots.get(size);
  }

  #soundRun(slab: Slab): LinkRun | null {
    const from = { size: this.#next, chainHash: this.#previous };
    return this.#lanes?.canTake(slab) === true ? this.#lanes.soundRun(slab, from) : soundRun(slab, from);
  }

  #step(link: LinkRow): void {
    this.#walked += 1;
    if (link.seq !== this.#next) {
      const kind = this.#next === 0n ? 'head-cut' : 'deleted';
      this.#report(finding(kind, { ...this.#place(), ...sizes(this.#next, link.seq), partition: 'audit.chain_link' }));
      this.#open = null;
      // What came before is gone: the first link after a gap is taken at its word.
      this.#previous = link.chainHash;
      this.#next = link.seq + 1n;
      return;
    }
    const computed = linkHash(this.#previous, link.seq, link.leaf);
    const before = this.#open;
    this.#next = link.seq + 1n;
    if (computed.equals(link.chainHash)) {
      if (before !== null) this.#close(before, null);
    } else if (before !== null && linkHash(before.stored, link.seq, link.leaf).equals(link.chainHash)) {
      this.#close(before, before.stored);
    } else {
      if (before !== null) this.#close(before, before.stored);
      const eventId = uuidText(link.eventId);
      this.#open = { seq: link.seq, eventId, computed, stored: link.chainHash };
      this.#clean = false;
      this.#previous = computed;
      return;
    }
    this.#previous = link.chainHash;
  }

  /** @param follows what the next link or the head follows from; null when it is the computed hash */
  #close(at: Break, follows: Digest | null): void {
    const leafIsRight = follows === null || (!follows.equals(at.stored) && follows.equals(at.computed));
    const facts = { seq: Number(at.seq), eventId: at.eventId, ...hashes(at.computed, at.stored) };
    this.#report(finding(leafIsRight ? 'rehashed' : 'reordered', facts));
    this.#open = null;
  }

  /** @param leaves 32 bytes each */
  #grow(leaves: Buffer): void {
    let from = 0;
    while (from < leaves.length) {
      const { size } = this.#frontier;
      const stop = this.#wanted.find((wanted) => wanted > size);
      const until = stop === undefined ? leaves.length : from + Number(stop - size) * DIGEST_BYTES;
      const part = leaves.subarray(from, until);
      this.#frontier = appendPackedLeaves(this.#frontier, part, this.#lanes?.nodeHashes);
      if (this.#frontier.size === stop) this.#roots.set(stop, rootOf(this.#frontier));
      from += part.length;
    }
  }

  #report(found: Finding): void {
    this.#clean = false;
    this.#findings.push(found);
  }

  #place(): { seq: number } {
    return { seq: Number(this.#next) };
  }
}

function hashes(expected: Digest, actual: Digest): { expected: string; actual: string } {
  return { expected: expected.toString('hex'), actual: actual.toString('hex') };
}

function sizes(expected: bigint, actual: bigint): { expected: string; actual: string } {
  return { expected: String(expected), actual: String(actual) };
}
