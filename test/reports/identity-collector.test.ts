import { describe, expect, test } from 'vitest';
import { collectIdentities } from '../../src/reports/identity/identity-collector.ts';

describe('collecting', () => {
  const pseudonym = (value: string) => `P-${value.padStart(16, '0')}`;

  test('gives each pseudonym once, in order, whatever came how often', async () => {
    const collector = collectIdentities(pseudonym);
    for (let round = 0; round < 3; round += 1) for (let n = 60_000; n > 0; n -= 1) collector.pseudonymize(String(n));
    collector.pseudonymize('Zoë 東京');
    await collector.settle();
    const found: string[] = [];
    for await (const entries of collector.entries(1000)) {
      expect(entries.length).toBeLessThanOrEqual(1000);
      found.push(...entries.map(({ value }) => value));
    }
    await collector.close();
    expect(found).toHaveLength(60_001);
    expect(new Set(found).size).toBe(60_001);
    expect(found).toContain('Zoë 東京');
  });

  test('says that there are too many, and cuts nothing', async () => {
    const collector = collectIdentities(pseudonym, 10);
    for (let n = 0; n < 11; n += 1) collector.pseudonymize(String(n));
    const all = async () => {
      for await (const entries of collector.entries(4)) expect(entries.length).toBeGreaterThan(0);
    };
    await expect(all()).rejects.toMatchObject({ code: 'REPORT_TOO_LARGE' });
    await collector.close();
  });
});
