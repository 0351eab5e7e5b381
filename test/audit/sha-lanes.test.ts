/** Hashing in lanes gives what hashing one by one gives, whatever the lengths; and a lane that lies is found out. */
import { createHash, randomBytes, randomInt } from 'node:crypto';
import { expect, it, vi } from 'vitest';
import { bytesOf } from '../../src/audit/copy/slabs.ts';
import { eachTuple } from '../../src/audit/copy/tuples.ts';
import { frameFields } from '../../src/audit/event/canonical.ts';
import { hashTuple } from '../../src/audit/event/event-digest.ts';
import {
  ACTOR_SALT,
  eventTuples,
  HASH_VERSION,
  OWN_HASH,
  PAYLOAD_SALT,
  TXID,
} from '../../src/audit/event/event-source.ts';
import { BLOCK_BYTES, MOST_BLOCKS, ShaLanes, WORK } from '../../src/audit/lanes/sha-lanes.ts';
import { LinkLanes } from '../../src/audit/links/link-lanes.ts';
import { soundRun } from '../../src/audit/links/link-run.ts';
import { linkTuples } from '../../src/audit/links/link-source.ts';
import { fits } from '../../src/audit/scan/event-lanes.ts';
import { EventSums } from '../../src/audit/scan/event-sums.ts';
import { checkSlabCanary } from '../../src/audit/scan/slab-canary.ts';
import { SlabHasher } from '../../src/audit/scan/slab-hasher.ts';
import { linkHash, nodeHashes } from '../../src/audit/tree/hash.ts';

function created(): ShaLanes {
  const lanes = ShaLanes.create();
  if (lanes === null) throw new Error('this machine has no vectors for WebAssembly');
  return lanes;
}

it('hashes messages of every length that has room, with others or alone', () => {
  const lanes = created();
  const [at, to] = [WORK.events.from, WORK.events.from + 64 * BLOCK_BYTES];
  for (let length = 0; length + 9 <= MOST_BLOCKS * BLOCK_BYTES; length += 1) {
    const message = randomBytes(length);
    lanes.memory.set(message, at);
    const blocks = lanes.run.pad(at, length);
    for (let lane = 0; lane <= length % 4; lane += 1) lanes.add(at, blocks, to + lane * 32);
    lanes.flush();
    const digest = createHash('sha256').update(message).digest();
    for (let lane = 0; lane <= length % 4; lane += 1) {
      expect(lanes.memory.subarray(to + lane * 32, to + lane * 32 + 32)).toEqual(digest);
    }
  }
});

/** An event as COPY gives it: fields of lengths up to a few times what lanes take, groups with and without salts. */
function madeEvent(longest: number, shortest = 0): Buffer {
  const fields = Array.from({ length: eventTuples.fieldCount }, (_, field) => {
    if (field === 0) return randomBytes(16);
    if (field === 1) return Buffer.concat([Buffer.from([0, 0, randomInt(3), 0]), randomBytes(4)]);
    if (field === ACTOR_SALT || field === PAYLOAD_SALT) {
      return randomInt(4) === 0 ? null : randomBytes(randomInt(20) === 0 ? randomInt(64) : 16);
    }
    if (field === TXID) return randomBytes(8);
    if (field === HASH_VERSION) return Buffer.from([0, 1]);
    if (field === OWN_HASH) return Buffer.from([0]);
    if (field === OWN_HASH + 1) return randomBytes(4);
    if (shortest > 0 && field === 2) return randomBytes(shortest);
    return randomInt(3) === 0 ? null : randomBytes(randomInt(longest));
  });
  return Buffer.concat([Buffer.from([0, fields.length]), frameFields(fields)]);
}

it('sums up the events of slabs as one by one, long and short ones, with and without groups', () => {
  const lanes = created();
  const [inLanes, single] = [new EventSums(), new EventSums()];
  const alike = new EventSums(inLanes.key);
  const hasher = new SlabHasher(lanes, inLanes);
  let seen = 0;
  for (const [rows, longest] of [
    [1, 10],
    [700, 40],
    [97, 150],
    [300, 400],
    // More than the memory has room for.
    [60, 3000],
  ] as const) {
    const slab = new Uint8Array(Buffer.concat(Array.from({ length: rows }, () => madeEvent(longest))));
    hasher.push(slab, () => {
      seen += 1;
    });
    eachTuple(bytesOf(slab), eventTuples, (tuple) => {
      alike.addEvent(tuple, hashTuple(tuple));
      single.addEvent(tuple, hashTuple(tuple));
    });
  }
  expect(seen).toBe(1158);
  expect(inLanes.parts.slices).toEqual(alike.parts.slices);
  // Under another key all sums differ: equal ones above are no zeros.
  expect(inLanes.parts.slices).not.toEqual(single.parts.slices);
});

it('follows links and hashes nodes as one by one, also after events', () => {
  const lanes = created();
  const [links, sums] = [new LinkLanes(lanes), new EventSums()];
  const hasher = new SlabHasher(lanes, sums);
  const again = new EventSums(sums.key);
  for (const count of [0, 1, 3, 4, 5, 8, 30]) {
    const before = randomBytes(32);
    let previous: Buffer = before;
    const rows = Array.from({ length: count }, (_, at) => {
      const [seq, leaf] = [Buffer.alloc(8), randomBytes(32)];
      seq.writeBigInt64BE(7n + BigInt(at));
      previous = linkHash(previous, 7n + BigInt(at), leaf);
      return frameFields([seq, randomBytes(8), randomBytes(16), randomBytes(8), leaf, previous, randomBytes(32), null]);
    });
    const tuples = rows.map((row) => Buffer.concat([Buffer.from([0, linkTuples.fieldCount]), row]));
    const slab = new Uint8Array(Buffer.concat(tuples));
    const from = { size: 7n, chainHash: before };
    expect(links.soundRun(slab, from)).toEqual(soundRun(slab, from));
    expect(links.soundRun(slab, from)?.count).toBe(count);
    expect(links.soundRun(slab, { ...from, size: 8n })).toEqual(soundRun(slab, { ...from, size: 8n }));
    const tupleBytes = slab.length / Math.max(count, 1);
    for (let at = 0; at < count; at += 1) {
      // The last bytes of the leaf and of the chain hash.
      for (const place of [2 + 12 + 12 + 20 + 12 + 35, 2 + 12 + 12 + 20 + 12 + 36 + 35]) {
        const changed = new Uint8Array(slab);
        changed[at * tupleBytes + place] = (changed[at * tupleBytes + place] ?? 0) ^ 1;
        expect(links.soundRun(changed, from)).toBeNull();
      }
    }
    const event = new Uint8Array(madeEvent(30));
    hasher.push(event, () => undefined);
    eachTuple(bytesOf(event), eventTuples, (tuple) => again.addEvent(tuple, hashTuple(tuple)));
  }
  expect(sums.parts.slices).toEqual(again.parts.slices);
  for (const nodes of [0, 1, 2, 5, 511, 512, 513, 2000]) {
    const children = randomBytes(nodes * 64 + 32);
    expect(links.nodeHashes(children)).toEqual(nodeHashes(children));
  }
});

/** An event that lanes take, with a field that is hashed. */
function lanesEvent(): Buffer {
  for (;;) {
    const event = madeEvent(20, 5);
    let taken = false;
    eachTuple(event, eventTuples, (tuple) => {
      taken = fits(tuple);
    });
    if (taken) return event;
  }
}

it('tries an event that lanes take, whatever comes first, and changes what is hashed', () => {
  const lanes = created();
  const tooLong = madeEvent(20, 3000);
  const slab = new Uint8Array(Buffer.concat([tooLong, lanesEvent()]));
  expect(checkSlabCanary(slab, lanes)).toBe(true);
  expect(checkSlabCanary(new Uint8Array(tooLong), lanes)).toBe(false);
  // A slab that lanes do not hold: one by one, and the next slab is tried.
  const large = new Uint8Array(Buffer.concat([lanesEvent(), madeEvent(20, 1_000_000)]));
  expect(checkSlabCanary(large, lanes)).toBe(false);
  const { hash } = lanes.run;
  for (let round = 0; round < 30; round += 1) {
    // Lanes that give the digests of the first run again.
    const known = new Map<string, Buffer[]>();
    Object.assign(lanes.run, {
      hash: (...addresses: Parameters<typeof hash>) => {
        const to = addresses.slice(5);
        const digests = known.get(addresses.join());
        if (digests === undefined) {
          hash(...addresses);
          known.set(
            addresses.join(),
            to.map((at) => Buffer.from(lanes.memory.subarray(at, at + 32))),
          );
        } else for (const [lane, at] of to.entries()) lanes.memory.set(digests[lane] ?? [], at);
      },
    });
    expect(() => checkSlabCanary(slab, lanes)).toThrow('a changed event in place');
  }
});

it('is none where there is no WebAssembly, as with node --jitless', () => {
  vi.stubGlobal('WebAssembly', undefined);
  try {
    expect(ShaLanes.create()).toBeNull();
  } finally {
    vi.unstubAllGlobals();
  }
});

it('gives up where a lane hashes wrongly, or hashes nothing', () => {
  const lanes = created();
  const slab = new Uint8Array(Buffer.concat([lanesEvent(), lanesEvent()]));
  checkSlabCanary(slab, lanes);
  checkSlabCanary(slab, null);
  checkSlabCanary(new Uint8Array(Buffer.from([255, 255])), lanes);
  const { hash, same } = lanes.run;
  Object.assign(lanes.run, { hash: () => undefined });
  expect(() => checkSlabCanary(slab, lanes)).toThrow(expect.objectContaining({ code: 'CHAIN_CANARY' }));
  Object.assign(lanes.run, { hash, same: () => 1 });
  expect(() => checkSlabCanary(slab, lanes)).toThrow('a changed link in place');
  Object.assign(lanes.run, { same: () => 0 });
  // Lanes that deny everything are slow and right: links are then judged one by one.
  checkSlabCanary(slab, lanes);
  Object.assign(lanes.run, { same });
  checkSlabCanary(slab, lanes);
  // Lanes that see the first event again and again.
  const single = new Uint8Array(lanesEvent());
  const seen = lanes.load(single);
  Object.assign(lanes, { load: () => seen });
  expect(() => checkSlabCanary(single, lanes)).toThrow('a changed event in place');
});
