/** The three imports, as the command line and other code call them. */
import type { Context } from '../context.ts';
import { parseCloudtrailRecord } from './cloudtrail.ts';
import { parseCsvLine } from './csv.ts';
import { parseTransaction } from './ethereum.ts';
import { eventWriter } from './event-import.ts';
import type { EventRow } from './event-row.ts';
import { isObject, type JsonObject, parseRecord, refuseText } from './json-text.ts';
import { parseNdjsonEvent } from './ndjson.ts';
import { RecordRejected } from './rejection.ts';
import type { ImportReport } from './report.ts';
import { type ImportInput, runImport, type SourceFormat } from './run.ts';
import { transactionWriter } from './transaction-import.ts';
import type { TransactionRow } from './transaction-row.ts';

/** What an import needs of a context. */
export type ImportContext = Pick<Context, 'db' | 'clock' | 'keys' | 'actor' | 'log' | 'progress'>;

/** AWS CloudTrail: .json and .json.gz, `{"Records": [...]}` or lines. @throws INPUT_FILE, DB_*, KEY_* */
export function importCloudtrail(ctx: ImportContext, input: ImportInput): Promise<ImportReport> {
  return runImport(ctx, cloudtrailFormat(ctx), input, eventWriter(ctx, 'cloudtrail'));
}

/** Audit events as NDJSON, one object a line (ndjsonEventSchema). @throws INPUT_FILE, DB_*, KEY_* */
export function importNdjson(ctx: ImportContext, input: ImportInput): Promise<ImportReport> {
  return runImport(ctx, ndjsonFormat(ctx), input, eventWriter(ctx, 'ndjson'));
}

/** Ethereum transactions as ethereum-etl exports them: NDJSON, or CSV with a header. @throws INPUT_FILE, DB_*, KEY_* */
export function importEthereum(ctx: ImportContext, input: ImportInput): Promise<ImportReport> {
  return runImport(ctx, ethereumFormat(ctx), input, transactionWriter(ctx));
}

function cloudtrailFormat(ctx: Pick<Context, 'clock'>): SourceFormat<EventRow> {
  return {
    kind: 'cloudtrail',
    accepts: (name) => /\.jsonl?(?:\.gz)?$/i.test(name),
    openParser: () => (text) => {
      const record = parseRecord(text);
      const records: readonly unknown[] = Array.isArray(record['Records']) ? record['Records'] : [record];
      return records.map((item) => attempt(() => parseCloudtrailRecord(requireObject(item), ctx.clock.now())));
    },
  };
}

/** How NDJSON events are read. */
export function ndjsonFormat(ctx: Pick<Context, 'clock'>): SourceFormat<EventRow> {
  return {
    kind: 'ndjson',
    accepts: (name) => /\.(?:ndjson|jsonl)(?:\.gz)?$/i.test(name),
    openParser: () => (text) => [parseNdjsonEvent(parseRecord(text), ctx.clock.now())],
  };
}

/** How transactions are read. A folder of an export also holds blocks, receipts and logs: the name decides. */
export function ethereumFormat(ctx: Pick<Context, 'clock'>): SourceFormat<TransactionRow> {
  return {
    kind: 'ethereum',
    accepts: (name) => /transaction.*\.(?:json|jsonl|ndjson|csv)(?:\.gz)?$/i.test(name),
    openParser: (path) => (/\.csv(?:\.gz)?$/i.test(path) ? csvParser(ctx) : jsonParser(ctx)),
  };
}

function jsonParser(ctx: Pick<Context, 'clock'>): (text: string) => readonly TransactionRow[] {
  return (text) => [parseTransaction(parseRecord(text), ctx.clock.now())];
}

/** The first record is the header; every other one has as many fields. */
function csvParser(ctx: Pick<Context, 'clock'>): (text: string) => readonly TransactionRow[] {
  let header: readonly string[] | null = null;
  return (text) => {
    refuseText(text);
    const values = parseCsvLine(text);
    if (header === null) {
      header = values;
      return [];
    }
    if (values.length !== header.length) throw new RecordRejected('CSV_INVALID');
    return [parseTransaction(Object.fromEntries(header.map((name, i) => [name, values[i]])), ctx.clock.now())];
  };
}

function requireObject(value: unknown): JsonObject {
  if (!isObject(value)) throw new RecordRejected('JSON_INVALID');
  return value;
}

function attempt<R>(parse: () => R): R | RecordRejected {
  try {
    return parse();
  } catch (error) {
    if (error instanceof RecordRejected) return error;
    throw error;
  }
}
