/**
 * The register of persons as its signed acts say it is. Authority is derived from the acts alone, never from the rows
 * that the database keeps for its own checks: a row without an act counts for nothing and is a finding.
 */
import { createHash } from 'node:crypto';
import { canonicalJson } from '../canonical-json.ts';
import { parseSshPublicKey } from '../keys/ssh-public-key.ts';
import { checkSshsig, NAMESPACES } from '../keys/sshsig.ts';
import { actSchema, isPossessionProved, type PersonAct, type PersonChange } from './act.ts';
import type { Role } from './roles.ts';

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
}
export interface Register {
  /** Names by e-mail. */
  readonly persons: ReadonlyMap<string, string>;
  readonly roles: readonly RegisteredRole[];
  readonly keys: ReadonlyMap<string, RegisteredKey>;
}
export interface RegisterFinding {
  readonly kind: 'act-invalid' | 'row-unsigned' | 'row-missing';
  /** Which act or row, and what is wrong with it; e-mails do not appear. */
  readonly what: string;
}

/** An act and its signatures as they are stored. */
export interface StoredAct {
  readonly sequence: number;
  readonly payload: string;
  readonly signatures: readonly { readonly email: string; readonly fingerprint: string; readonly signature: string }[];
}

const EMPTY_REGISTER: Register = { persons: new Map(), roles: [], keys: new Map() };

export function isWithin(interval: Interval, at: string): boolean {
  return interval.from <= at && (interval.until === null || at < interval.until);
}

export function hasRole(register: Register, email: string, role: Role, at: string): boolean {
  return register.roles.some((entry) => entry.email === email && entry.role === role && isWithin(entry, at));
}

/**
 * Replays acts in order. At the first act that does not hold it stops: what follows hangs on it.
 * @returns the register and what is wrong with the acts
 */
export function replayActs(
  installationId: string,
  acts: readonly StoredAct[],
): { readonly register: Register; readonly findings: readonly RegisterFinding[] } {
  let register = EMPTY_REGISTER;
  let previous: string | null = null;
  for (const [index, stored] of acts.entries()) {
    const result = replayAct(register, stored, { installationId, sequence: index + 1, previous });
    if (typeof result === 'string') {
      return { register, findings: [{ kind: 'act-invalid', what: `act ${stored.sequence}: ${result}` }] };
    }
    register = result;
    previous = createHash('sha256').update(stored.payload).digest('hex');
  }
  return { register, findings: [] };
}

interface ActPlace {
  readonly installationId: string;
  readonly sequence: number;
  readonly previous: string | null;
}

/** The register after an act, or why the act does not hold. */
function replayAct(before: Register, stored: StoredAct, place: ActPlace): Register | string {
  const act = parseAct(stored.payload);
  if (act === null) return 'its text is not a canonical act';
  if (act.installation_id !== place.installationId) return 'it belongs to another installation';
  if (act.sequence !== place.sequence || act.previous_act_sha256 !== place.previous) return 'it does not follow';
  const unproved = act.changes.some((change) => change.kind === 'key' && !isPossessionProved(change));
  if (unproved) return 'a key in it was not proved to be held';
  const after = applyChanges(before, act);
  if (after === null) return 'its changes contradict the register';
  const founding = place.sequence === 1;
  const refusal = checkSigners(stored, act, founding ? after : before, founding);
  return refusal ?? after;
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
    if (!founding && act.changes.some((change) => change.email === email)) return 'a signer is concerned by it';
  }
  return null;
}

function applyChanges(before: Register, act: PersonAct): Register | null {
  const draft = { persons: new Map(before.persons), roles: [...before.roles], keys: new Map(before.keys) };
  for (const change of act.changes) {
    if (change.kind !== 'person' && !draft.persons.has(change.email)) return null;
    if (!applyChange(draft, change, act.effective_at)) return null;
  }
  return draft;
}

interface RegisterDraft {
  readonly persons: Map<string, string>;
  readonly roles: RegisteredRole[];
  readonly keys: Map<string, RegisteredKey>;
}

/** False when the change contradicts the register. */
function applyChange(draft: RegisterDraft, change: PersonChange, at: string): boolean {
  const { email } = change;
  switch (change.kind) {
    case 'person':
      if (draft.persons.has(email)) return false;
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
      const key = { email, fingerprint, publicKey: change.public_key, from: at, until: null, endReason: null };
      draft.keys.set(fingerprint, key);
      return true;
    }
    case 'key-end': {
      const key = draft.keys.get(change.fingerprint);
      if (key?.email !== email || key.until !== null) return false;
      draft.keys.set(change.fingerprint, { ...key, until: at, endReason: change.reason });
      return true;
    }
  }
}
