/** Seals who the pseudonyms of a report are, each person under their own key, and opens it again. */
import { randomBytes } from 'node:crypto';
import { z } from 'zod';
import { canonicalJson } from '../../canonical-json.ts';
import type { Context } from '../../context.ts';
import { AuditkeepError } from '../../errors.ts';
import type { CellContext, DataClass, SealedCell } from '../../keys/keyring.ts';
import type { ReportPeriod } from '../../time/report-period.ts';
import { type EvidenceSink, readStoredFile } from '../evidence/evidence-file.ts';
import {
  commitmentOf,
  IDENTITIES_PART,
  type IdentitiesModel,
  type IdentityLine,
  identitySchema,
  openIdentityTree,
  SALT_BYTES,
} from '../model/identity.ts';
import type { IdentityCollector, PseudonymEntry } from './identity-collector.ts';
import { findIdentities } from './store-identities.ts';

/** Identities that are looked up and sealed at once. */
const IDENTITIES_A_BATCH = 10_000;
/** Lines that are opened at once. */
const LINES_A_BATCH = 1000;
const DATA_CLASS: DataClass = 'confidential';

const secretSchema = z.strictObject({ identity: identitySchema, salt: z.string() });
const storedSchema = z.strictObject({
  pseudonym: z.string(),
  commitment: z.string(),
  /** Null for a person whose key was destroyed before the report was made. */
  envelope: z.string().nullable(),
});
type StoredIdentity = z.infer<typeof storedSchema>;

/** The place of an identity; its envelope opens nowhere else. */
function identityCell(reportId: string, pseudonym: string): CellContext {
  const rowId = `${reportId}/${IDENTITIES_PART}/${pseudonym}`;
  return { table: 'compliance.report_file', column: 'identity', rowId, dataClass: DATA_CLASS };
}

/**
 * Writes identities.ndjson, a line a pseudonym: commitment, and an envelope under the key of the person that it is about.
 * @returns what the model says of it
 * @throws REPORT_TOO_LARGE, REPORT_SPOOL, KEY_REVOKED
 */
export async function sealIdentities(
  ctx: Pick<Context, 'db' | 'keys'>,
  report: { readonly id: string; readonly period: Pick<ReportPeriod, 'startAt' | 'endAt'> },
  collector: Pick<IdentityCollector, 'entries'>,
  sink: EvidenceSink,
): Promise<IdentitiesModel> {
  const tree = openIdentityTree();
  async function* pieces() {
    for await (const entries of collector.entries(IDENTITIES_A_BATCH)) {
      const lines = await sealBatch(ctx, report, entries);
      tree.add(lines);
      yield Buffer.from(lines.map((line) => `${canonicalJson(line)}\n`).join(''), 'utf8');
    }
  }
  await sink.write(IDENTITIES_PART, pieces());
  return tree.model();
}

async function sealBatch(
  { db, keys }: Pick<Context, 'db' | 'keys'>,
  { id, period }: { readonly id: string; readonly period: Pick<ReportPeriod, 'startAt' | 'endAt'> },
  entries: readonly PseudonymEntry[],
): Promise<StoredIdentity[]> {
  const values = entries.map(({ value }) => value);
  const found = await findIdentities(db, values, period);
  const persons = values.map((value) => found.get(value)?.person ?? null);
  const sealPerson = await keys.subjectSealer(
    DATA_CLASS,
    persons.filter((person) => person !== null),
  );
  const sealThing = await keys.sealer(DATA_CLASS, entries.length);
  return entries.map(({ pseudonym, value }, index) => {
    const identity = found.get(value)?.identity;
    if (identity === undefined) throw new Error('a value has no identity');
    const salt = randomBytes(SALT_BYTES);
    const commitment = commitmentOf(identity, salt);
    const secret = Buffer.from(canonicalJson({ identity, salt: salt.toString('hex') }), 'utf8');
    const cell = identityCell(id, pseudonym);
    const person = persons[index] ?? null;
    const envelope = person === null ? sealThing(cell, secret) : sealPerson(person, cell, secret);
    return { pseudonym, commitment, envelope };
  });
}

/**
 * Who the pseudonyms of a report are, in order, a batch at a time; of persons whose key was destroyed only the commitment is left.
 * Whether all of it is what the model says is told after the last batch.
 * @throws REPORT_TAMPERED when the stored file is not the one that the model has the root of, and those of Keyring.openEach
 */
export async function* openIdentities(
  ctx: Pick<Context, 'db' | 'keys'>,
  reportId: string,
  model: IdentitiesModel,
): AsyncGenerator<readonly IdentityLine[], void, undefined> {
  const tree = openIdentityTree();
  for await (const stored of readLines(ctx, reportId)) {
    tree.add(stored);
    yield await openBatch(ctx, reportId, stored);
  }
  const { count, root } = tree.model();
  if (count !== model.count || root !== model.root) throw tampered(reportId);
}

async function openBatch(
  { keys }: Pick<Context, 'keys'>,
  reportId: string,
  stored: readonly StoredIdentity[],
): Promise<IdentityLine[]> {
  const cells = stored.flatMap(({ pseudonym, envelope }): SealedCell[] =>
    envelope === null ? [] : [{ context: identityCell(reportId, pseudonym), envelope }],
  );
  const opened = (await keys.openEach(cells)).values();
  return stored.map(({ pseudonym, commitment, envelope }): IdentityLine => {
    const bytes = envelope === null ? null : (opened.next().value ?? null);
    if (bytes === null) return { pseudonym, commitment, erased: true };
    const secret = secretSchema.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
    if (commitmentOf(secret.identity, Buffer.from(secret.salt, 'hex')) !== commitment) throw tampered(reportId);
    return { pseudonym, commitment, ...secret };
  });
}

async function* readLines(ctx: Pick<Context, 'db' | 'keys'>, reportId: string) {
  let lines: StoredIdentity[] = [];
  let rest = '';
  for await (const bytes of readStoredFile(ctx, { reportId, path: IDENTITIES_PART })) {
    // ASCII alone: names are within the envelopes.
    const texts = (rest + Buffer.from(bytes).toString('latin1')).split('\n');
    rest = texts.pop() ?? '';
    for (const text of texts) {
      lines.push(parseStored(reportId, text));
      if (lines.length < LINES_A_BATCH) continue;
      yield lines;
      lines = [];
    }
  }
  if (rest !== '') throw tampered(reportId);
  if (lines.length > 0) yield lines;
}

function parseStored(reportId: string, text: string): StoredIdentity {
  try {
    return storedSchema.parse(JSON.parse(text));
  } catch {
    throw tampered(reportId);
  }
}

function tampered(reportId: string): AuditkeepError {
  return new AuditkeepError('REPORT_TAMPERED', {
    message: `the identities of report ${reportId} are not those that its model has the root of`,
    hint: 'they were changed outside the product: keep them and find out by whom',
    details: { id: reportId, path: IDENTITIES_PART },
  });
}
