/** One signed decision on something under retention: nonce, signature, check, storage and audit event. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { recordEvent } from '../audit/record/record.ts';
import type { Context } from '../context.ts';
import type { SqlClient } from '../db/database.ts';
import { execute, queryOne, queryRows } from '../db/query.ts';
import { inTransaction } from '../db/transaction.ts';
import { AuditkeepError } from '../errors.ts';
import { readSshKeyFile } from '../keys/ssh-key.ts';
import { signSshsig } from '../keys/sshsig.ts';
import {
  type CheckedObject,
  checkObjectDecisions,
  OBJECT_RULES,
  type ObjectKind,
  type ObjectMeaning,
  objectDecisionText,
  objectRequestSchema,
  type StoredObjectDecision,
} from './object-decision.ts';
import { readRegister } from './read-register.ts';
import { translateRefusals } from './refusal.ts';

type Deciding = Pick<Context, 'db' | 'clock' | 'actor'>;

export interface ObjectDecision {
  readonly kind: ObjectKind;
  /** Its id, or what stores it and gives its id, in the transaction that asks whether this person may decide on it. */
  readonly id: string | ((client: SqlClient) => Promise<string>);
  /** Of the object's canonical text, as the person has seen it. */
  readonly hash: string;
  readonly meaning: ObjectMeaning;
  /** Recorded in the audit event. */
  readonly reason?: string;
}

/** E-mail and key file of the person acting. @throws USAGE without them */
export function signingPerson(ctx: Pick<Context, 'actor'>): { email: string; keyFile: string } {
  const { actor } = ctx;
  if (actor.kind !== 'person' || actor.keyFile === null) {
    throw new AuditkeepError('USAGE', {
      message: 'a decision is made by a person who signs',
      hint: 'give --as EMAIL and --key FILE',
    });
  }
  return { email: actor.email.toLowerCase(), keyFile: actor.keyFile };
}

/**
 * Signs and stores a decision; durable when it returns. Nothing changes unless a reader would take it as holding.
 * @throws USAGE, DECISION_OBJECT, DECISION_STATE, DUTY_SEPARATION, ROLE_MISSING, PERSON_UNKNOWN, PERSON_KEY_INVALID,
 * DECISION_EXPIRED, DECISION_PAYLOAD, DECISION_INVALID, and those of readSshKeyFile and signSshsig
 */
export async function decideObject(ctx: Deciding, input: ObjectDecision): Promise<CheckedObject & { id: string }> {
  const { email, keyFile } = signingPerson(ctx);
  const { kind, meaning } = input;
  const key = await readSshKeyFile(keyFile);
  const { id, request } = await translateRefusals(() =>
    inTransaction(ctx.db, async (client) => {
      const id = typeof input.id === 'string' ? input.id : await input.id(client);
      const row = await queryOne(
        client,
        z.object({ payload: objectRequestSchema }),
        'select compliance.begin_object_decision($1::text, $2::uuid, $3::text, $4::text) as payload',
        [kind, id, meaning, email],
      );
      return { id, request: row.payload };
    }),
  );
  // Nobody signs what somebody put in the object's place between looking and signing.
  if (request.object_hash !== input.hash || request.object.id !== id) throw otherContent(kind);
  const payload = objectDecisionText(request, key.publicKey.fingerprint);
  const signature = await signSshsig(key, OBJECT_RULES[kind].namespace, Buffer.from(payload, 'utf8'));
  return translateRefusals(() =>
    inTransaction(ctx.db, async (client) => {
      await execute(client, 'select compliance.record_object_decision($1::text, $2::text)', [payload, signature]);
      await recordEvent(ctx, client, {
        type: `${kind}.${meaning}`,
        category: 'authorization',
        action: 'DECIDE',
        resourceType: kind,
        resourceId: id,
        details: {
          decisionId: request.decision_id,
          payloadSha256: createHash('sha256').update(payload, 'utf8').digest('hex'),
          objectHash: request.object_hash,
          reason: input.reason ?? null,
        },
      });
      const checked = await verifyObject(client, { kind, id, hash: input.hash });
      const made = meaning === 'request' ? checked.request : checked.approval;
      if (made?.decision_id !== request.decision_id) throw invalidDecision(checked);
      return { ...checked, id };
    }),
  );
}

type Decided = Pick<ObjectDecision, 'kind' | 'hash'> & { readonly id: string };

/** The decisions on an object that hold now, checked against the signed register. @throws REGISTER_INVALID */
export async function verifyObject(client: SqlClient, object: Decided): Promise<CheckedObject> {
  const verify = await openVerifier(client);
  return verify(object);
}

/** verifyObject for many: the register is read and replayed once. @throws REGISTER_INVALID */
export async function openVerifier(client: SqlClient): Promise<(object: Decided) => Promise<CheckedObject>> {
  const { installationId, register, findings } = await readRegister(client);
  const broken = findings.find((finding) => finding.kind !== 'act-void');
  if (broken !== undefined) {
    throw new AuditkeepError('REGISTER_INVALID', {
      message: `the register of persons does not hold: ${broken.what}`,
      hint: 'see `auditkeep person list`; find out who changed the database',
    });
  }
  return async (object) =>
    checkObjectDecisions({ installationId, ...object }, await readStored(client, object.id), register);
}

/** What is stored about an object, in the order of recording. */
function readStored(client: SqlClient, id: string): Promise<StoredObjectDecision[]> {
  return queryRows(
    client,
    z.object({ payload: z.string(), signature: z.string() }),
    `select d.payload, d.signature from compliance.object_decision d where d.object_id = $1::uuid order by d.sequence`,
    [id],
  );
}

function otherContent(kind: ObjectKind): AuditkeepError {
  return new AuditkeepError('DECISION_PAYLOAD', {
    message: `the ${kind} in the database is not the one that was shown`,
    hint: 'look at it again before you sign; find out who changed the database',
  });
}

function invalidDecision(checked: CheckedObject): AuditkeepError {
  return new AuditkeepError('DECISION_INVALID', {
    message: `the decision does not hold: ${checked.findings.join('; ') || 'it was not stored'}`,
    hint: 'see the persons and their keys with `auditkeep person list`',
  });
}
