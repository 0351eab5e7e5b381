/**
 * Who the pseudonyms are, as the part identities.ndjson of a full bundle: opened for whoever receives it, and checked against the
 * root in the model. A redacted bundle does not have the part.
 */

import { canonicalJson } from '../../canonical-json.ts';
import type { Context } from '../../context.ts';
import { openIdentities } from '../identity/seal-identities.ts';
import {
  commitmentOf,
  IDENTITIES_PART,
  type IdentitiesModel,
  type IdentityLine,
  identityLineSchema,
  openIdentityTree,
} from '../model/identity.ts';
import type { ReportModel } from '../model/model.ts';
import { parseModel } from '../model/read.ts';
import { tooLarge } from './bundle-evidence.ts';
import { type BundleFinding, type BundleParts, MAX_BUNDLE_BYTES } from './bundle-format.ts';

/** full: the bundle says who the pseudonyms are. redacted: it does not. Both are about the same model. */
export type BundleVariant = 'redacted' | 'full';

/** Lines that are hashed at once. */
const LINES_A_BATCH = 4096;
/** Findings that are told line by line. */
const TOLD_FINDINGS = 20;
const NEWLINE = 0x0a;

export function variantOf(parts: BundleParts): BundleVariant {
  return parts.has(IDENTITIES_PART) ? 'full' : 'redacted';
}

/**
 * The part of a full bundle: a line a pseudonym, with the value, name and address that it stands for and the salt of its commitment.
 * @throws REPORT_TAMPERED, BUNDLE_TOO_LARGE, and those of Keyring.openEach
 */
export async function identitiesPart(ctx: Pick<Context, 'db' | 'keys'>, model: ReportModel): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const lines of openIdentities(ctx, model.report.id, model.identities)) {
    const piece = Buffer.from(lines.map((line) => `${canonicalJson(line)}\n`).join(''), 'utf8');
    bytes += piece.length;
    if (bytes > MAX_BUNDLE_BYTES) throw tooLarge(bytes);
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

export interface CheckedIdentities {
  readonly findings: readonly BundleFinding[];
  /** How many the model counts, and of how many the bundle says that they were erased. */
  readonly count: number;
  readonly erased: number;
}

/** Compares the part with the model, whose hash others compare. Null where the bundle has none, or no model to compare it with. */
export function checkIdentities(parts: BundleParts): CheckedIdentities | null {
  const bytes = parts.get(IDENTITIES_PART);
  const model = bytes === undefined ? null : modelOf(parts);
  if (bytes === undefined || model === null) return null;
  const { found, wrong, erased, lines } = readIdentities(Buffer.from(bytes));
  const { count, root } = model.identities;
  const what = [
    ...wrong,
    ...(found.count === count ? [] : [`has ${found.count} lines, and the model counts ${count} pseudonyms`]),
    ...(found.root === root ? [] : ['does not have the root that the model states', ...differences(parts, lines)]),
  ];
  const told = what.slice(0, TOLD_FINDINGS);
  const more = what.length > told.length ? [`has ${what.length - told.length} more findings`] : [];
  const findings = [...told, ...more].map((text) => ({ part: IDENTITIES_PART, what: text }));
  return { findings, count, erased };
}

function modelOf(parts: BundleParts): ReportModel | null {
  try {
    return parseModel(Buffer.from(parts.get('model.json') ?? ''));
  } catch {
    return null; // a finding of the model's own
  }
}

interface ReadIdentities {
  readonly found: IdentitiesModel;
  readonly wrong: readonly string[];
  readonly erased: number;
  /** The pseudonyms. */
  readonly lines: ReadonlySet<string>;
}

function readIdentities(bytes: Buffer): ReadIdentities {
  const tree = openIdentityTree();
  const wrong: string[] = [];
  const lines = new Set<string>();
  let batch: IdentityLine[] = [];
  let [erased, number, last] = [0, 0, ''];
  for (const text of linesOf(bytes)) {
    number += 1;
    const line = parseLine(text);
    if (line === null) {
      wrong.push(`has a line ${number} that is not one of identities`);
      continue;
    }
    const { pseudonym } = line;
    if (pseudonym <= last) wrong.push(`has ${pseudonym} in line ${number} out of order`);
    if ('erased' in line) erased += 1;
    else if (commitmentOf(line.identity, Buffer.from(line.salt, 'hex')) !== line.commitment)
      wrong.push(`says of ${pseudonym} in line ${number} what its commitment does not hold`);
    last = pseudonym;
    lines.add(pseudonym);
    batch.push(line);
    if (batch.length < LINES_A_BATCH) continue;
    tree.add(batch);
    batch = [];
  }
  tree.add(batch);
  return { found: tree.model(), wrong, erased, lines };
}

/** What the wanted pseudonyms stand for, as the part of a full bundle says it; nothing of who was erased, or without the part. */
export function identityValues(part: Uint8Array | undefined, wanted: ReadonlySet<string>): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  if (part === undefined || wanted.size === 0) return values;
  for (const text of linesOf(Buffer.from(part))) {
    const line = parseLine(text);
    if (line !== null && 'identity' in line && wanted.has(line.pseudonym))
      values.set(line.pseudonym, line.identity.value);
  }
  return values;
}

function* linesOf(bytes: Buffer): Generator<string> {
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(NEWLINE, at);
    yield bytes.toString('utf8', at, end < 0 ? bytes.length : end);
    at = end < 0 ? bytes.length : end + 1;
  }
  // Without its end the last line would be cut where nobody sees it.
  if (bytes.length > 0 && bytes.at(-1) !== NEWLINE) yield '';
}

/** Null unless the text is the one form that the line has. */
function parseLine(text: string): IdentityLine | null {
  try {
    const line = identityLineSchema.parse(JSON.parse(text));
    return canonicalJson(line) === text ? line : null;
  } catch {
    return null;
  }
}

/** Which line is too much and which is missing, as far as the documents tell: hints where the root differs. */
function differences(parts: BundleParts, lines: ReadonlySet<string>): string[] {
  const shown = new Set<string>();
  for (const [name, bytes] of parts) {
    if (name !== 'model.json' && !name.startsWith('evidence/')) continue;
    for (const [pseudonym] of Buffer.from(bytes)
      .toString('latin1')
      .matchAll(/P-[0-9A-HJKMNP-TV-Z]{16}/g))
      shown.add(pseudonym);
  }
  return [
    ...[...shown]
      .filter((pseudonym) => !lines.has(pseudonym))
      .map((pseudonym) => `lacks ${pseudonym}, which the report shows`),
    ...[...lines]
      .filter((pseudonym) => !shown.has(pseudonym))
      .map((pseudonym) => `has ${pseudonym}, which the report does not show`),
  ];
}
