/** Reads a control's exceptions: all of them into an evidence file, the first ones for the model; memory holds a few batches. */
import type { SqlClient } from '../../db/database.ts';
import type { UtcInstant } from '../../time/clock.ts';
import { csvHeader, csvLine } from '../evidence/csv.ts';
import { type EvidenceSink, HASH_ONLY, tooMuchEvidence } from '../evidence/evidence-file.ts';
import { type LineSorter, openLineSorter } from '../evidence/line-sorter.ts';
import { AGE_BOUNDS, type ExceptionsFound, exceptionsPath, SHOWN_EXCEPTIONS } from '../model/control-model.ts';
import { streamExceptions } from '../model/store.ts';
import type { ControlTemplate } from '../template/template.ts';
import { type ActiveWaiver, coveringWaiver } from './waiver.ts';

export interface ExceptionsInput {
  readonly template: Pick<ControlTemplate, 'id' | 'exceptions'>;
  readonly statement: { readonly sql: string; readonly values: readonly string[] };
  /** Of this control. */
  readonly waivers: readonly ActiveWaiver[];
  readonly pseudonymize: (value: string) => string;
  /** Awaited after each batch. */
  readonly settle?: (() => Promise<void>) | undefined;
  readonly evidence: EvidenceSink;
  /** Ages are counted to it. */
  readonly asOf: UtcInstant;
}

type Row = (string | null)[];

/**
 * Streams the exceptions. They are sorted by what is printed of them: the order of the values behind the pseudonyms would tell whose
 * they are. Where there are any, they become the file evidence/CONTROL/exceptions.csv.
 * @returns also how many each waiver covers, by its id
 * @throws REPORT_SPOOL, REPORT_TOO_LARGE, and the database's own errors
 */
export async function readExceptions(
  client: SqlClient,
  input: ExceptionsInput,
): Promise<ExceptionsFound & { readonly covered: ReadonlyMap<string, number> }> {
  const sorter = openLineSorter();
  try {
    const { count, ...found } = await sortExceptions(client, input, sorter);
    const { columns } = input.template.exceptions;
    const path = exceptionsPath(input.template.id);
    const sink = count === 0 ? HASH_ONLY : input.evidence;
    const written = await sink.write(path, csvPieces(csvHeader(columns), sorter));
    const evidence = count === 0 ? null : { path, rows: count, columns: columns.map(({ name }) => name), ...written };
    return { ...found, count, evidence, sha256: written.sha256 };
  } finally {
    await sorter.close();
  }
}

async function sortExceptions(client: SqlClient, input: ExceptionsInput, sorter: LineSorter) {
  const { columns } = input.template.exceptions;
  const covered = new Map<string, number>();
  const sums = new Map(columns.flatMap(({ name, kind }) => (kind === 'integer' ? [[name, 0n] as const] : [])));
  const ages = ageCounter(columns.find(({ kind }) => kind === 'instant')?.name ?? null, input.asOf);
  let count = 0;
  let waived = 0;
  let bytes = 0;
  /** Of as many as are shown, the last: what comes after it is not. */
  let bound: string | null = null;
  let shown: { readonly line: string; readonly row: Row }[] = [];
  for await (const batch of streamExceptions(client, { ...input.statement, columns })) {
    for (const found of batch) {
      const waiver = coveringWaiver(input.waivers, found);
      if (waiver !== null) {
        waived += 1;
        covered.set(waiver.id, (covered.get(waiver.id) ?? 0) + 1);
      }
      addTo(sums, found);
      ages.add(found);
      const row = columns.map(({ name, kind }) => {
        const value = found[name] ?? null;
        return value !== null && kind === 'pseudonym' ? input.pseudonymize(value) : value;
      });
      const line = Buffer.from(csvLine(columns, row), 'utf8').toString('latin1');
      sorter.add(line);
      bytes += line.length;
      if (bound === null || line < bound) shown.push({ line, row });
    }
    count += batch.length;
    shown = shown.sort((a, b) => compareTexts(a.line, b.line)).slice(0, SHOWN_EXCEPTIONS);
    bound = shown[SHOWN_EXCEPTIONS - 1]?.line ?? null;
    if (bytes > input.evidence.maxBytes) throw tooMuchEvidence(input.evidence.maxBytes);
    await sorter.settle();
    await input.settle?.();
  }
  const rows = shown.map(({ row }) => row);
  const totals = count === 0 ? [] : [...sums].map(([name, sum]) => ({ name, sum: String(sum) }));
  return { count, waived, covered, rows, totals, ageing: count === 0 ? null : ages.result() };
}

/** A number that is none has no sum: the total of its column is left out. */
function addTo(sums: Map<string, bigint>, row: Readonly<Record<string, string | null>>): void {
  for (const [name, sum] of sums) {
    const value = row[name] ?? '0';
    if (/^-?\d+$/.test(value)) sums.set(name, sum + BigInt(value));
    else sums.delete(name);
  }
}

const DAY_MS = 86_400_000;

/** Counts rows by the age of a column's time. */
function ageCounter(column: string | null, asOf: UtcInstant) {
  const counts = [...AGE_BOUNDS, 0].map(() => 0);
  let unknown = 0;
  return {
    add(row: Readonly<Record<string, string | null>>): void {
      if (column === null) return;
      const days = (asOf - Date.parse(row[column] ?? '')) / DAY_MS;
      const bound = AGE_BOUNDS.findIndex((limit) => days <= limit);
      const at = bound < 0 ? AGE_BOUNDS.length : bound;
      if (Number.isNaN(days)) unknown += 1;
      else counts[at] = (counts[at] ?? 0) + 1;
    },
    result: () => (column === null ? null : { column, boundsDays: AGE_BOUNDS, counts, unknown }),
  };
}

async function* csvPieces(header: string, sorter: LineSorter): AsyncGenerator<Uint8Array, void, undefined> {
  yield Buffer.from(header, 'utf8');
  for await (const lines of sorter.sorted()) yield Buffer.from(lines.join(''), 'latin1');
}

function compareTexts(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
