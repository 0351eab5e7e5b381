/**
 * What is held about one person, for them (GDPR 15, 20), and to whom it was disclosed (45 CFR 164.528): every table of
 * templates/subject-export.yaml, in hot, archived, late and quarantined rows alike, under one snapshot, streamed. The reading is an
 * audit event before the first row is read, and again with its counts when it has ended.
 */
import { createHmac } from 'node:crypto';
import { mkdir, readdir } from 'node:fs/promises';
import { recordEvent } from '../audit/record/record.ts';
import type { Context } from '../context.ts';
import { withSessionLock } from '../db/advisory-lock.ts';
import type { SqlClient } from '../db/database.ts';
import { inTransaction, transact } from '../db/transaction.ts';
import { AuditkeepError } from '../errors.ts';
import { encrypterFor } from '../keys/age-recipient.ts';
import { isoOf, parseInstant, type UtcInstant } from '../time/clock.ts';
import { openRows } from './subject-file.ts';
import { requireMandate } from './subject-mandate.ts';
import {
  ACCOUNTING_FILE,
  type ExportedTable,
  type SubjectExport,
  startOfAccounting,
  writeManifest,
} from './subject-manifest.ts';
import { loadSubjectMap, type SubjectMap, type SubjectTable } from './subject-map.ts';
import { openRow, type Subject, shareOf, type Unreadable } from './subject-row.ts';
import {
  lockPlaces,
  placesOf,
  readIdentifiers,
  recordAnsweredRequest,
  streamCandidates,
  streamDisclosures,
} from './subject-store.ts';

type ExportContext = Pick<Context, 'db' | 'clock' | 'keys' | 'actor' | 'progress'>;

export interface SubjectExportInput {
  /** Account id, e-mail address or user name, in any case. */
  readonly person: string;
  /** A folder that is new or empty; null counts only, and writes and records nothing. */
  readonly outDir: string | null;
  /** `age1...`: every file is encrypted for it. */
  readonly ageRecipient: string | null;
  /** When the person asked, ISO 8601: the request is recorded as answered, for control PR-02. */
  readonly receivedAt: string | null;
}

const DISCLOSURE_COLUMNS = ['disclosed_at', 'recipient', 'description', 'purpose'] as const;

/**
 * Exports what is held about a person. The export is complete when manifest.json is there; the events, and the answered
 * request, are durable when it returns.
 * @throws SUBJECT_AMBIGUOUS, USAGE without a person and key, ROLE_MISSING, PERSON_KEY_INVALID, INPUT_INVALID for a used folder, a malformed recipient or
 * time, INPUT_FILE for a folder that cannot be written
 */
export async function exportSubject(ctx: ExportContext, input: SubjectExportInput): Promise<SubjectExport> {
  await requireMandate(ctx);
  const given = input.person.trim().toLowerCase();
  const receivedAt = checkReceived(input.receivedAt, ctx.clock.now());
  if (input.ageRecipient !== null) encrypterFor(input.ageRecipient);
  const { account, all } = await ctx.db.withClient((client) => readIdentifiers(client, given));
  if (input.outDir !== null) await prepareFolder(input.outDir);
  const subject = { identifiers: new Set(all), inTexts: all.filter((text) => /@|^[0-9a-f-]{36}$/.test(text)) };
  const isWritten = input.outDir !== null;
  const resourceId = account ?? (isWritten ? await referenceOf(ctx, given) : given);
  if (isWritten) await inTransaction(ctx.db, (client) => record(ctx, client, 'subject.export-started', resourceId, {}));
  const run = { ctx, input, subject, map: await loadSubjectMap() };
  const read = await ctx.db.withClient((client) =>
    withSessionLock(client, 'structure', 'shared', () =>
      transact(client, () => readAll(client, run), 'repeatable read, read only'),
    ),
  );
  const result = { account: account !== null, ...read };
  if (input.outDir === null) return { ...result, manifest: null };
  const manifest = await writeManifest(ctx, { ...input, outDir: input.outDir, map: run.map }, result);
  await inTransaction(ctx.db, async (client) => {
    const rows = read.tables.reduce((sum, { rows: found }) => sum + found, 0);
    const details = {
      tables: read.tables.length,
      rows,
      disclosures: read.disclosures,
      manifestSha256: manifest.sha256,
    };
    await record(ctx, client, 'subject.exported', resourceId, { ...details, encrypted: input.ageRecipient !== null });
    if (receivedAt !== null) await recordAnsweredRequest(client, receivedAt, ctx.clock.now());
  });
  return { ...result, manifest };
}

function checkReceived(text: string | null, now: UtcInstant): string | null {
  if (text === null) return null;
  const instant = parseInstant(/^\d{4}-\d{2}-\d{2}$/.test(text) ? `${text}T00:00:00Z` : text);
  if (instant !== null && instant <= now) return isoOf(instant);
  throw new AuditkeepError('INPUT_INVALID', {
    message: `${text} is not a time in the past`,
    hint: 'give the day on which the person asked, for example 2026-03-01',
  });
}

async function prepareFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    if ((await readdir(folder)).length === 0) return;
  } catch (cause) {
    throw new AuditkeepError('INPUT_FILE', {
      message: `the folder ${folder} cannot be written`,
      hint: 'give --out a folder that you may write',
      cause,
    });
  }
  throw new AuditkeepError('INPUT_INVALID', {
    message: 'the output folder is not empty',
    hint: 'name a new folder with --out',
  });
}

/** Who has no account stands in the trail as a keyed digest, which nobody can compute who has the database alone. */
async function referenceOf(ctx: ExportContext, given: string): Promise<string> {
  const { key } = await ctx.keys.secret('subject-ref');
  return `ref:${createHmac('sha256', key).update(`auditkeep-subject/v1\n${given}`).digest('hex')}`;
}

/** The id lies in the event's payload group: under a commitment, and erasable. */
async function record(
  ctx: ExportContext,
  client: SqlClient,
  type: string,
  resourceId: string,
  details: Readonly<Record<string, string | number | boolean>>,
): Promise<void> {
  const event = { type, category: 'data_access', action: 'EXPORT', resourceType: 'user', resourceId, details } as const;
  await recordEvent(ctx, client, event);
}

interface Run {
  readonly ctx: ExportContext;
  readonly input: SubjectExportInput;
  readonly subject: Subject;
  readonly map: SubjectMap;
}

async function readAll(client: SqlClient, run: Run) {
  const entries = Object.entries(run.map.tables);
  await lockPlaces(
    client,
    entries.flatMap(([name, { family }]) => placesOf(name, family)),
  );
  const tables: ExportedTable[] = [];
  run.ctx.progress.start('tables', entries.length);
  try {
    for (const [name, table] of entries) {
      tables.push(await readTable(client, run, name, table));
      run.ctx.progress.update(tables.length);
    }
  } finally {
    run.ctx.progress.stop();
  }
  return { tables, disclosures: await writeAccounting(client, run) };
}

async function readTable(client: SqlClient, run: Run, name: string, table: SubjectTable): Promise<ExportedTable> {
  const { subject, input, ctx } = run;
  const wanted = { identifiers: [...subject.identifiers], inTexts: subject.inTexts };
  const origins: Record<string, number> = {};
  const unreadable: Unreadable = new Map();
  let out: Awaited<ReturnType<typeof openRows>> | null = null;
  let rows = 0;
  try {
    for (const place of placesOf(name, table.family)) {
      for await (const batch of streamCandidates(client, place, table, wanted)) {
        const shares = [];
        for (const row of batch) {
          const share = shareOf(table, await openRow(ctx.keys, name, table, row, unreadable), subject);
          if (share !== null) shares.push({ origin: place.origin, ...share });
        }
        if (shares.length === 0) continue;
        rows += shares.length;
        origins[place.origin] = (origins[place.origin] ?? 0) + shares.length;
        if (input.outDir === null) continue;
        out ??= await openRows(input.outDir, name, ['origin', ...table.columns], input.ageRecipient);
        await out.write(shares);
      }
    }
    const files = (await out?.end()) ?? [];
    return { table: name, rows, origins, files, unreadable: Object.fromEntries(unreadable) };
  } catch (error) {
    await out?.abandon().catch(() => null);
    throw error;
  }
}

/** The accounting of disclosures as a file of its own, also where there was none: that is an answer. */
async function writeAccounting(client: SqlClient, { ctx, input, subject }: Run): Promise<number> {
  const since = startOfAccounting(ctx.clock.now());
  const { outDir, ageRecipient } = input;
  const out = outDir === null ? null : await openRows(outDir, ACCOUNTING_FILE, DISCLOSURE_COLUMNS, ageRecipient);
  let found = 0;
  for await (const batch of streamDisclosures(client, [...subject.identifiers], since)) {
    found += batch.length;
    await out?.write(batch);
  }
  await out?.end();
  return found;
}
