/** The manifest of a person's export: what the files are, what was looked at and not found, what is withheld and why. */
import type { Context } from '../context.ts';
import { isoOf, type UtcInstant } from '../time/clock.ts';
import { subtractPeriod } from '../time/period.ts';
import { openSink, type WrittenFile } from './subject-file.ts';
import type { SubjectMap } from './subject-map.ts';
import { readTypes } from './subject-store.ts';

export interface ExportedTable {
  readonly table: string;
  readonly rows: number;
  /** Rows by where they lay. */
  readonly origins: Readonly<Record<string, number>>;
  readonly files: readonly WrittenFile[];
  /** Envelopes that did not open, by code. */
  readonly unreadable: Readonly<Record<string, number>>;
}

export interface SubjectExport {
  /** Whether the person has an account. */
  readonly account: boolean;
  readonly tables: readonly ExportedTable[];
  /** Disclosures in the last six years. */
  readonly disclosures: number;
  /** What manifest.json itself is; null where nothing is written. */
  readonly manifest: WrittenFile | null;
}

/** HIPAA's accounting reaches back so far (45 CFR 164.528(a)(1)). */
const ACCOUNTING = { unit: 'year', count: 6 } as const;
export const ACCOUNTING_FILE = 'accounting-of-disclosures';

/** The instant from which disclosures are accounted for. */
export function startOfAccounting(now: UtcInstant): UtcInstant {
  return subtractPeriod(now, ACCOUNTING);
}

/** Says what the files are, what was looked at and not found, and what is withheld and why. Written last. */
export async function writeManifest(
  ctx: Pick<Context, 'db' | 'clock'>,
  input: {
    readonly person: string;
    readonly outDir: string;
    readonly ageRecipient: string | null;
    readonly map: SubjectMap;
  },
  result: Omit<SubjectExport, 'manifest'>,
): Promise<WrittenFile> {
  const { map } = input;
  const reasonOf = (reason: string) => map.reasons[reason] ?? reason;
  const tables = [];
  for (const found of result.tables) {
    const table = map.tables[found.table];
    if (table === undefined) continue;
    const types = await ctx.db.withClient((client) => readTypes(client, found.table, table.columns));
    tables.push({
      ...found,
      columns: table.columns.map((name, index) => ({ name, type: types[index] ?? '' })),
      withheld: Object.entries(table.withheld).flatMap(([reason, columns]) =>
        columns.map((column) => ({ column, reason: reasonOf(reason) })),
      ),
    });
  }
  const manifest = {
    format: 'auditkeep-subject-export/v1',
    person: input.person.trim(),
    account: result.account,
    generatedAt: isoOf(ctx.clock.now()),
    text: 'values are PostgreSQL texts in UTC; where a row names somebody else, that is left empty; in CSV a cell that begins like a formula has an apostrophe before it',
    accounting: {
      file: ACCOUNTING_FILE,
      since: isoOf(startOfAccounting(ctx.clock.now())),
      disclosures: result.disclosures,
    },
    tables: tables.filter(({ rows }) => rows > 0),
    nothingFoundIn: tables.filter(({ rows }) => rows === 0).map(({ table }) => table),
    withheldTables: Object.entries(map.withheldTables).map(([table, reason]) => ({ table, reason: reasonOf(reason) })),
  };
  const sink = await openSink(input.outDir, 'manifest.json', input.ageRecipient);
  await sink.write(`${JSON.stringify(manifest, null, 2)}\n`);
  return sink.end();
}
