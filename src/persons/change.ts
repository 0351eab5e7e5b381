/** Changing the register: prepare the act, let officers sign it, store it with its audit event. */
import { createHash } from 'node:crypto';
import { recordEvent } from '../audit/record/record.ts';
import { canonicalJson } from '../canonical-json.ts';
import type { Context } from '../context.ts';
import { inTransaction } from '../db/transaction.ts';
import { AuditkeepError } from '../errors.ts';
import { readSshKeyFile, type SshKeyFile } from '../keys/ssh-key.ts';
import { NAMESPACES, signSshsig } from '../keys/sshsig.ts';
import { isoOf, toInstant } from '../time/clock.ts';
import { ACT_FORMAT, actSchema, isAddition, type PersonChange, possessionText } from './act.ts';
import { readRegister } from './read-register.ts';
import { translateRefusals } from './refusal.ts';
import { replayActs, type StoredAct } from './register.ts';
import { beginAct, insertAct, readActs } from './store.ts';

const DAY_MS = 24 * 60 * 60 * 1000;

export interface RegisterChange {
  readonly changes: readonly PersonChange[];
  /** Key files of the officers who sign: two, or three to let an addition take effect at once. */
  readonly officerKeyFiles: readonly string[];
}

export interface RegisterChanged {
  readonly sequence: number;
  readonly sha256: string;
  /** ISO 8601. */
  readonly effectiveAt: string;
}

/**
 * Founds the register: the listed persons, two of whom are key officers and sign.
 * @throws PERSON_ACT_REFUSED when there is a register already, and what changeRegister throws
 */
export async function initPersons(
  ctx: Pick<Context, 'db' | 'clock' | 'actor'>,
  input: RegisterChange,
): Promise<RegisterChanged> {
  const { head } = await ctx.db.withClient(readRegister);
  if (head !== null) {
    throw new AuditkeepError('PERSON_ACT_REFUSED', {
      message: 'the register of persons has been founded already',
      hint: 'change it with `auditkeep person add | role | key`, signed by two key officers',
    });
  }
  return changeRegister(ctx, input);
}

/**
 * Makes one signed change of the register. Verified here as any reader will verify it, and again by the database, before
 * it is stored; durable when this returns.
 * @throws DUTY_SEPARATION fewer than two signers or one who is concerned, ROLE_MISSING, PERSON_UNKNOWN,
 * PERSON_KEY_INVALID, PERSON_ACT_REFUSED, DECISION_CONFLICT, and those of readSshKeyFile and signSshsig
 */
export async function changeRegister(
  ctx: Pick<Context, 'db' | 'clock' | 'actor'>,
  input: RegisterChange,
): Promise<RegisterChanged> {
  const keys = await Promise.all(input.officerKeyFiles.map(readSshKeyFile));
  const prepared = await ctx.db.withClient(async (client) => ({
    due: await beginAct(client),
    current: await readRegister(client),
    acts: await readActs(client),
  }));
  const { due, current, acts } = prepared;
  const founding = current.head === null;
  const adds = input.changes.some(isAddition);
  const waits = adds && !founding && keys.length < 3;
  const effectiveAt = waits ? isoOf(toInstant(Date.parse(due.issued_at) + DAY_MS)) : due.issued_at;
  const { issued_at: time, ...place } = due;
  const act = parseChange({
    format: ACT_FORMAT,
    ...place,
    previous_act_sha256: current.head,
    time,
    effective_at: effectiveAt,
    changes: [...input.changes],
  });
  const payload = canonicalJson(act);
  const owners = new Map([...current.register.keys.values()].map((key) => [key.fingerprint, key.email]));
  if (founding) for (const [fingerprint, email] of foundersKeys(act.changes, keys)) owners.set(fingerprint, email);
  const signatures = await signAct(keys, owners, payload);
  const stored = { sequence: due.sequence, payload, signatures };
  return translateRefusals(() =>
    inTransaction(ctx.db, async (client) => {
      // The database first: its refusals say which rule is broken. Nothing is durable before both agree.
      await insertAct(client, payload, signatures);
      const sha256 = createHash('sha256').update(payload).digest('hex');
      const replayed = replayActs(current.installationId, [...acts, stored]);
      if (replayed.head !== sha256) throw actRefused(replayed.findings.at(-1)?.what ?? '');
      await recordEvent(ctx, client, {
        type: founding ? 'person.init' : 'person.changed',
        category: 'admin',
        action: 'CHANGE',
        resourceType: 'person_register',
        resourceId: String(due.sequence),
        details: { sequence: due.sequence, actSha256: sha256, changes: act.changes.length, effectiveAt },
      });
      return { sequence: due.sequence, sha256, effectiveAt };
    }),
  );
}

function parseChange(act: unknown) {
  const parsed = actSchema.safeParse(act);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new AuditkeepError('INPUT_INVALID', {
    message: `a change of the register is malformed at ${issue?.path.join('.') ?? 'its top'}: ${issue?.message ?? ''}`,
    hint: 'see docs/guide/compliance.md for the roster file',
  });
}

/** In the founding act the officers' keys are those that the act itself lists. */
function foundersKeys(changes: readonly PersonChange[], keys: readonly SshKeyFile[]): [string, string][] {
  return keys.flatMap(({ publicKey }): [string, string][] => {
    const change = changes.find((entry) => entry.kind === 'key' && entry.public_key === publicKey.text);
    return change?.kind === 'key' ? [[publicKey.fingerprint, change.email]] : [];
  });
}

async function signAct(
  keys: readonly SshKeyFile[],
  owners: ReadonlyMap<string, string>,
  payload: string,
): Promise<StoredAct['signatures']> {
  const signatures: { email: string; fingerprint: string; signature: string }[] = [];
  for (const key of keys) {
    const { fingerprint } = key.publicKey;
    const email = owners.get(fingerprint);
    if (email === undefined) {
      throw new AuditkeepError('PERSON_KEY_INVALID', {
        message: `the key ${fingerprint} belongs to nobody in the register`,
        hint: 'sign with the key of a key officer',
      });
    }
    const signature = await signSshsig(key, NAMESPACES.person, Buffer.from(payload, 'utf8'));
    signatures.push({ email, fingerprint, signature });
  }
  return signatures;
}

function actRefused(what: string): AuditkeepError {
  return new AuditkeepError('PERSON_ACT_REFUSED', {
    message: `the change of the register does not hold: ${what}`,
    hint: 'make the proof of a key with `auditkeep person prove`; see docs/guide/compliance.md',
  });
}

/**
 * Makes the proof of possession that a key change carries; it counts in one installation.
 * @throws those of readSshKeyFile and signSshsig
 */
export async function proveKey(
  installationId: string,
  email: string,
  keyFile: string,
): Promise<{ publicKey: string; proof: string }> {
  const key = await readSshKeyFile(keyFile);
  const message = Buffer.from(possessionText(installationId, email, key.publicKey.fingerprint), 'utf8');
  return { publicKey: key.publicKey.text, proof: await signSshsig(key, NAMESPACES.person, message) };
}
