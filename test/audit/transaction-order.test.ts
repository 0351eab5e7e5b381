/** When transaction ids have gone back: by the end of what was sealed, or of the round that was cut short. */
import { describe, expect, it } from 'vitest';
import { parseSnapshot } from '../../src/audit/links/snapshot.ts';
import { requireTransactionOrder, wentBack } from '../../src/audit/links/transaction-order.ts';

const at = (xmax: number) => parseSnapshot(`${xmax}:${xmax}:`);
const cursor = (xmax: number) => ({ target: at(xmax), txid: 1n, timestamp: '', id: '' });

describe('transaction ids', () => {
  it.each([
    ['before the first seal', { snapshot: null, cursor: null }, 1, false],
    ['where they were', { snapshot: at(100), cursor: null }, 100, false],
    ['one further', { snapshot: at(100), cursor: null }, 101, false],
    ['one back', { snapshot: at(100), cursor: null }, 99, true],
    // A round that was cut short has seen more than what was sealed before it.
    ['before the target of an open round', { snapshot: at(100), cursor: cursor(200) }, 150, true],
    ['at the target of an open round', { snapshot: at(100), cursor: cursor(200) }, 200, false],
    ['before the target of the very first round', { snapshot: null, cursor: cursor(200) }, 199, true],
  ])('%s', (_, head, now, back) => {
    expect(wentBack(head, at(now))).toBe(back);
    if (!back) expect(() => requireTransactionOrder(head, at(now))).not.toThrow();
    else {
      const code = 'CHAIN_TXID_WENT_BACK';
      expect(() => requireTransactionOrder(head, at(now))).toThrow(expect.objectContaining({ code }));
    }
  });

  it('running ones do not count: only where ids end', () => {
    const head = { snapshot: parseSnapshot('50:100:50,60'), cursor: null };
    expect(wentBack(head, parseSnapshot('40:100:40'))).toBe(false);
  });
});
