/** Compares the installed catalog with the committed design (design.json, made by `npm run golden`). */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import type { SqlClient } from '../db/database.ts';
import { type CatalogFact, readCatalog } from './catalog.ts';

/** One object that differs: expected null is something nobody designed, actual null something that is gone. */
export interface Drift {
  readonly object: string;
  readonly expected: string | null;
  readonly actual: string | null;
}

const designShape = z.record(z.string(), z.string());

/** The design of this release: object to definition. */
export async function readDesign(): Promise<ReadonlyMap<string, string>> {
  const text = await readFile(new URL('./design.json', import.meta.url), 'utf8');
  return new Map(Object.entries(designShape.parse(JSON.parse(text))));
}

/** What a catalog has, lacks or has otherwise than the design says, sorted by object. */
export function compareCatalog(design: ReadonlyMap<string, string>, facts: readonly CatalogFact[]): Drift[] {
  const actual = new Map(facts.map((fact) => [fact.object, fact.definition]));
  const objects = [...new Set([...design.keys(), ...actual.keys()])].sort();
  return objects.flatMap((object) => {
    const drift = { object, expected: design.get(object) ?? null, actual: actual.get(object) ?? null };
    return drift.expected === drift.actual ? [] : [drift];
  });
}

/**
 * Where the database differs from the design of this release. Meaningful only when every migration is applied. Reads
 * system catalogs alone, so any role may ask; row data and partitions' bounds are not looked at.
 */
export async function findDrift(client: SqlClient): Promise<Drift[]> {
  return compareCatalog(await readDesign(), await readCatalog(client));
}
