/** Signing waivers and attestations, and reading them back checked. */
import { createHash, randomUUID } from 'node:crypto';
import { recordEvent } from '../audit/record/record.ts';
import { canonicalJson } from '../canonical-json.ts';
import type { Context } from '../context.ts';
import { inTransaction } from '../db/transaction.ts';
import { AuditkeepError } from '../errors.ts';
import { readSshKeyFile } from '../keys/ssh-key.ts';
import { signSshsig } from '../keys/sshsig.ts';
import { readRegister } from './read-register.ts';
import { translateRefusals } from './refusal.ts';
import {
  type Attestation,
  attestationSchema,
  type CheckedStatement,
  checkStatement,
  type SignedWaiver,
  STATEMENT_RULES,
  type Statement,
  signedWaivers,
  type Waiver,
  type WaiverApproval,
  waiverApprovalSchema,
  waiverSchema,
} from './statement.ts';
import { beginAct, insertStatement, readStatements, type StatementKind } from './store.ts';

type Stating = Pick<Context, 'db' | 'clock' | 'actor'>;
type Own<T extends Statement> = Omit<T, 'format' | 'installation_id' | 'incarnation' | SignerField>;
type SignerField = 'id' | 'person' | 'person_name' | 'key_fingerprint' | 'time';

/**
 * A policy owner accepts exceptions of a control until a day within a year. It counts once another one approved it.
 * @throws as signStatement
 */
export function addWaiver(ctx: Stating, input: Own<Waiver>): Promise<{ readonly id: string; readonly sha256: string }> {
  return signStatement(ctx, { format: 'auditkeep-waiver/v2', ...input });
}

/** Another policy owner signs a waiver as well. @throws as signStatement, INPUT_INVALID, DUTY_SEPARATION */
export async function approveWaiver(
  ctx: Stating,
  idPrefix: string,
): Promise<{ readonly id: string; readonly sha256: string; readonly waiver: SignedWaiver }> {
  const prefix = idPrefix.trim().toLowerCase();
  const found = (await listWaivers(ctx)).filter(({ waiver }) => prefix.length >= 4 && waiver.id.startsWith(prefix));
  const [waiver, second] = found;
  if (waiver === undefined || second !== undefined) {
    throw new AuditkeepError('INPUT_INVALID', {
      message:
        waiver === undefined ? `no signed waiver has the id ${idPrefix}` : `several waivers begin with ${idPrefix}`,
      hint: 'see them with `auditkeep waiver list`',
    });
  }
  const own: Own<WaiverApproval> = { waiver: waiver.waiver.id, waiver_sha256: waiver.sha256 };
  return { ...(await signStatement(ctx, { format: 'auditkeep-waiver-approval/v1', ...own })), waiver };
}

/** A person says how a requirement stands in a period. @throws as signStatement */
export function addAttestation(
  ctx: Stating,
  input: Own<Attestation>,
): Promise<{ readonly id: string; readonly sha256: string }> {
  return signStatement(ctx, { format: 'auditkeep-attestation/v1', ...input });
}

/**
 * Signs with the acting person's key, checks the text as every reader will, and stores it with its audit event.
 * @throws USAGE without a person and key, INPUT_INVALID, PERSON_UNKNOWN, ROLE_MISSING, PERSON_KEY_INVALID, those of
 * readSshKeyFile and signSshsig
 */
async function signStatement(
  ctx: Stating,
  own: { readonly format: Statement['format'] } & Readonly<Record<string, unknown>>,
): Promise<{ readonly id: string; readonly sha256: string }> {
  const { actor } = ctx;
  if (actor.kind !== 'person' || actor.keyFile === null) {
    throw new AuditkeepError('USAGE', {
      message: 'this is signed by a person',
      hint: 'give --as EMAIL and --key FILE',
    });
  }
  const email = actor.email.toLowerCase();
  const key = await readSshKeyFile(actor.keyFile);
  const { due, current } = await ctx.db.withClient(async (client) => ({
    due: await beginAct(client),
    current: await readRegister(client),
  }));
  const statement = parseOwn({
    ...own,
    installation_id: due.installation_id,
    incarnation: due.incarnation,
    id: randomUUID(),
    person: email,
    person_name: current.register.persons.get(email) ?? email,
    key_fingerprint: key.publicKey.fingerprint,
    time: due.issued_at,
  });
  const payload = canonicalJson(statement);
  const signature = await signSshsig(key, STATEMENT_RULES[own.format].namespace, Buffer.from(payload, 'utf8'));
  const sha256 = createHash('sha256').update(payload, 'utf8').digest('hex');
  const kind = KINDS[own.format];
  return translateRefusals(() =>
    inTransaction(ctx.db, async (client) => {
      await insertStatement(client, payload, signature);
      const checked = checkStatement({ payload, signature }, current);
      if (checked.problem !== null) throw invalid(checked.problem);
      await recordEvent(ctx, client, {
        type: kind === 'waiver_approval' ? 'waiver.approved' : `${kind}.added`,
        category: 'admin',
        action: 'SIGN',
        resourceType: kind,
        resourceId: statement.id,
        details: { payloadSha256: sha256 },
      });
      return { id: statement.id, sha256 };
    }),
  );
}

const DAY_MS = 24 * 60 * 60 * 1000;

const KINDS = {
  'auditkeep-waiver/v1': 'waiver',
  'auditkeep-waiver/v2': 'waiver',
  'auditkeep-waiver-approval/v1': 'waiver_approval',
  'auditkeep-attestation/v1': 'attestation',
} as const;

const OWN_SCHEMAS = {
  waiver: waiverSchema,
  waiver_approval: waiverApprovalSchema,
  attestation: attestationSchema,
} as const;

function parseOwn(value: { readonly format: Statement['format'] } & Readonly<Record<string, unknown>>): Statement {
  const parsed = OWN_SCHEMAS[KINDS[value.format]].safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw invalid(`${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`.trim());
  }
  const statement = parsed.data;
  if (statement.format === 'auditkeep-waiver-approval/v1') return statement;
  const longest = 366 * DAY_MS;
  if (statement.format === 'auditkeep-attestation/v1') {
    checkAttestedPeriod(statement);
    return statement;
  }
  const length = Date.parse(statement.expires_at) - Date.parse(statement.valid_from);
  if (!(length > 0 && length <= longest)) throw invalid('a waiver lasts more than nothing and at most 366 days');
  return statement;
}

/** Nobody knows how a day stands that is not over, and nobody looked at many years at once. @throws INPUT_INVALID */
function checkAttestedPeriod({ period_start: first, period_end: last, time }: Attestation): void {
  if (last < first) throw invalid('the period ends before it begins');
  if (last >= time.slice(0, 10)) throw invalid('the period has not ended (days are of UTC)');
  const days = (Date.parse(last) - Date.parse(first)) / DAY_MS + 1;
  if (days > 366) throw invalid('an attestation is of at most 366 days');
}

function invalid(what: string): AuditkeepError {
  return new AuditkeepError('INPUT_INVALID', {
    message: `this cannot be signed: ${what}`,
    hint: 'see `auditkeep waiver add --help` and `auditkeep attest add --help`',
  });
}

/** The waivers that hold, oldest first, with their second signatures. */
export async function listWaivers(ctx: Pick<Context, 'db'>): Promise<SignedWaiver[]> {
  return signedWaivers(await listStatements(ctx, 'waiver'), await listStatements(ctx, 'waiver_approval'));
}

/** Every stored statement of a kind, oldest first, checked against the signed register. */
export async function listStatements(
  ctx: Pick<Context, 'db'>,
  kind: StatementKind,
): Promise<readonly CheckedStatement[]> {
  return inTransaction(
    ctx.db,
    async (client) => {
      const current = await readRegister(client);
      return (await readStatements(client, kind)).map((stored) => checkStatement(stored, current));
    },
    'repeatable read, read only',
  );
}
