/** What people read about anchors: a chain that is not anchored must not look as if it were. */
import { expect, it } from 'vitest';
import type { WitnessStatus } from '../../src/audit/witness/anchor.ts';
import { anchorText } from '../../src/cli/anchor-text.ts';

const witness = (name: string, cosignedSize: number | null, more: Partial<WitnessStatus> = {}): WitnessStatus => ({
  name,
  url: 'https://w.example',
  outcome: cosignedSize === null ? 'unreachable' : 'cosigned',
  detail: '',
  askedAt: null,
  cosignedSize,
  cosignedAt: null,
  claimedSize: null,
  ...more,
});
const accuser = witness('c', 9, { outcome: 'rolled-back', detail: 'has cosigned 20 leaves', claimedSize: 20 });

it.each<[string, boolean, number | null, number, WitnessStatus[]]>([
  ['NOT anchored: nothing signed here', false, null, 0, []],
  ["by the signer's own store only: no witnesses configured", true, null, 0, []],
  ['NOT anchored: 1 of the 2 witnesses needed have cosigned', false, null, 2, [witness('a', 9), witness('b', null)]],
  ['up to 9 by 2 of 2 witnesses', true, 9, 2, [witness('a', 9), witness('b', 9)]],
  ['up to 9 by 1 of 2 witnesses; MISSING: b', true, 9, 1, [witness('a', 9), witness('b', null)]],
  ['NOT anchored: c has cosigned 20 leaves', false, 9, 1, [witness('a', 9), accuser]],
])('%s', (text, anchored, anchoredSize, witnessQuorum, witnesses) => {
  expect(anchorText({ anchored, anchoredSize, witnessQuorum, witnesses })).toBe(text);
});
