/** Writes batches of events: one transaction each, with its audit event. */
import { hash } from 'node:crypto';
import { recordEvent } from '../audit/record/record.ts';
import type { Context } from '../context.ts';
import { lockTransaction, withSessionLock } from '../db/advisory-lock.ts';
import { copyIn } from '../db/copy.ts';
import type { SqlClient } from '../db/database.ts';
import { sqlStateOf } from '../db/errors.ts';
import { transact } from '../db/transaction.ts';
import { contains } from '../retention/bounds.ts';
import { type EnsuredPartitions, ensurePartitions } from '../retention/partition.ts';
import type { UtcInstant } from '../time/clock.ts';
import type { BatchOutcome, Located, WriteBatch } from './batch.ts';
import { encodeEvents, openSealers } from './event-copy.ts';
import type { EventSealers } from './event-envelope.ts';
import type { EventRow } from './event-row.ts';
import type { Rejection } from './rejection.ts';
import type { SourceKind } from './report.ts';
import { COPY_EVENTS, findKnownEvents, type KnownEvent, type StoredKey } from './store.ts';
import { WaitingEvents } from './waiting-events.ts';
import { readTxid } from './waiting-store.ts';

export type EventImportContext = Pick<Context, 'db' | 'clock' | 'keys' | 'actor' | 'log'>;

const UNIQUE_VIOLATION = '23505';
/** How often a batch is tried when an application stores one of its events at the same moment. */
const MAX_TRIES = 5;

/** A function that stores batches of events of one source. Partitions that rows need are made before. */
export function eventWriter(ctx: EventImportContext, kind: SourceKind): WriteBatch<EventRow> {
  const partitioned: Partitioned = { months: new Set(), hot: [] };
  const waiting = new WaitingEvents();
  return async (rows) => {
    await makePartitions(ctx, rows, partitioned);
    for (let attempt = 1; ; attempt++) {
      try {
        return await writeEvents(ctx, kind, rows, waiting);
      } catch (error) {
        if (sqlStateOf(error) !== UNIQUE_VIOLATION || attempt === MAX_TRIES) throw error;
      }
    }
  };
}

/** Once a month and run; older rows than 1970 go to late: one wrong clock must not make a thousand partitions. */
async function makePartitions(
  ctx: EventImportContext,
  rows: readonly Located<EventRow>[],
  partitioned: Partitioned,
): Promise<void> {
  const needed = new Map<string, UtcInstant>();
  for (const { row } of rows) {
    const month = row.bare.eventTimestamp.slice(0, 7);
    if (row.bare.instant >= 0 && !partitioned.months.has(month)) needed.set(month, row.bare.instant);
  }
  const missing = [...needed.values()].filter((instant) => !partitioned.hot.some((leaf) => contains(leaf, instant)));
  if (missing.length > 0) partitioned.hot = (await ensurePartitions(ctx, 'audit_log', missing)).hot;
  for (const month of needed.keys()) partitioned.months.add(month);
}

/** What a run knows of partitions: months that it asked for, and where leaves were that take rows. */
interface Partitioned {
  readonly months: Set<string>;
  hot: EnsuredPartitions['hot'];
}

async function writeEvents(
  ctx: EventImportContext,
  kind: SourceKind,
  rows: readonly Located<EventRow>[],
  waiting: WaitingEvents,
): Promise<BatchOutcome> {
  const sealers = await openSealers(
    ctx.keys,
    rows.map((item) => item.row),
  );
  // Hot, archive and late are read together: the structure lock comes before the transaction.
  const written = await ctx.db.withClient((client) =>
    withSessionLock(client, 'structure', 'shared', () =>
      transact(client, async () => {
        await lockTransaction(client, 'import');
        const { fresh, duplicates, rejections } = await sortOut(client, rows, waiting);
        const stored = await storeEvents(client, fresh, sealers);
        const outcome = { imported: stored, duplicates, late: fresh.length - stored, rejections };
        if (fresh.length === 0) return { outcome, own: null };
        const recorded = await recordBatch(ctx, client, kind, rows, outcome);
        const ids = [recorded, ...fresh.map((row) => row.bare.id)];
        return { outcome, own: { txid: await readTxid(client), ids } };
      }),
    ),
  );
  // Only now: what a transaction stored that did not commit is not there.
  if (written.own !== null) waiting.addStored(written.own.txid, written.own.ids);
  return written.outcome;
}

interface Sorted {
  readonly fresh: readonly EventRow[];
  readonly duplicates: number;
  readonly rejections: readonly Rejection[];
}

/** Takes out what is stored already, what comes twice in the batch and what may not be stored. */
async function sortOut(
  client: SqlClient,
  located: readonly Located<EventRow>[],
  waiting: WaitingEvents,
): Promise<Sorted> {
  const unique = new Map<string, Located<EventRow>>();
  const rejections: Rejection[] = [];
  let duplicates = 0;
  for (const item of located) {
    const first = unique.get(item.row.bare.id);
    if (first === undefined) unique.set(item.row.bare.id, item);
    else if (first.row.bare.eventTimestamp === item.row.bare.eventTimestamp) duplicates++;
    else rejections.push({ file: item.file, line: item.line, reason: 'ID_CONFLICT', field: null });
  }
  const known = await findVerdicts(client, [...unique.values()], waiting);
  for (const [id, verdict] of known) {
    const item = unique.get(id);
    unique.delete(id);
    if (verdict === 'duplicate' || item === undefined) duplicates++;
    else {
      const reason = verdict === 'conflict' ? 'ID_CONFLICT' : 'RANGE_REFUSED';
      rejections.push({ file: item.file, line: item.line, reason, field: null });
    }
  }
  return { fresh: [...unique.values()].map((item) => item.row), duplicates, rejections };
}

/** The verdicts on events that may not be stored, by id: an event that waits with another time conflicts too. */
export async function findVerdicts(
  client: SqlClient,
  located: readonly { readonly row: StoredKey }[],
  waiting: WaitingEvents,
): Promise<ReadonlyMap<string, KnownEvent['verdict']>> {
  const rows = located.map((item) => item.row);
  await waiting.look(client);
  const known = new Map((await findKnownEvents(client, rows)).map(({ id, verdict }) => [id, verdict]));
  const others = rows.map((row) => row.bare.id).filter((id) => (known.get(id) ?? 'refused') === 'refused');
  if (others.length === 0) return known;
  for (const id of await waiting.find(client, others)) known.set(id, 'conflict');
  return known;
}

/** The number of rows stored where they belong; a tombstone's trigger sends the others to late, uncounted. */
async function storeEvents(
  client: SqlClient,
  rows: readonly EventRow[],
  sealers: EventSealers | null,
): Promise<number> {
  if (rows.length === 0) return 0;
  return copyIn(client, COPY_EVENTS, [encodeEvents(rows, sealers)]);
}

const RESOURCES: Readonly<Record<SourceKind, string>> = {
  cloudtrail: 'audit_log',
  ethereum: 'transactions',
  ndjson: 'audit_log',
  register: 'compliance_register',
};

/** Counts and a digest of the files' names; gives the event's id. Names can tell of accounts and persons. */
export async function recordBatch<R>(
  ctx: EventImportContext,
  client: SqlClient,
  kind: SourceKind,
  rows: readonly Located<R>[],
  outcome: BatchOutcome,
): Promise<string> {
  const files = [...new Set(rows.map((row) => row.file))];
  return recordEvent(ctx, client, {
    type: 'import.batch',
    category: 'data_modification',
    action: 'IMPORT',
    resourceType: RESOURCES[kind],
    details: {
      source: kind,
      files: files.length,
      fileNamesSha256: hash('sha256', files.join('\0'), 'hex'),
      read: rows.length,
      imported: outcome.imported,
      duplicates: outcome.duplicates,
      late: outcome.late,
      rejected: outcome.rejections.length,
    },
  });
}
