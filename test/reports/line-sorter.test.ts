import { mkdtemp, readdir, readFile, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { csvHeader, csvLine } from '../../src/reports/evidence/csv.ts';
import { openLineSorter } from '../../src/reports/evidence/line-sorter.ts';
import { openSpoolFile } from '../../src/reports/evidence/spool-file.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'auditkeep-test-'));
  vi.stubEnv('TMPDIR', folder);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true });
});

async function sortAll(lines: readonly string[], runBytes?: number): Promise<string[]> {
  const sorter = openLineSorter(runBytes);
  try {
    const sorted: string[] = [];
    for (const line of lines) {
      sorter.add(line);
      await sorter.settle();
    }
    for await (const batch of sorter.sorted()) sorted.push(...batch);
    return sorted;
  } finally {
    await sorter.close();
  }
}

describe('openLineSorter', () => {
  it('gives the same order from memory and from runs on disk, with every line as often as it came', async () => {
    const line = fc.string({ unit: 'binary-ascii', maxLength: 12 }).map((text) => text.replaceAll('\0', ''));
    await fc.assert(
      fc.asyncProperty(fc.array(line, { maxLength: 60 }), fc.integer({ min: 1, max: 200 }), async (lines, runBytes) => {
        const expected = [...lines].sort();
        expect(await sortAll(lines)).toEqual(expected);
        expect(await sortAll(lines, runBytes)).toEqual(expected);
      }),
      { numRuns: 25 },
    );
  });

  it('merges lines that lie across the chunks of a run, and more of them than a batch has', async () => {
    const lines = Array.from({ length: 6000 }, (_, index) => `${(index * 7919) % 6000} ${'x'.repeat(index % 300)}`);
    expect(await sortAll(lines, 400_000)).toEqual([...lines].sort());
  });
});

describe('openSpoolFile', () => {
  it('has no name and nothing on the disk that can be read', async () => {
    const file = await openSpoolFile();
    const secret = 'account 4711 of a person '.repeat(40_000);
    await file.write(Buffer.from(secret.slice(0, 5)));
    await file.write(Buffer.from(secret.slice(5)));
    const pieces: Buffer[] = [];
    for await (const chunk of file.chunks()) pieces.push(chunk);
    expect(pieces.length).toBe(4);
    expect(Buffer.concat(pieces).toString()).toBe(secret);
    expect(await readdir(folder)).toEqual([]);
    // Linux shows what a process has open, also without a name; elsewhere the folder above has to do.
    const descriptors = await readdir('/proc/self/fd').catch(() => []);
    const targets = await Promise.all(
      descriptors.map(async (fd) => ({ fd, target: await readlink(`/proc/self/fd/${fd}`).catch(() => '') })),
    );
    const ours = targets.filter(({ target }) => target.startsWith(folder));
    for (const { fd } of ours) {
      const bytes = await readFile(`/proc/self/fd/${fd}`);
      expect([bytes.length, bytes.includes('person')]).toEqual([secret.length + 4 * 16, false]);
    }
    expect(ours.length).toBe(descriptors.length === 0 ? 0 : 1);
    await file.close();
  });

  it('says in one line that there is no folder for temporary files', async () => {
    vi.stubEnv('TMPDIR', join(folder, 'not there'));
    await expect(openSpoolFile()).rejects.toMatchObject({ code: 'REPORT_SPOOL' });
  });
});

describe('csvLine', () => {
  const columns = [
    { name: 'account', kind: 'pseudonym' },
    { name: 'n', kind: 'integer' },
    { name: 'note', kind: 'text' },
  ] as const;

  it.each([
    [['P-1', '7', 'plain'], '"P-1",7,"plain"\r\n'],
    [['P-1', '-7', 'a "b", c\r\nd'], '"P-1",-7,"a ""b"", c\r\nd"\r\n'],
    [[null, null, ''], ',,""\r\n'],
    // OWASP, CSV injection: a cell that begins like a formula is one for a spreadsheet.
    [['P-1', '7', '=HYPERLINK("x")'], '"P-1",7,"\'=HYPERLINK(""x"")"\r\n'],
    [['P-1', '7', '@SUM(1)'], '"P-1",7,"\'@SUM(1)"\r\n'],
    [['P-1', '7', "'quoted'"], '"P-1",7,"\'\'quoted\'"\r\n'],
    [['P-1', '1+1', '\t=1'], '"P-1","1+1","\'\t=1"\r\n'],
  ])('writes %j as RFC 4180 has it', (row, line) => {
    expect(csvLine(columns, row)).toBe(line);
  });

  it('writes the names of the columns first', () => {
    expect(csvHeader(columns)).toBe('account,n,note\r\n');
  });
});
