/**
 * The register of persons as its signed acts say it is. Authority is derived from the acts alone, never from the rows
 * that the database keeps for its own checks: a row without an act counts for nothing and is a finding.
 */
import { createHash } from 'node:crypto';
import { canonicalJson } from '../canonical-json.ts';
import { parseSshPublicKey } from '../keys/ssh-public-key.ts';
import { checkSshsig, NAMESPACES } from '../keys/sshsig.ts';
import {
  actSchema,
  isAddition,
  isFormatAfter,
  isOfItsFormat,
  isPossessionProved,
  type PersonAct,
  type PersonChange,
} from './act.ts';
import { type Role, SERVICE_PERSON } from './roles.ts';

/** From the first instant on, before the second; ISO texts in UTC with milliseconds, which sort as they are. */
export interface Interval {
  readonly from: string;
  readonly until: string | null;
}
interface RegisteredRole extends Interval {
  readonly email: string;
  readonly role: Role;
}
interface RegisteredKey extends Interval {
  readonly email: string;
  readonly fingerprint: string;
  readonly publicKey: string;
  readonly endReason: 'replaced' | 'left' | 'compromised' | null;
  /** The hash of the act that ended it. */
  readonly endedBy: string | null;
}
export interface Register {
  /** Names by e-mail. */
  readonly persons: ReadonlyMap<string, string>;
  readonly roles: readonly RegisteredRole[];
  readonly keys: ReadonlyMap<string, RegisteredKey>;
  /** Hashes of the texts of void acts and decisions that officers have acknowledged. */
  readonly acknowledged: ReadonlySet<string>;
}
export interface RegisterFinding {
  readonly kind: 'act-void' | 'row-unsigned' | 'row-missing';
  /** Which act or row, and what is wrong with it; e-mails do not appear. */
  readonly what: string;
  /** Officers have signed that they know of it; only void acts can be acknowledged. */
  readonly acknowledged: boolean;
}

/** An act and its signatures as they are stored. */
export interface StoredAct {
  readonly sequence: number;
  readonly payload: string;
  readonly signatures: readonly { readonly email: string; readonly fingerprint: string; readonly signature: string }[];
}

const DAY_MS = 24 * 60 * 60 * 1000;
const EMPTY_REGISTER: Register = { persons: new Map(), roles: [], keys: new Map(), acknowledged: new Set() };

export function isWithin(interval: Interval, at: string): boolean {
  return interval.from <= at && (interval.until === null || at < interval.until);
}

export function hasRole(register: Register, email: string, role: Role, at: string): boolean {
  return register.roles.some((entry) => entry.email === email && entry.role === role && isWithin(entry, at));
}

export interface ReplayedRegister {
  readonly register: Register;
  readonly findings: readonly RegisterFinding[];
  /** The text's hash of the last act that holds: what the next one follows. Null before the founding act. */
  readonly head: string | null;
  /** The sequences of the acts that do not hold. */
  readonly voided: readonly number[];
}

/**
 * Replays acts in the order of their recording. An act that does not hold is void and a finding; the register goes on
 * without it, so that nobody who can only write rows can end it.
 */
export function replayActs(installationId: string, acts: readonly StoredAct[]): ReplayedRegister {
  let register = EMPTY_REGISTER;
  let after: PlacedAct | null = null;
  const findings: Omit<RegisterFinding, 'acknowledged'>[] = [];
  const voided = new Map<number, string>();
  for (const stored of acts) {
    const result = replayAct(register, stored, { installationId, after, voided });
    if (typeof result === 'string') {
      findings.push({ kind: 'act-void', what: `act ${stored.sequence}: ${result}` });
      voided.set(stored.sequence, sha256Of(stored.payload));
      continue;
    }
    register = result.register;
    after = { act: result.act, sha256: sha256Of(stored.payload) };
  }
  const { acknowledged } = register;
  const hashes = [...voided.values()];
  return {
    register,
    findings: findings.map((finding, index) => ({ ...finding, acknowledged: acknowledged.has(hashes[index] ?? '') })),
    head: after?.sha256 ?? null,
    voided: [...voided.keys()],
  };
}

interface PlacedAct {
  readonly act: PersonAct;
  readonly sha256: string;
}

interface ActPlace {
  readonly installationId: string;
  /** The last act that holds. */
  readonly after: PlacedAct | null;
  /** The hashes of the acts before that do not hold, by their sequences. */
  readonly voided: ReadonlyMap<number, string>;
}

/** The register after an act, or why the act does not hold. */
function replayAct(
  before: Register,
  stored: StoredAct,
  place: ActPlace,
): { register: Register; act: PersonAct } | string {
  const act = parseAct(stored.payload);
  if (act === null) return 'its text is not a canonical act';
  if (act.installation_id !== place.installationId) return 'it belongs to another installation';
  const { after: last } = place;
  if (act.sequence !== stored.sequence || act.previous_act_sha256 !== (last?.sha256 ?? null))
    return 'it does not follow';
  if (!isOfItsFormat(act) || (last !== null && !isFormatAfter(act, last.act))) return 'it is of an earlier format';
  if (!isPossessionProved(act)) return 'a key in it was not proved to be held';
  const after = applyChanges(before, act, { sha256: sha256Of(stored.payload), voided: place.voided });
  if (after === null) return 'its changes contradict the register';
  const founding = last === null;
  const untimely = checkTimes(act, last?.act ?? null, founding, stored.signatures.length);
  if (untimely !== null) return untimely;
  const refusal = checkSigners(stored, act, founding ? after : before, founding);
  return refusal ?? { register: after, act };
}

/** No act is dated before the one it follows; additions wait unless three sign, endings wait for nobody. */
function checkTimes(act: PersonAct, after: PersonAct | null, founding: boolean, signers: number): string | null {
  if (after !== null && act.time < after.time) return 'it is dated before the act that it follows';
  if (after !== null && act.incarnation < after.incarnation) return 'it belongs to an earlier incarnation';
  if (act.effective_at < act.time) return 'it takes effect before it was made';
  const ends = act.changes.some((change) => change.kind === 'role-end' || change.kind === 'key-end');
  if (ends && act.effective_at !== act.time) return 'an ending in it takes effect late';
  const adds = act.changes.some(isAddition);
  const early = Date.parse(act.effective_at) < Date.parse(act.time) + DAY_MS;
  if (adds && early && signers < 3 && !founding) return 'an addition in it takes effect within 24 hours';
  return null;
}

function parseAct(payload: string): PersonAct | null {
  try {
    const act = actSchema.parse(JSON.parse(payload));
    return canonicalJson(act) === payload ? act : null;
  } catch {
    return null; // not JSON or of another shape
  }
}

function checkSigners(stored: StoredAct, act: PersonAct, register: Register, founding: boolean): string | null {
  const emails = new Set(stored.signatures.map((signature) => signature.email));
  if (emails.size < 2 || emails.size !== stored.signatures.length) return 'it lacks the signatures of two officers';
  const at = founding ? act.effective_at : act.time;
  for (const { email, fingerprint, signature } of stored.signatures) {
    const check = checkSshsig(signature, NAMESPACES.person, Buffer.from(stored.payload, 'utf8'));
    if (!check.valid || check.publicKey.fingerprint !== fingerprint) return 'a signature does not verify';
    const key = register.keys.get(fingerprint);
    if (key?.email !== email || !isWithin(key, at)) return 'a signature is by a key that is not valid for its person';
    if (!hasRole(register, email, 'key_officer', at)) return 'a signer is no key officer';
    if (!founding && act.changes.some((change) => 'email' in change && change.email === email))
      return 'a signer is concerned by it';
  }
  return null;
}

function applyChanges(
  before: Register,
  act: PersonAct,
  { sha256, voided }: { readonly sha256: string; readonly voided: ReadonlyMap<number, string> },
): Register | null {
  const draft = {
    persons: new Map(before.persons),
    roles: [...before.roles],
    keys: new Map(before.keys),
    acknowledged: new Set(before.acknowledged),
    actSha256: sha256,
  };
  for (const change of act.changes) {
    if (change.kind === 'acknowledge') {
      // Whether a decision is void is not known here: acknowledging one that holds does nothing.
      if (change.subject === 'act' && voided.get(Number(change.id)) !== change.payload_sha256) return null;
      draft.acknowledged.add(change.payload_sha256);
      continue;
    }
    if (change.kind !== 'person' && !draft.persons.has(change.email)) return null;
    if (!applyChange(draft, change, act.effective_at)) return null;
  }
  return draft;
}

interface RegisterDraft {
  readonly persons: Map<string, string>;
  readonly roles: RegisteredRole[];
  readonly keys: Map<string, RegisteredKey>;
  readonly actSha256: string;
}

/** False when the change contradicts the register. */
function applyChange(
  draft: RegisterDraft,
  change: Exclude<PersonChange, { kind: 'acknowledge' }>,
  at: string,
): boolean {
  const { email } = change;
  switch (change.kind) {
    case 'person':
      if (email === SERVICE_PERSON || draft.persons.has(email)) return false;
      draft.persons.set(email, change.name);
      return true;
    case 'role':
      if (draft.roles.some((r) => r.email === email && r.role === change.role && r.until === null)) return false;
      draft.roles.push({ email, role: change.role, from: at, until: null });
      return true;
    case 'role-end': {
      const index = draft.roles.findIndex((r) => r.email === email && r.role === change.role && r.until === null);
      const open = draft.roles[index];
      if (open === undefined) return false;
      draft.roles[index] = { ...open, until: at };
      return true;
    }
    case 'key': {
      const { fingerprint } = parseSshPublicKey(change.public_key);
      if (draft.keys.has(fingerprint)) return false;
      const key = {
        email,
        fingerprint,
        publicKey: change.public_key,
        from: at,
        until: null,
        endReason: null,
        endedBy: null,
      };
      draft.keys.set(fingerprint, key);
      return true;
    }
    case 'key-end': {
      const key = draft.keys.get(change.fingerprint);
      if (key?.email !== email || key.until !== null) return false;
      draft.keys.set(change.fingerprint, { ...key, until: at, endReason: change.reason, endedBy: draft.actSha256 });
      return true;
    }
  }
}

function sha256Of(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
