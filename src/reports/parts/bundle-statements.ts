/**
 * The waivers and attestations that a model names, as parts of a bundle: signed texts, found by the hashes in the model and
 * checked against the register. Pure. A waiver whose text names by id whom the report shows as a pseudonym is withheld, unless the
 * bundle's identities say who that is.
 */
import { canonicalJson } from '../../canonical-json.ts';
import { AuditkeepError } from '../../errors.ts';
import type { Register } from '../../persons/register.ts';
import {
  type CheckedStatement,
  checkStatement,
  parseStatement,
  type Statement,
  type StoredStatement,
  signedWaivers,
} from '../../persons/statement.ts';
import { activeWaivers, coveringAttestations } from '../evaluate/statements.ts';
import { IDENTITIES_PART } from '../model/identity.ts';
import type { ReportModel } from '../model/model.ts';
import { parseModel } from '../model/read.ts';
import { type BundleFinding, type BundleParts, sha256Of } from './bundle-format.ts';
import { identityValues } from './bundle-identities.ts';

interface NamedStatement {
  readonly part: string;
  readonly sha256: string;
}

type ControlModel = ReportModel['controls'][number];
type WaiverModel = ControlModel['waivers'][number];

const waiverPart = ({ id }: WaiverModel) => `statements/waiver-${id}.json`;
const approvalPart = ({ id }: WaiverModel) => `statements/waiver-approval-${id}.json`;

/** The statements of a model in the order of their parts; withheld ones are not among them. */
function namedStatements(model: ReportModel, known: KnownValues): NamedStatement[] {
  const attested = model.requirements.flatMap(({ attestation }) =>
    attestation === null ? [] : [{ part: attestationPart(attestation), sha256: attestation.sha256 }],
  );
  const waived = model.controls.flatMap((control) =>
    control.waivers
      .filter((waiver) => !isWithheld(control, waiver, known))
      .flatMap((waiver) => [
        { part: waiverPart(waiver), sha256: waiver.sha256 },
        { part: approvalPart(waiver), sha256: waiver.approvalSha256 },
      ]),
  );
  const byPart = new Map([...attested, ...waived].map((named) => [named.part, named]));
  return [...byPart.values()].sort((a, b) => (a.part < b.part ? -1 : 1));
}

function attestationPart({ id }: { readonly id: string }): string {
  return `statements/attestation-${id}.json`;
}

/** What pseudonyms stand for, as far as the bundle says it. */
type KnownValues = ReadonlyMap<string, string>;

/** The part of a waiver's scope that its signed text has in clear and the model as pseudonyms. */
function hiddenScope({ exceptions }: ControlModel, { scope }: WaiverModel): WaiverModel['scope'] {
  const hidden = new Set(exceptions.columns.flatMap(({ name, kind }) => (kind === 'pseudonym' ? [name] : [])));
  return scope.filter(({ column }) => hidden.has(column));
}

/** Its signed text tells who is behind a pseudonym, and nothing else in the bundle does. */
function isWithheld(control: ControlModel, waiver: WaiverModel, known: KnownValues): boolean {
  return hiddenScope(control, waiver).some(({ value }) => !known.has(value));
}

/** The values that withholding depends on, from the identities of a full bundle. */
function knownValues(model: ReportModel, identities: Uint8Array | undefined): KnownValues {
  const scopes = model.controls.flatMap((control) => control.waivers.flatMap((waiver) => hiddenScope(control, waiver)));
  return identityValues(identities, new Set(scopes.map(({ value }) => value)));
}

/**
 * `statements/KIND-ID.json` and its `.sig`, of the texts that the database holds.
 * @param identities the part of a full bundle; undefined for a redacted one
 * @throws BUNDLE_INVALID when one that the model names is gone
 */
export function statementFiles(
  model: ReportModel,
  stored: readonly StoredStatement[],
  identities?: Uint8Array,
): { readonly files: Map<string, Uint8Array>; readonly statements: readonly BundledStatement[] } {
  const byHash = new Map(stored.map((entry) => [sha256Of(entry.payload), entry]));
  const files = new Map<string, Uint8Array>();
  const statements: BundledStatement[] = [];
  for (const { part, sha256 } of namedStatements(model, knownValues(model, identities))) {
    const entry = byHash.get(sha256);
    const statement = entry === undefined ? null : parseStatement(entry.payload);
    if (entry === undefined || statement === null) {
      throw new AuditkeepError('BUNDLE_INVALID', {
        message: `the signed text that the report names for ${part} is not in the database any more`,
        hint: 'it was removed outside the product: find out by whom, or restore it from a backup',
      });
    }
    files.set(part, Buffer.from(entry.payload, 'utf8')).set(`${part}.sig`, Buffer.from(entry.signature, 'utf8'));
    statements.push({ part, statement });
  }
  return { files, statements };
}

export interface BundledStatement {
  readonly part: string;
  readonly statement: Statement;
}

export interface BundledStatements {
  readonly findings: readonly BundleFinding[];
  /** Those that can be read, whether they hold or not. */
  readonly statements: readonly BundledStatement[];
  /** The parts that the model calls for. */
  readonly parts: readonly string[];
  /** Ids of waivers whose texts no bundle holds. */
  readonly withheld: readonly string[];
}

/** Checks that every statement which the model names is there, has the hash, was signed, and says what the model says of it. */
export function checkBundledStatements(
  parts: BundleParts,
  signed: { readonly installationId: string; readonly register: Register | null },
): BundledStatements {
  try {
    return checkNamed(parts, parseModel(Buffer.from(parts.get('model.json') ?? '')), signed);
  } catch {
    // Whoever made the bundle chose the model too: it may be anything.
    return {
      findings: [{ part: 'model.json', what: 'is not the model of a report' }],
      statements: [],
      parts: [],
      withheld: [],
    };
  }
}

type Signed = Parameters<typeof checkBundledStatements>[1];

function checkNamed(parts: BundleParts, model: ReportModel, signed: Signed): BundledStatements {
  const findings: BundleFinding[] = [];
  const checked = new Map<string, CheckedStatement>();
  const statements: BundledStatement[] = [];
  const known = knownValues(model, parts.get(IDENTITIES_PART));
  const named = namedStatements(model, known);
  for (const { part, sha256 } of named) {
    const stored = readStored(parts, part);
    if (stored === null || sha256Of(stored.payload) !== sha256) {
      findings.push({ part, what: stored === null ? 'is missing' : 'does not have the sha256 that the model names' });
      continue;
    }
    const statement = parseStatement(stored.payload);
    if (statement !== null) statements.push({ part, statement });
    if (signed.register === null) continue; // nobody shows who had which key; the verdict says so
    const found = checkStatement(stored, { installationId: signed.installationId, register: signed.register });
    if (found.problem !== null) findings.push({ part, what: `does not hold: ${found.problem}` });
    checked.set(part, found);
  }
  const says = findings.length === 0 && signed.register !== null ? checkSayings(model, checked, known) : [];
  return {
    findings: [...findings, ...says],
    statements,
    parts: named.flatMap(({ part }) => [part, `${part}.sig`]),
    withheld: model.controls.flatMap((control) =>
      control.waivers.filter((waiver) => isWithheld(control, waiver, known)).map(({ id }) => id),
    ),
  };
}

function readStored(parts: BundleParts, part: string): StoredStatement | null {
  const [payload, signature] = [parts.get(part), parts.get(`${part}.sig`)];
  if (payload === undefined || signature === undefined) return null;
  return { payload: Buffer.from(payload).toString('utf8'), signature: Buffer.from(signature).toString('utf8') };
}

/** What the model says of each statement is what follows from its signed text. */
function checkSayings(
  model: ReportModel,
  checked: ReadonlyMap<string, CheckedStatement>,
  known: KnownValues,
): BundleFinding[] {
  const at = (part: string) => {
    const found = checked.get(part);
    return found === undefined ? [] : [found];
  };
  const { framework, period, generated, source } = model;
  const attested = model.requirements.flatMap(({ id, attestation }) => {
    if (attestation === null) return [];
    const part = attestationPart(attestation);
    const told = coveringAttestations(at(part), { framework: framework.id, ...period }).get(id) ?? null;
    return canonicalJson(told) === canonicalJson(attestation) ? [] : [differs(part)];
  });
  const waived = model.controls.flatMap((control) =>
    control.waivers.flatMap((waiver) => {
      if (isWithheld(control, waiver, known)) return [];
      const both = signedWaivers(at(waiverPart(waiver)), at(approvalPart(waiver)));
      // Waivers were read between the two.
      const [told] = [generated.at, source.readAt].flatMap((time) => activeWaivers(both, time));
      const scope = waiver.scope.map(({ column, value }) => ({ column, value: known.get(value) ?? value }));
      const { covered: _covered, ...said } = { ...waiver, scope, control: control.id };
      return told !== undefined && canonicalJson({ ...told }) === canonicalJson(said)
        ? []
        : [differs(waiverPart(waiver))];
    }),
  );
  return [...attested, ...waived];
}

function differs(part: string): BundleFinding {
  return { part, what: 'is not what the model says of it' };
}
