/** Hashing where the bytes lie gives what hashing of objects gives; what is taken together equals what is taken alone. */
import { createCipheriv, createHash, createHmac, randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import { slabRows } from '../../src/audit/copy/slabs.ts';
import { frameFields } from '../../src/audit/event/canonical.ts';
import { soundRun } from '../../src/audit/links/link-run.ts';
import { LINK_COLUMNS, linkTuples } from '../../src/audit/links/link-source.ts';
import { EventSums, type SummedEvent } from '../../src/audit/scan/event-sums.ts';
import { ELEMENT_BYTES, FixedMac, MAC_WORDS } from '../../src/audit/scan/fixed-mac.ts';
import { RepeatFilter } from '../../src/audit/scan/repeat-filter.ts';
import { KeyedMessage, linkHash, Message } from '../../src/audit/tree/hash.ts';
import { appendLeaves, appendPackedLeaves, EMPTY_FRONTIER } from '../../src/audit/tree/merkle.ts';
import { binaryArray } from '../../src/db/binary-array.ts';

it('hashes a message that grows beyond its room, and the next one', () => {
  const message = new Message(Buffer.from('start'));
  for (const size of [10, 5000, 20_000, 3, 2047, 2048]) {
    const bytes = randomBytes(size);
    const expected = createHash('sha256').update('start').update(bytes).update(bytes.subarray(1, 3)).digest('binary');
    expect(message.restart().add(bytes).add(bytes, 1, 3).hash()).toBe(expected);
  }
});

it('computes HMAC under keys that grow and shrink', () => {
  const message = new KeyedMessage(Buffer.from('start'));
  for (const size of [16, 64, 16, 1, 0, 33]) {
    const [key, bytes] = [randomBytes(size + 4), randomBytes(3000)];
    const expected = createHmac('sha256', key.subarray(2, size + 2))
      .update('start')
      .update(bytes)
      .digest('binary');
    expect(
      message
        .restart(key, 2, size + 2)
        .add(bytes)
        .hash(),
    ).toBe(expected);
  }
  expect(() => message.restart(randomBytes(65))).toThrow(RangeError);
});

it('computes the MAC of many elements as CBC does of each', () => {
  const key = randomBytes(32);
  const elements = randomBytes(5 * ELEMENT_BYTES);
  const macs = Buffer.from(new FixedMac(key).compute(elements, 5).buffer);
  for (let at = 0; at < 5; at += 1) {
    const cipher = createCipheriv('aes-256-cbc', key, Buffer.alloc(16)).setAutoPadding(false);
    const all = cipher.update(elements.subarray(at * ELEMENT_BYTES, (at + 1) * ELEMENT_BYTES));
    expect(macs.subarray(at * 4 * MAC_WORDS, (at + 1) * 4 * MAC_WORDS)).toEqual(all.subarray(-16));
  }
});

const summed = (): SummedEvent => ({
  id: randomBytes(16),
  timestamp: Buffer.from([0, 1, 2, 3, 4, 5, 6, 7]),
  txid: 7n,
  leaf: randomBytes(32),
  actor: randomBytes(32),
  payload: null,
});

it('sums more elements than a batch holds, in any order, and sees any part that differs', () => {
  const rows = Array.from({ length: 5000 }, summed);
  const compare = (links: readonly SummedEvent[]) => {
    const sums = new EventSums();
    const other = new EventSums(sums.key);
    for (const row of rows) sums.add('event', row);
    for (const link of links) other.add('link', link);
    sums.merge(other.parts);
    return sums.differing().ranges.length;
  };
  expect(compare(rows.toReversed())).toBe(0);
  const [first] = rows;
  if (first === undefined) throw new Error('no row');
  const others: SummedEvent[] = [
    { ...first, id: randomBytes(16) },
    { ...first, timestamp: Buffer.from([0, 1, 2, 3, 4, 5, 6, 8]) },
    { ...first, txid: 8n },
    { ...first, leaf: randomBytes(32) },
    { ...first, actor: null },
    { ...first, payload: randomBytes(32) },
  ];
  for (const other of others) expect(compare([...rows.slice(1), other])).toBe(1);
  expect(compare(rows.slice(1))).toBe(1);
  // The parts of two rows exchanged: a sum of the parts would not see it.
  const [, second] = rows;
  if (second === undefined) throw new Error('no row');
  expect(compare([{ ...first, leaf: second.leaf }, { ...second, leaf: first.leaf }, ...rows.slice(2)])).toBe(1);
});

/** A chain of links as COPY gives it. */
function linkSlab(count: number, from = 5n): { slab: Uint8Array<ArrayBuffer>; before: Buffer } {
  const before = randomBytes(32);
  let previous: Buffer = before;
  const tuples = Array.from({ length: count }, (_, at) => {
    const [seq, leaf] = [Buffer.alloc(8), randomBytes(32)];
    seq.writeBigInt64BE(from + BigInt(at));
    previous = linkHash(previous, from + BigInt(at), leaf);
    const fields = [seq, randomBytes(8), randomBytes(16), randomBytes(8), leaf, previous, randomBytes(32), null];
    return Buffer.concat([Buffer.from([0, fields.length]), frameFields(fields)]);
  });
  return { slab: new Uint8Array(Buffer.concat(tuples)), before };
}

it('follows links in their bytes, and no changed one', () => {
  expect(LINK_COLUMNS.split(',')).toHaveLength(linkTuples.fieldCount);
  const { slab, before } = linkSlab(20);
  const rows = slabRows(slab, linkTuples);
  const run = soundRun(slab, { size: 5n, chainHash: before });
  expect(run?.count).toBe(20);
  expect(run?.chainHash).toEqual(rows.at(-1)?.chainHash);
  expect(run?.leaves).toEqual(Buffer.concat(rows.map((row) => row.leaf)));
  expect(soundRun(slab, { size: 6n, chainHash: before })).toBeNull();
  expect(soundRun(slab, { size: 5n, chainHash: randomBytes(32) })).toBeNull();
  // The rows lie in the slab: a bit of any leaf or chain hash.
  for (const field of rows.flatMap((row) => [row.leaf, row.chainHash])) {
    field[31] = (field[31] ?? 0) ^ 1;
    expect(soundRun(slab, { size: 5n, chainHash: before })).toBeNull();
    field[31] = (field[31] ?? 0) ^ 1;
  }
});

it('grows a tree by packed leaves as by one after the other', () => {
  const leaves = Array.from({ length: 70 }, () => randomBytes(32));
  for (const cut of [0, 1, 2, 31, 64, 69]) {
    const begun = appendLeaves(EMPTY_FRONTIER, leaves.slice(0, cut));
    let single = begun;
    for (const leaf of leaves.slice(cut)) single = appendLeaves(single, [leaf]);
    expect(appendPackedLeaves(begun, Buffer.concat(leaves.slice(cut)))).toEqual(single);
  }
});

it('keeps every id that repeats, and few that do not', () => {
  const ids = Array.from({ length: 20_000 }, () => randomBytes(16));
  const filter = new RepeatFilter(ids.length);
  const again = [ids[0], ids[777], ids[19_999]].filter((id) => id !== undefined);
  for (const id of [...ids, ...again]) filter.add(new DataView(Uint8Array.from([0, 0, 0, ...id]).buffer), 3);
  const kept = (filter.repeated ?? []).map((id) => Buffer.from(id).toString('hex'));
  expect(kept).toEqual(expect.arrayContaining(again.map((id) => id.toString('hex'))));
  expect(kept.length).toBeLessThan(200);
});

it('packs arrays of whole elements only', () => {
  expect(binaryArray('int8', Buffer.alloc(16)).subarray(0, 24).toString('hex')).toBe(
    '000000010000000000000014000000020000000100000008',
  );
  expect(() => binaryArray('uuid', Buffer.alloc(17))).toThrow(RangeError);
});
