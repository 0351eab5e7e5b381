/**
 * The register of persons in a bundle: the signed acts that hold, so that keys, names and roles are known away from the
 * database. Pure. The founding act rests on nothing but its founders' keys: those have to be known another way.
 */
import { type AllowedSigner, type SignerLine, stampOf, writeAllowedSigners } from '../../keys/allowed-signers.ts';
import { checkSshsig, NAMESPACES, type Namespace } from '../../keys/sshsig.ts';
import { parseActText } from '../../persons/act.ts';
import { hasRole, isWithin, type Register, replayActs, type StoredAct } from '../../persons/register.ts';
import { STATEMENT_RULES } from '../../persons/statement.ts';
import type { ReportDecision, SignerBook } from '../workflow/decision-check.ts';
import type { BundleFinding, BundleParts } from './bundle-format.ts';
import type { BundledStatement } from './bundle-statements.ts';

const ACT_PART = /^register\/(\d{4,})\.json$/;

/** `register/0001.json` and `register/0001.json.1.sig`, `.2.sig`, ... */
export function registerFiles(acts: readonly StoredAct[]): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  for (const act of acts) {
    const name = actPart(act.sequence);
    files.set(name, Buffer.from(act.payload, 'utf8'));
    for (const [index, { signature }] of act.signatures.entries()) {
      files.set(`${name}.${index + 1}.sig`, Buffer.from(signature, 'utf8'));
    }
  }
  return files;
}

function actPart(sequence: number): string {
  return `register/${String(sequence).padStart(4, '0')}.json`;
}

/** The opposite of registerFiles. Whose a signing key is, the acts themselves say. */
function readRegisterFiles(parts: BundleParts): StoredAct[] {
  const text = (name: string) => Buffer.from(parts.get(name) ?? '').toString('utf8');
  const sequences = [...parts.keys()].flatMap((name) => ACT_PART.exec(name)?.[1] ?? []).map(Number);
  const owners = new Map<string, string>();
  return sequences
    .sort((a, b) => a - b)
    .map((sequence) => {
      const name = actPart(sequence);
      const payload = text(name);
      for (const [fingerprint, email] of parseActText(payload)?.keys ?? []) owners.set(fingerprint, email);
      const signatures: StoredAct['signatures'][number][] = [];
      for (let n = 1; parts.has(`${name}.${n}.sig`); n += 1) {
        const signature = text(`${name}.${n}.sig`);
        const check = checkSshsig(signature, NAMESPACES.person, Buffer.from(payload, 'utf8'));
        const fingerprint = check.valid ? check.publicKey.fingerprint : '';
        signatures.push({ email: owners.get(fingerprint) ?? `nobody ${n}`, fingerprint, signature });
      }
      return { sequence, payload, signatures };
    });
}

/** The keys that decided and those that signed acts and statements, as `ssh-keygen -Y verify` takes them. */
export function allowedSignersText(
  register: Register,
  decisions: readonly ReportDecision[],
  { acts, statements }: { readonly acts: readonly StoredAct[]; readonly statements: readonly BundledStatement[] },
): string {
  const lines = (used: readonly string[], namespace: Namespace): SignerLine[] => {
    const keys = [...register.keys.values()].filter((key) => used.includes(key.fingerprint));
    return keys.map((key) => ({ ...key, namespace }));
  };
  const deciding = decisions.map((decision) => decision.keyFingerprint);
  const acting = acts.flatMap((act) => act.signatures.map(({ fingerprint }) => fingerprint));
  const stating = (namespace: Namespace) =>
    statements
      .filter(({ statement }) => STATEMENT_RULES[statement.format].namespace === namespace)
      .map(({ statement }) => statement.key_fingerprint);
  return writeAllowedSigners([
    ...lines(deciding, NAMESPACES.reportDecision),
    ...lines(acting, NAMESPACES.person),
    ...[NAMESPACES.waiver, NAMESPACES.attestation].flatMap((namespace) => lines(stating(namespace), namespace)),
  ]);
}

export interface BundledRegister {
  readonly acts: readonly StoredAct[];
  /** Null where the bundle brings none. */
  readonly register: Register | null;
  readonly findings: readonly BundleFinding[];
  /**
   * given: its founders are in the list that came another way. bundled: it is consistent, by founders that it names itself.
   */
  readonly roles: 'given' | 'bundled' | 'not checked';
}

/** Replays the acts of a bundle. */
export function readBundledRegister(
  parts: BundleParts,
  installationId: string,
  given: readonly AllowedSigner[] | null,
): BundledRegister {
  const acts = readRegisterFiles(parts);
  const [founding] = acts;
  if (founding === undefined) return { acts, register: null, findings: [], roles: 'not checked' };
  const { register, findings } = replayActs(installationId, acts);
  const at = parseActText(founding.payload)?.time ?? '';
  const isKnown = founding.signatures.every(({ email, fingerprint }) => {
    return findSigner(given ?? [], { fingerprint, at, namespace: NAMESPACES.person })?.email === email;
  });
  return {
    acts,
    register,
    findings: findings.map(({ what }) => ({ part: partOfFinding(what), what: `does not hold: ${what}` })),
    roles: isKnown && findings.length === 0 ? 'given' : 'bundled',
  };
}

function partOfFinding(what: string): string {
  const sequence = /^act (\d+):/.exec(what)?.[1];
  return sequence === undefined ? 'register' : actPart(Number(sequence));
}

/** The listed signer of a key at an instant, in a namespace. */
function findSigner(
  signers: readonly AllowedSigner[],
  { fingerprint, at, namespace }: { readonly fingerprint: string; readonly at: string; readonly namespace: Namespace },
): AllowedSigner | null {
  const stamp = stampOf(at);
  const found = signers.find(
    (signer) =>
      signer.fingerprint === fingerprint &&
      (signer.namespaces === null || signer.namespaces.includes(namespace)) &&
      (signer.validAfter === null || signer.validAfter <= stamp) &&
      (signer.validBefore === null || stamp <= signer.validBefore),
  );
  return found ?? null;
}

/** Who may decide: a key counts when both the list of signers and, where there is one, the register say so. */
export function bundleBook(
  signers: readonly AllowedSigner[],
  register: Register | null,
  compromised: readonly string[],
): SignerBook {
  return {
    signerOf(fingerprint, at) {
      const listed = findSigner(signers, { fingerprint, at, namespace: NAMESPACES.reportDecision });
      if (listed === null) return null;
      const key = register?.keys.get(fingerprint);
      if (register !== null && (key?.email !== listed.email || !isWithin(key, at))) return null;
      const isCompromised = key === undefined ? compromised.includes(fingerprint) : key.endReason === 'compromised';
      return { email: listed.email, compromised: isCompromised, endedBy: null };
    },
    hasRole: (email, role, at) => (register === null ? null : hasRole(register, email, role, at)),
    // Without a register each signed name stands for itself.
    nameOf: (email) => register?.persons.get(email) ?? null,
  };
}
