/** Signing waivers and attestations, and reading them back checked. */
import { createHash, randomUUID } from 'node:crypto';
import { recordEvent } from '../audit/record.ts';
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
  STATEMENT_RULES,
  type Statement,
  type Waiver,
  waiverSchema,
} from './statement.ts';
import { beginAct, insertStatement, readStatements } from './store.ts';

type Stating = Pick<Context, 'db' | 'clock' | 'actor'>;
type Own<T extends Statement> = Omit<T, 'format' | 'installation_id' | 'incarnation' | SignerField>;
type SignerField = 'id' | 'person' | 'person_name' | 'key_fingerprint' | 'time';

/** A policy owner accepts the exceptions of a control until a day within a year. @throws as signStatement */
export function addWaiver(ctx: Stating, input: Own<Waiver>): Promise<{ readonly id: string; readonly sha256: string }> {
  return signStatement(ctx, { format: 'auditkeep-waiver/v1', ...input });
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
  const kind = own.format === 'auditkeep-waiver/v1' ? 'waiver' : 'attestation';
  return translateRefusals(() =>
    inTransaction(ctx.db, async (client) => {
      await insertStatement(client, payload, signature);
      const checked = checkStatement({ payload, signature }, current);
      if (checked.problem !== null) throw invalid(checked.problem);
      await recordEvent(ctx, client, {
        type: `${kind}.added`,
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

function parseOwn(value: { readonly format: Statement['format'] } & Readonly<Record<string, unknown>>): Statement {
  const schema = value.format === 'auditkeep-waiver/v1' ? waiverSchema : attestationSchema;
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw invalid(`${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`.trim());
  }
  const statement = parsed.data;
  const longest = 366 * 24 * 60 * 60 * 1000;
  if (statement.format === 'auditkeep-attestation/v1') {
    if (statement.period_end < statement.period_start) throw invalid('the period ends before it begins');
    return statement;
  }
  const length = Date.parse(statement.expires_at) - Date.parse(statement.valid_from);
  if (!(length > 0 && length <= longest)) throw invalid('a waiver lasts more than nothing and at most 366 days');
  return statement;
}

function invalid(what: string): AuditkeepError {
  return new AuditkeepError('INPUT_INVALID', {
    message: `this cannot be signed: ${what}`,
    hint: 'see `auditkeep waiver add --help` and `auditkeep attest add --help`',
  });
}

/** Every stored waiver or attestation, oldest first, checked against the signed register. */
export async function listStatements(
  ctx: Pick<Context, 'db'>,
  kind: 'waiver' | 'attestation',
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
