/**
 * Proofs that one event is in the log, as C2SP tlog-proof (https://c2sp.org/tlog-proof): the inclusion path and the last
 * signed checkpoint, and in the `extra` line the entry itself (docs/spec/tlog-bundle-v1.md, section 4).
 */
import { z } from 'zod';
import type { Context } from '../../context.ts';
import { withSessionLock } from '../../db/advisory-lock.ts';
import type { SqlClient } from '../../db/database.ts';
import { queryOne, queryRows } from '../../db/query.ts';
import { inTransaction, transact } from '../../db/transaction.ts';
import { AuditkeepError } from '../../errors.ts';
import { parseInstant } from '../../time/clock.ts';
import { frameFields } from '../event/canonical.ts';
import { EVENT_TABLES } from '../event/event-origin.ts';
import { readHead } from '../links/chain-store.ts';
import { nodeReader } from '../links/tile-store.ts';
import { readLogName } from '../publish/log-name.ts';
import { recordEvent } from '../record/record.ts';
import { verifyInclusion } from '../tree/merkle.ts';
import { readInclusionPath } from '../tree/proof-path.ts';
import { readSignedHead, type SignedHead } from '../tree/signed-head.ts';
import { lockChainTables } from '../verify/verify-store.ts';
import { readSealedEvents, type SealedEvent } from './export-events.ts';

const EXTRA_PREFIX = Buffer.from('auditkeep-proof/v1\n', 'utf8');
const EVENT_NAME = /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:@(.+))?$/;

export interface ProveInput {
  /** The event's id, or `id@timestamp` when several events bear it. */
  readonly event: string;
  /** Puts salts and columns of both groups into the proof: personal data in clear. */
  readonly open: boolean;
}

export interface EventProof {
  readonly eventId: string;
  readonly seq: bigint;
  /** The size of the checkpoint that the proof leads to. */
  readonly size: bigint;
  readonly origin: string;
  /** The text of the .tlog-proof file. */
  readonly proof: string;
}

/**
 * Proves an event against the last signed checkpoint. Recorded as an audit event before anything is handed out.
 * @throws CHAIN_EVENT_UNKNOWN, CHAIN_EVENT_AMBIGUOUS, CHAIN_EVENT_UNSEALED, CHAIN_UNSIGNED when no checkpoint covers it
 * yet, CHAIN_ENTRY_DIFFERS when the stored event is not the one that was sealed, CHAIN_REWRITTEN, INPUT_INVALID
 */
export async function proveEvent(
  ctx: Pick<Context, 'db' | 'config' | 'clock' | 'actor'>,
  input: ProveInput,
): Promise<EventProof> {
  const name = parseEventName(input.event);
  const proof = await ctx.db.withClient((client) =>
    withSessionLock(client, 'structure', 'shared', () =>
      transact(client, () => makeProof(ctx, client, name, input.open), 'repeatable read, read only'),
    ),
  );
  await inTransaction(ctx.db, (client) =>
    recordEvent(ctx, client, {
      type: 'chain.proved',
      category: 'data_access',
      action: 'PROVE',
      resourceType: 'audit_event',
      resourceId: proof.eventId,
      details: { seq: Number(proof.seq), size: Number(proof.size), opened: input.open },
    }),
  );
  return proof;
}

interface EventName {
  readonly id: string;
  readonly timestamp: string | null;
}

function parseEventName(text: string): EventName {
  const [, id, timestamp = null] = EVENT_NAME.exec(text.toLowerCase()) ?? [];
  const at = timestamp?.toUpperCase() ?? null;
  if (id === undefined || (at !== null && parseInstant(at) === null)) {
    throw new AuditkeepError('INPUT_INVALID', {
      message: 'the event is not named by a UUID, or by UUID@timestamp',
      hint: 'write for example 1b4e28ba-2fa1-41d2-883f-0016d3cca427@2026-01-31T08:00:00.123456Z',
    });
  }
  return { id, timestamp: at };
}

async function makeProof(
  ctx: Pick<Context, 'config'>,
  client: SqlClient,
  name: EventName,
  open: boolean,
): Promise<EventProof> {
  await lockChainTables(client);
  const seq = await findSeq(client, name);
  const { origin } = await readLogName(ctx.config, await readHead(client));
  const head = await readSignedHead(client, origin);
  if (head === null || head.size <= seq) throw unsigned(name.id, seq, head?.size ?? 0n);
  const [event] = await readSealedEvents(client, seq, seq + 1n);
  if (event?.entry == null || !event.fits) throw differs(name.id, seq);
  const path = (await provePath(client, event, head, true)) ?? (await provePath(client, event, head, false));
  if (path === null) throw leadsElsewhere(head);
  const extra = Buffer.concat([EXTRA_PREFIX, frameFields([event.entry]), ...(open ? [event.opening] : [])]);
  const lines = ['c2sp.org/tlog-proof@v1', `extra ${extra.toString('base64')}`, `index ${seq}`, ...path];
  return { eventId: name.id, seq, size: head.size, origin, proof: `${lines.join('\n')}\n\n${head.note}` };
}

/** The path as lines; null when it does not lead to the signed root, as tiles that were changed would have it. */
async function provePath(
  client: SqlClient,
  { link }: SealedEvent,
  head: SignedHead,
  stored: boolean,
): Promise<string[] | null> {
  const { size, root } = head;
  const proof = await readInclusionPath(nodeReader(client, { stored }), link.seq, size);
  const holds = verifyInclusion({ index: link.seq, size, leaf: link.leaf, root, proof });
  return holds ? proof.map((hash) => hash.toString('base64')) : null;
}

async function findSeq(client: SqlClient, { id, timestamp }: EventName): Promise<bigint> {
  const rows = await queryRows(
    client,
    z.object({ seq: z.bigint(), at: z.string() }),
    `select seq, to_char(event_timestamp, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at from audit.chain_link
      where event_id = $1::uuid and ($2::timestamptz is null or event_timestamp = $2::timestamptz) order by seq`,
    [id, timestamp],
  );
  const [first, second] = rows;
  if (second !== undefined) {
    throw new AuditkeepError('CHAIN_EVENT_AMBIGUOUS', {
      message: `${rows.length} sealed events have the id ${id}`,
      hint: `name one with its time: ${rows.map(({ at }) => `${id}@${at}`).join(' or ')}`,
    });
  }
  if (first !== undefined) return first.seq;
  throw (await isStored(client, id)) ? unsealed(id) : unknown(id);
}

async function isStored(client: SqlClient, id: string): Promise<boolean> {
  const tables = EVENT_TABLES.map((table) => `exists (select from ${table} e where e.id = $1::uuid)`);
  const shape = z.object({ found: z.boolean() });
  return (await queryOne(client, shape, `select ${tables.join(' or ')} as found`, [id])).found;
}

function unknown(id: string): AuditkeepError {
  return new AuditkeepError('CHAIN_EVENT_UNKNOWN', {
    message: `no event has the id ${id}`,
    hint: 'check the id; of an event that was moved to cold storage, restore its unit first',
  });
}

function unsealed(id: string): AuditkeepError {
  return new AuditkeepError('CHAIN_EVENT_UNSEALED', {
    message: `the event ${id} is not sealed at this time`,
    hint: 'wait a minute for the worker, or run auditkeep chain seal',
  });
}

function unsigned(id: string, seq: bigint, size: bigint): AuditkeepError {
  return new AuditkeepError('CHAIN_UNSIGNED', {
    message: `the event ${id} is sealed at seq ${seq}, but signed is the chain only up to ${size}`,
    hint: 'run auditkeep chain checkpoint',
    details: { seq: String(seq), signed: String(size) },
  });
}

function differs(id: string, seq: bigint): AuditkeepError {
  return new AuditkeepError('CHAIN_ENTRY_DIFFERS', {
    message: `the stored event ${id} is not the one that was sealed at seq ${seq}`,
    hint: 'run auditkeep chain verify: the event was changed or deleted',
    details: { seq: String(seq) },
  });
}

function leadsElsewhere({ size }: SignedHead): AuditkeepError {
  return new AuditkeepError('CHAIN_REWRITTEN', {
    message: `the chain does not lead to its signed checkpoint of ${size} links`,
    hint: 'run auditkeep chain verify: somebody changed the chain itself',
    details: { signed: String(size) },
  });
}
