/** Which columns name a person, which are given to them and which are withheld: templates/subject-export.yaml, parsed. */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { z } from 'zod';

const names = z.array(z.string().regex(/^[a-z][a-z0-9_]*$/));
const tableName = z.string().regex(/^[a-z_]+\.[a-z_]+$/);

const tableSchema = z.strictObject({
  /** Rows also lie in the table's archive, its late table and in quarantine. */
  family: z.boolean().default(false),
  /** Columns that name persons; what names somebody else is left empty. */
  find: names.min(1),
  /**
   * Columns that say something about whoever the columns in `to` name, and are left empty where that is somebody else; with
   * `where` in rows of which a column has one of the values only, which in others are nobody's.
   */
  belongs: z
    .array(
      z.strictObject({
        to: names.min(1),
        columns: names.min(1),
        where: z.strictObject({ column: z.string(), values: z.array(z.string()).min(1) }).optional(),
      }),
    )
    .default([]),
  /** Columns in whose text an account id or an address counts, too. */
  contains: names.default([]),
  /** Columns that hold envelopes of their own, of class confidential. */
  cells: names.default([]),
  /** Envelopes of whole groups of an event; their columns are given in the clear. */
  groups: names.default([]),
  columns: names.min(1),
  /** Columns by the reason for which they are not given. */
  withheld: z.record(z.string(), names).default({}),
});

const mapSchema = z.strictObject({
  version: z.literal(1),
  reasons: z.record(z.string(), z.string().min(1)),
  tables: z.record(tableName, tableSchema),
  /** Tables that name persons and are not given, by reason. */
  withheldTables: z.record(tableName, z.string()),
  /** Tables that name nobody. */
  nobody: z.array(tableName),
});

export type SubjectTable = Readonly<z.infer<typeof tableSchema>>;
export type SubjectMap = Readonly<z.infer<typeof mapSchema>>;

const FILE = fileURLToPath(new URL('../../templates/subject-export.yaml', import.meta.url));

/** Reads the map that comes with the product; a malformed one is a bug. */
export async function loadSubjectMap(): Promise<SubjectMap> {
  return mapSchema.parse(parse(await readFile(FILE, 'utf8'), { schema: 'core', maxAliasCount: 0 }));
}
