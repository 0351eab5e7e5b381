import fc from 'fast-check';
import { expect, test } from 'vitest';
import { cutoffOf, passesGate, RISK_THRESHOLDS } from '../../src/privacy/policy.ts';
import { isPseudonym, pseudonymOf } from '../../src/privacy/pseudonym.ts';
import { reportOf } from '../../src/privacy/risk.ts';
import { transactionId } from '../../src/privacy/transaction-id.ts';
import { valueBucket } from '../../src/privacy/value-bucket.ts';
import { parseInstant, toInstant } from '../../src/time/clock.ts';

const secret = { keyId: '00112233445566aa', key: Buffer.alloc(32, 3) };
const address = '0xAe2fc483527b8EF99EB5D9B44875f005BA1FaE13';

test('a pseudonym has 63 characters, one less than the column, and one address has one', () => {
  const pseudonym = pseudonymOf(secret, address);
  expect(pseudonym).toBe('p1.00112233445566aa.5FfXqGeGXy6TX2UkKuknYDPiL42FomngLSSK_HulFoQ');
  expect(pseudonym).toHaveLength(63);
  expect(pseudonymOf(secret, address.toLowerCase())).toBe(pseudonym);
  expect(pseudonymOf(secret, `0X${address.slice(2).toUpperCase()}`)).toBe(pseudonym);
  expect(pseudonymOf({ ...secret, key: Buffer.alloc(32, 4) }, address)).not.toBe(pseudonym);
  expect(isPseudonym(pseudonym)).toBe(true);
  expect(() => pseudonymOf(secret, pseudonym)).toThrow('pseudonym of a pseudonym');
});

test.each([
  ['hex without 0x', address.slice(2)],
  ['upper-case hex without 0x', address.slice(2).toUpperCase()],
])('%s is the same address', (_what, written) => {
  expect(pseudonymOf(secret, written)).toBe(pseudonymOf(secret, address));
});

test('an upper-case bech32 address, as in QR codes, is the lower-case one; mixed case is none', () => {
  const bech32 = 'bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq';
  expect(pseudonymOf(secret, bech32.toUpperCase())).toBe(pseudonymOf(secret, bech32));
  expect(pseudonymOf(secret, `B${bech32.slice(1)}`)).not.toBe(pseudonymOf(secret, bech32));
});

test('addresses of other networks keep their case, which carries meaning there', () => {
  const bitcoin = '1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa';
  expect(pseudonymOf(secret, bitcoin)).not.toBe(pseudonymOf(secret, bitcoin.toLowerCase()));
});

test('a transaction’s id is a UUIDv8 that depends on secret, network and hash only', () => {
  const id = (hash: string, network = 'n1', key = secret) => transactionId(key, network, hash);
  expect(id('0xAB')).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(id('0xAB')).toBe(id('0xab'));
  const different = [
    id('0xab'),
    id('0xac'),
    id('0xab', 'n2'),
    id('b', 'n10xa'),
    id('0xab', 'n1', { ...secret, key: Buffer.alloc(32, 9) }),
  ];
  expect(new Set(different).size).toBe(5);
});

test.each([
  ['0', -1],
  ['000', -1],
  ['1', 0],
  ['9', 0],
  ['10', 1],
  ['007', 0],
  ['7400000000000000000', 18],
  [`1${'0'.repeat(77)}`, 77],
  ['', null],
  ['-5', null],
  ['1.5', null],
  ['0x10', null],
])('the bucket of %s is %s', (amount, bucket) => {
  expect(valueBucket(amount)).toBe(bucket);
});

test('a bucket is the number of digits less one, for every amount', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 1n, max: 2n ** 256n }), (amount) => {
      const bucket = valueBucket(amount.toString()) ?? -2;
      expect(10n ** BigInt(bucket) <= amount && amount < 10n ** BigInt(bucket + 1)).toBe(true);
    }),
  );
});

test.each([
  ['2026-03-15T12:00:00Z', null, '2024-03-15T00:00:00.000Z'],
  ['2028-02-29T23:59:59Z', null, '2026-03-01T00:00:00.000Z'],
  ['2026-03-15T12:00:00Z', '2025-12-31', '2025-12-31T00:00:00.000Z'],
  ['2026-03-15T12:00:00Z', '2025-12-31T23:30:00+01:00', '2025-12-31T00:00:00.000Z'],
])('at %s with --before %s the cutoff is %s', (now, before, cutoff) => {
  expect(cutoffOf(parseInstant(now) ?? toInstant(0), before)).toBe(cutoff);
});

test('the gate passes at 1 % and not above, and a report says why', () => {
  const measured = { rows: 200, uniquelyLinked: 2, k: 1, belowK: 4, classes: 20, levels: [200, 0, 0, 0, 0] };
  expect(passesGate(measured, RISK_THRESHOLDS)).toBe(true);
  const over = reportOf({ ...measured, uniquelyLinked: 3 }, RISK_THRESHOLDS);
  expect(over).toMatchObject({ thresholdsMet: false, uniquelyLinkedShare: 0.015 });
  expect(over.reasons[0]).toContain('1.5 %');
  expect(reportOf({ ...measured, rows: 0, uniquelyLinked: 0 }, RISK_THRESHOLDS)).toMatchObject({
    thresholdsMet: true,
    uniquelyLinkedShare: 0,
  });
});
