/** The shape of the code base: file lengths and names, as CONTRIBUTING.md promises them. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, normalize, sep } from 'node:path';
import { expect, test } from 'vitest';

const LONGEST_FILE = 400;
const LARGEST_MEDIAN = 150;
const EMPTY_NAMES = /(^|[/-])(utils?|helpers?|common|misc|lib|manager|service|base|impl)(\.|-|\/|$)/i;

function filesUnder(folder: string, ending: RegExp): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((path) => ending.test(path))
    .map((path) => join(folder, path));
}

function countLines(path: string): number {
  return readFileSync(path, 'utf8').split('\n').length - 1;
}

test('no source file is longer than 400 lines', () => {
  const files = [...filesUnder('src', /\.(ts|sql)$/), ...filesUnder('bin', /\.js$/)];
  expect(files.length).toBeGreaterThan(50);
  expect(files.filter((file) => countLines(file) > LONGEST_FILE)).toEqual([]);
});

test('the median source file has at most 150 lines', () => {
  const lengths = filesUnder('src', /\.ts$/)
    .map(countLines)
    .sort((a, b) => a - b);
  expect(lengths[Math.floor(lengths.length / 2)]).toBeLessThanOrEqual(LARGEST_MEDIAN);
});

test('file and folder names say what they hold', () => {
  expect(filesUnder('src', /./).filter((file) => EMPTY_NAMES.test(file))).toEqual([]);
});

/** The rooms of a large area, the highest first: each imports from those below it only. */
const ROOMS = {
  audit: [
    ...['export', 'verify', 'seal', 'publish', 'witness', 'signer', 'scan'],
    ...['record', 'inline', 'links', 'event', 'lanes', 'tree', 'copy'],
  ],
  reports: [
    ...['bundle', 'diff', 'seal', 'parts', 'generate', 'fixture'],
    ...['workflow', 'identity', 'evaluate', 'render', 'evidence', 'model', 'template'],
  ],
};

test.each(Object.entries(ROOMS))('imports between the rooms of src/%s point down', (area, rooms) => {
  const root = join('src', area);
  const floorOf = (path: string) => rooms.indexOf(path.slice(root.length + 1).split(sep)[0] ?? '');
  const imports = filesUnder(root, /\.ts$/).flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(/ from '(\.[^']+)'/g)].map((match) => ({
      file,
      imported: normalize(join(file, '..', match[1] ?? '')),
    })),
  );
  const inside = imports.filter(({ imported }) => imported.startsWith(root));
  expect(inside.length).toBeGreaterThan(250);
  expect(filesUnder(root, /\.ts$/).filter((file) => floorOf(file) < 0)).toEqual([]);
  expect(inside.filter(({ file, imported }) => floorOf(imported) < floorOf(file))).toEqual([]);
});
