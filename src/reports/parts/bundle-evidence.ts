/** The evidence files of a bundle: not signed, but their hashes are in the signed model, which also says what is in them. */
import type { Context } from '../../context.ts';
import { AuditkeepError } from '../../errors.ts';
import { type CsvColumn, csvHeader, csvLine } from '../evidence/csv.ts';
import { readEvidence } from '../evidence/evidence-file.ts';
import type { ControlModel, EvidenceModel } from '../model/control-model.ts';
import type { ReportModel } from '../model/model.ts';
import { evidenceOf, parseModel } from '../model/read.ts';
import { type BundleFinding, type BundleParts, MAX_BUNDLE_BYTES, sha256Of } from './bundle-format.ts';

/** The evidence files of a report by their paths. @throws BUNDLE_TOO_LARGE, REPORT_TAMPERED, and those of Keyring.open */
export async function evidenceFiles(
  ctx: Pick<Context, 'db' | 'keys'>,
  model: ReportModel,
): Promise<Map<string, Uint8Array>> {
  const evidence = evidenceOf(model);
  const bytes = evidence.reduce((sum, file) => sum + file.bytes, 0);
  if (bytes > MAX_BUNDLE_BYTES) throw tooLarge(bytes);
  const files = new Map<string, Uint8Array>();
  for (const file of evidence) {
    const pieces: Uint8Array[] = [];
    for await (const piece of readEvidence(ctx, model.report.id, file)) pieces.push(piece);
    files.set(file.path, Buffer.concat(pieces));
  }
  return files;
}

/** A bundle that no reader would open. */
export function tooLarge(bytes: number): AuditkeepError {
  return new AuditkeepError('BUNDLE_TOO_LARGE', {
    message: `the bundle would have ${bytes} bytes or more, and ${MAX_BUNDLE_BYTES} at most are read`,
    hint: 'report on shorter periods',
    details: { bytes, limit: MAX_BUNDLE_BYTES },
  });
}

/**
 * Compares the evidence files with the model.
 * @param reportHash the signed hash: of a model that has another one nothing is known
 * @returns the parts that the model names, and what is wrong with them
 */
export function checkEvidence(
  parts: BundleParts,
  reportHash: string | undefined,
): { readonly parts: readonly string[]; readonly findings: readonly BundleFinding[] } {
  const model = readModel(parts.get('model.json'), reportHash);
  if (model === null) return { parts: [], findings: [] };
  return {
    parts: evidenceOf(model).map(({ path }) => path),
    findings: model.controls.flatMap((control) => checkControl(parts, control)),
  };
}

/** Null for what is found elsewhere: another model than the signed one, or none. */
function readModel(bytes: Uint8Array | undefined, reportHash: string | undefined): ReportModel | null {
  if (bytes === undefined || sha256Of(bytes) !== reportHash) return null;
  try {
    return parseModel(Buffer.from(bytes));
  } catch {
    return null;
  }
}

/** The files are those that were hashed, and are as the model says; the model is what is wrong where they are not. */
function checkControl(parts: BundleParts, control: ControlModel): BundleFinding[] {
  const { id, exceptions, ipe } = control;
  const { columns, rows, count } = exceptions;
  const found = checkFile(parts, `exceptions of ${id}`, {
    evidence: exceptions.evidence,
    rows: count ?? 0,
    columns,
    first: rows,
  });
  if (ipe.sample === null) return found;
  const { keys, keyKind, evidence } = ipe.sample;
  const column = { name: evidence?.columns[0] ?? '', kind: keyKind };
  const first = keys.map((key) => [key]);
  const sample = { evidence, rows: keys.length, columns: [column], first };
  return [...found, ...checkFile(parts, `sample of ${id}`, sample)];
}

interface Stated {
  readonly evidence: EvidenceModel | null;
  readonly rows: number;
  readonly columns: readonly CsvColumn[];
  /** The rows that the file begins with. */
  readonly first: readonly (readonly (string | null)[])[];
}

function checkFile(parts: BundleParts, what: string, { evidence, rows, columns, first }: Stated): BundleFinding[] {
  const contradiction = [{ part: 'model.json', what: `says of the ${what} what their file does not` }];
  if (evidence === null) return rows === 0 ? [] : contradiction;
  const bytes = parts.get(evidence.path);
  if (bytes === undefined) return [{ part: evidence.path, what: 'is missing' }];
  if (sha256Of(bytes) !== evidence.sha256)
    return [{ part: evidence.path, what: 'does not have the hash of the model' }];
  const beginning = Buffer.from(csvHeader(columns) + first.map((row) => csvLine(columns, row)).join(''), 'utf8');
  const isAsStated =
    bytes.length === evidence.bytes &&
    evidence.rows === rows &&
    countLines(bytes) === rows + 1 &&
    evidence.columns.join() === columns.map(({ name }) => name).join() &&
    beginning.equals(bytes.subarray(0, beginning.length));
  return isAsStated ? [] : contradiction;
}

const QUOTE = 0x22;
const LINE_FEED = 0x0a;

/** Lines of a CSV: those within quotes are of a value. */
function countLines(bytes: Uint8Array): number {
  let lines = 0;
  let isQuoted = false;
  for (const byte of bytes) {
    if (byte === QUOTE) isQuoted = !isQuoted;
    else if (byte === LINE_FEED && !isQuoted) lines += 1;
  }
  return lines;
}
