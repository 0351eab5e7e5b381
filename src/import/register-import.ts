/** `import register KIND`: rows of one register of schema compliance, from NDJSON or CSV. */
import type { z } from 'zod';
import type { Context } from '../context.ts';
import { inTransaction } from '../db/transaction.ts';
import { AuditkeepError } from '../errors.ts';
import type { WriteBatch } from './batch.ts';
import { parseCsvLine } from './csv.ts';
import { recordBatch } from './event-import.ts';
import type { ImportContext } from './import.ts';
import { type JsonObject, parseRecord, refuseText } from './json-text.ts';
import { rejectionOf } from './ndjson.ts';
import { isRegisterKind, REGISTER_KINDS, REGISTER_NAMES, type RegisterKind } from './register-kinds.ts';
import { RecordRejected } from './rejection.ts';
import type { ImportReport } from './report.ts';
import { type ImportInput, runImport, type SourceFormat } from './run.ts';
import { recordRegisterRows } from './store.ts';

type RegisterRow = z.output<(typeof REGISTER_KINDS)[RegisterKind]>;

/**
 * Imports files into a register. Rows that say what the register says already add nothing; what differs is a new revision.
 * @throws USAGE for a register that there is none of, INPUT_FILE, DB_*
 */
export function importRegister(ctx: ImportContext, kind: string, input: ImportInput): Promise<ImportReport> {
  if (!isRegisterKind(kind)) {
    throw new AuditkeepError('USAGE', {
      message: `there is no register ${kind}`,
      hint: `registers: ${REGISTER_NAMES.join(', ')}`,
    });
  }
  return runImport(ctx, registerFormat(kind), input, registerWriter(ctx, kind));
}

/** How rows of a register are read. */
function registerFormat(kind: RegisterKind): SourceFormat<RegisterRow> {
  const schema = REGISTER_KINDS[kind];
  const parse = (record: JsonObject): RegisterRow => {
    const parsed = schema.safeParse(record);
    if (!parsed.success) throw rejectionOf(parsed.error);
    return parsed.data;
  };
  return {
    kind: 'register',
    accepts: (name) => /\.(?:csv|ndjson|jsonl)(?:\.gz)?$/i.test(name),
    openParser: (path) =>
      /\.csv(?:\.gz)?$/i.test(path) ? csvParser(parse) : (text: string) => [parse(parseRecord(text))],
  };
}

/** The first record is the header, whose names may come in any order; an empty field is absent. */
function csvParser(parse: (record: JsonObject) => RegisterRow): (text: string) => readonly RegisterRow[] {
  let header: readonly string[] | null = null;
  return (text) => {
    refuseText(text);
    const values = parseCsvLine(text);
    if (header === null) {
      if (new Set(values).size !== values.length) throw new RecordRejected('CSV_INVALID');
      header = values;
      return [];
    }
    if (values.length !== header.length) throw new RecordRejected('CSV_INVALID');
    const entries = header.map((name, index) => [name, values[index]] as const);
    return [parse(Object.fromEntries(entries.filter(([, value]) => value !== '')))];
  };
}

function registerWriter(ctx: ImportContext, kind: RegisterKind): WriteBatch<RegisterRow> {
  const by = recorderOf(ctx);
  return (located) =>
    inTransaction(ctx.db, async (client) => {
      const rows = located.map(({ row }) => row);
      const outcomes = await recordRegisterRows(client, { kind, rows, by });
      const duplicates = outcomes.filter((outcome) => outcome === 'same').length;
      const outcome = { imported: outcomes.length - duplicates, duplicates, late: 0, rejections: [] };
      if (outcome.imported > 0) await recordBatch(ctx, client, 'register', located, outcome);
      return outcome;
    });
}

function recorderOf({ actor }: Pick<Context, 'actor'>): string {
  return actor.kind === 'person' ? actor.email.toLowerCase() : actor.name;
}
