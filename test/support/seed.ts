/** Reads the seed's own text: its tables, columns, CHECK lists and indexes. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isExpected } from './shared-data.ts';

/** Beside the project; tests that need it are skipped where it is absent. */
export const SEED_FOLDER = '../shared/seed';

export interface SeedTable {
  readonly name: string;
  /** Column to type, as the seed spells it. */
  readonly columns: ReadonlyMap<string, string>;
  /** The values of each CHECK (x IN (...)). */
  readonly checks: readonly (readonly string[])[];
}

/** The seed's text; '' where its folder is absent, since a skipped block is still collected. */
export function readSeed(): string {
  if (!isExpected(SEED_FOLDER)) return '';
  const [file = ''] = readdirSync(SEED_FOLDER).filter((name) => /^000_.*\.txt$/.test(name));
  return readFileSync(join(SEED_FOLDER, file), 'utf8');
}

/** The CREATE TABLE blocks of a text. */
export function parseTables(text: string): SeedTable[] {
  return [...text.matchAll(/CREATE TABLE (\w+\.\w+) \(\n(.*?)\n\);/gs)].map(([, name = '', body = '']) => {
    const lines = body.split('\n').map((line) => line.replace(/--.*$/, '').trim());
    const columns = lines.flatMap((line) => {
      const match = /^([a-z_]+) (timestamp with time zone|[a-z]+(?:\([\d,]+\))?(?:\[\])?)/.exec(line);
      return match === null ? [] : [[match[1] ?? '', match[2] ?? ''] as const];
    });
    const checks = [...lines.join(' ').matchAll(/IN \(([^)]*)\)/g)].map((match) =>
      [...(match[1] ?? '').matchAll(/'([^']*)'/g)].map((value) => value[1] ?? ''),
    );
    return { name, columns: new Map(columns), checks };
  });
}

/** Table to its columns. */
export function columnsOfSeed(): ReadonlyMap<string, ReadonlyMap<string, string>> {
  return new Map(parseTables(readSeed()).map((table) => [table.name, table.columns]));
}

/** The names of the seed's indexes. */
export function indexesOfSeed(): string[] {
  return [...readSeed().matchAll(/INDEX CONCURRENTLY (\w+)/g)].map((match) => match[1] ?? '');
}
