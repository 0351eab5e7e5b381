/** Which events the links were of that somebody took out; what that costs is counted in hashes, not in time. */
import { randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import { uuidText } from '../../src/audit/copy/pg-time.ts';
import { finding } from '../../src/audit/links/finding.ts';
import { explainGaps, type Gap, type UnlinkedEvent } from '../../src/audit/links/gap.ts';
import { linkHash } from '../../src/audit/tree/hash.ts';

const START = Buffer.alloc(32);

function madeEvent(txid: number): UnlinkedEvent {
  const id = randomBytes(16);
  const facts = { eventId: uuidText(id), expected: 'no such event', actual: `transaction ${txid}` };
  return {
    txid: BigInt(txid),
    timestamp: Buffer.alloc(8),
    id,
    leaf: randomBytes(32),
    finding: finding('inserted', facts),
  };
}

/** A chain of some events, and its gaps where the links of some places are gone. */
function chainWithout(events: readonly UnlinkedEvent[], gone: (seq: number) => boolean): Gap[] {
  const gaps: Gap[] = [];
  let hash: Buffer = START;
  let open: { from: bigint; before: Buffer; txid: bigint } | null = null;
  for (const [seq, event] of events.entries()) {
    const before = hash;
    hash = linkHash(before, BigInt(seq), event.leaf);
    if (gone(seq)) open ??= { from: BigInt(seq), before, txid: events[seq - 1]?.txid ?? 0n };
    else if (open !== null) {
      gaps.push({ ...open, to: BigInt(seq), after: { leaf: event.leaf, chainHash: hash } });
      open = null;
    }
  }
  if (open !== null) gaps.push({ ...open, to: BigInt(events.length), after: { leaf: null, chainHash: hash } });
  return gaps;
}

const events = Array.from({ length: 3000 }, (_, at) => madeEvent(10 + at));
const size = BigInt(events.length);
const summary = (findings: readonly { readonly class: string }[]) => {
  const classes: Record<string, number> = {};
  for (const one of findings) classes[one.class] = (classes[one.class] ?? 0) + 1;
  return classes;
};

it('names the event of every one of thousands of gaps by a few hashes each', () => {
  const gone = (seq: number) => seq % 3 === 1 || seq % 100 < 7;
  const gaps = chainWithout(events, gone);
  const missing = events.filter((_, seq) => gone(seq));
  const { findings, filled, hashes } = explainGaps(gaps, missing.toReversed(), size);
  expect(filled.size).toBe(gaps.length);
  expect(summary(findings)).toEqual({ deleted: missing.length - 8, 'head-cut': 8 });
  const place = (seq: number) => findings.find((one) => one.eventId === uuidText(events[seq]?.id ?? START));
  for (const seq of [0, 1, 100, 1501, 2998]) expect(place(seq)?.seq).toBe(gone(seq) ? seq : undefined);
  expect(hashes).toBe(missing.length + gaps.length);
});

it('spends a bounded number of hashes where gaps have no event any more, and still names what does', () => {
  const gone = (seq: number) => seq % 2 === 1;
  const gaps = chainWithout(events, gone);
  // The events of the first gaps are gone too; strangers are between the others.
  const missing = events.filter((_, seq) => gone(seq) && seq > 1000);
  const strangers = Array.from({ length: 1500 }, (_, at) => madeEvent(10 + 2 * at));
  const { findings, filled, hashes } = explainGaps(gaps, [...missing, ...strangers], size);
  expect(hashes).toBeLessThanOrEqual(2_000_000 + 32 * 2 * gaps.length + 2);
  expect(filled.size).toBe(missing.length);
  expect(findings).toHaveLength(missing.length + strangers.length);
});

it('finds a gap among strangers, before its cursor, and with a stranger in its midst', () => {
  const gone = (seq: number) => [500, 501, 502].includes(seq) || seq === 40;
  const gaps = chainWithout(events.slice(0, 1000), gone);
  const missing = events.slice(0, 1000).filter((_, seq) => gone(seq));
  const between = { ...madeEvent(511), timestamp: Buffer.from([0, 0, 0, 0, 0, 0, 0, 1]) };
  const many = Array.from({ length: 200 }, () => madeEvent(45));
  const { findings } = explainGaps(gaps, [...many, between, ...missing], 1000n);
  expect(findings.filter((one) => one.class === 'deleted').map((one) => one.seq)).toEqual([40, 500, 501, 502]);
  expect(findings.filter((one) => one.class === 'inserted')).toHaveLength(201);
});
