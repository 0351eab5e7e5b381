/**
 * What was destroyed, kept outside the database beside the log's key: a backup that is restored does not know, and has to
 * destroy again. One line a certificate, appended and on disk before the database says `purged`.
 *
 *   <home>/signer/destructions.ndjson   { version: 2, document, signature, plan }, 0600, never rewritten
 *
 * Lines of version 1, which have no plan (and no version), are still read.
 */
import { mkdir, open, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { AuditkeepError } from '../errors.ts';
import { type Certificate, parseCertificate } from './certificate.ts';

const planSchema = z.strictObject({ document: z.string(), actor: z.string(), reason: z.string() });
const lineSchema = z.union([
  z
    .strictObject({ document: z.string(), signature: z.string() })
    .transform((line) => ({ ...line, version: 1, plan: null })),
  z.strictObject({ version: z.literal(2), document: z.string(), signature: z.string(), plan: planSchema }),
]);

export interface JournalEntry {
  readonly certificate: Certificate;
  readonly document: string;
  readonly signature: string;
  /** What was approved, as it was drafted; null in a line of version 1. */
  readonly plan: z.infer<typeof planSchema> | null;
}

const fileOf = (home: string) => join(home, 'signer', 'destructions.ndjson');

/**
 * Every destruction that this home knows of, in order. A last line without its end is what a crash left of an append that
 * nobody relied on.
 * @throws CHAIN_SIGNER_STORE when a line is damaged
 */
export async function readJournal(home: string): Promise<readonly JournalEntry[]> {
  const text = await readText(fileOf(home));
  const lines = text.split('\n').slice(0, -1);
  return lines.filter((line) => line !== '').map((line, at) => parseLine(line, at + 1));
}

/** Appends one certificate; on disk when it resolves. */
export async function appendJournal(
  home: string,
  entry: Omit<JournalEntry, 'certificate' | 'plan'> & { readonly plan: z.infer<typeof planSchema> },
): Promise<void> {
  const file = fileOf(home);
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  const torn = !/(^|\n)$/.test(await readText(file));
  const handle = await open(file, 'a', 0o600);
  try {
    const { document, signature, plan } = entry;
    const line = JSON.stringify({ version: 2, document, signature, plan });
    // What a crash left of the last line goes: nobody relied on it, and with an end of its own it would stop every reader.
    if (torn) await cutTornLine(file);
    await handle.appendFile(`${line}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  const folder = await open(dirname(file), 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

async function cutTornLine(file: string): Promise<void> {
  const handle = await open(file, 'r+');
  try {
    const bytes = await handle.readFile();
    await handle.truncate(bytes.lastIndexOf(0x0a) + 1);
  } finally {
    await handle.close();
  }
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return '';
    throw error;
  }
}

function parseLine(line: string, number: number): JournalEntry {
  const parsed = lineSchema.safeParse(jsonOf(line));
  const certificate = parsed.success ? parseCertificate(parsed.data.document) : null;
  if (parsed.success && certificate !== null) {
    const { document, signature, plan: approved } = parsed.data;
    return { certificate, document, signature, plan: approved };
  }
  throw new AuditkeepError('CHAIN_SIGNER_STORE', {
    message: `line ${number} of the journal of destructions is damaged`,
    hint: 'restore the signer folder of this home from its own backup',
  });
}

function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return null; // not JSON: the caller says which line
  }
}
