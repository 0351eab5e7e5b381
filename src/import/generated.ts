/** Imports made-up records the way files are imported: the same parsers, batches and checks. */

import { eventWriter } from './event-import.ts';
import { generateEvents, generateTransactions } from './generate.ts';
import { ethereumFormat, type ImportContext, ndjsonFormat } from './import.ts';
import type { ImportReport } from './report.ts';
import { importSources, type RecordSource } from './run.ts';
import { transactionWriter } from './transaction-import.ts';

export interface GeneratedInput {
  /** The same seed makes the same records. */
  readonly seed: number;
  /** 50,000 unless given. */
  readonly events?: number;
  /** 5,000 unless given. */
  readonly transactions?: number;
  /** How far back they reach from now; 5 unless given. */
  readonly years?: number;
}

export interface GeneratedReport {
  readonly events: ImportReport;
  readonly transactions: ImportReport;
}

/** Made-up events and transactions into the database. Run again it adds only what has happened since. @throws DB_* */
export async function importGenerated(ctx: ImportContext, input: GeneratedInput): Promise<GeneratedReport> {
  const options = { seed: input.seed, years: input.years ?? 5, now: ctx.clock.now() };
  const events = generateEvents({ ...options, count: input.events ?? 50_000 });
  const transactions = generateTransactions({ ...options, count: input.transactions ?? 5_000 });
  return {
    events: await importSources(ctx, ndjsonFormat(ctx), [asSource('events', events)], eventWriter(ctx, 'ndjson')),
    transactions: await importSources(
      ctx,
      ethereumFormat(ctx),
      [asSource('transactions', transactions)],
      transactionWriter(ctx),
    ),
  };
}

const LINES_A_CHUNK = 500;

function asSource(name: string, lines: Iterable<string>): RecordSource {
  return { name: `generated ${name}`, chunks: () => chunksOf(lines) };
}

async function* chunksOf(lines: Iterable<string>): AsyncGenerator<Buffer, void, undefined> {
  let text = '';
  let count = 0;
  for (const line of lines) {
    text += `${line}\n`;
    if (++count % LINES_A_CHUNK !== 0) continue;
    yield await Promise.resolve(Buffer.from(text));
    text = '';
  }
  if (text !== '') yield Buffer.from(text);
}
