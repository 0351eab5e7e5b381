/**
 * The proof of the pudding: a copy of the database, one archived event changed in it behind every guard's back, and a
 * full verification that has to name the row.
 */
import { randomBytes } from 'node:crypto';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { verifyChain } from '../../audit/verify/verify.ts';
import type { Context } from '../../context.ts';
import { type Database, openDatabase, type SqlClient } from '../../db/database.ts';
import { sqlStateOf } from '../../db/errors.ts';
import { quoteIdentifier } from '../../db/identifier.ts';
import { execute, queryMaybe } from '../../db/query.ts';
import { inTransaction } from '../../db/transaction.ts';
import { ROLES } from '../../schema/roles.ts';

const OBJECT_IN_USE = '55006';
const NOT_ALLOWED: ReadonlySet<string | null> = new Set(['42501', 'DB_PRIVILEGE']);

export interface Tampered {
  readonly eventId: string;
  readonly partition: string;
  /** The finding that verification made of it. */
  readonly found: { readonly class: string; readonly seq: string | null; readonly eventId: string | null };
}

const victimShape = z.object({ id: z.string(), schema: z.string(), leaf: z.string() });

/**
 * Copies the database, tampers, verifies, drops the copy. Null when the server does not let this login copy, or somebody
 * else is connected: then nothing was tried and nothing is claimed.
 */
export async function tamperWithCopy(
  ctx: Context,
  adminUrl: string,
  say: (line: string) => void,
): Promise<Tampered | null> {
  const database = decodeURIComponent(new URL(adminUrl).pathname.slice(1));
  const maintenance = openDatabase({
    url: urlOf(adminUrl, 'postgres'),
    applicationName: 'auditkeep-demo',
    maxConnections: 1,
  });
  const copy = `auditkeep_demo_${randomBytes(6).toString('hex')}`;
  try {
    if (!(await copyDatabase(maintenance, { database, copy }, say))) return null;
    try {
      return await verifyTampered(ctx, urlOf(adminUrl, copy));
    } finally {
      await dropCopy(maintenance, copy);
    }
  } finally {
    await maintenance.end();
  }
}

async function copyDatabase(
  maintenance: Database,
  { database, copy }: { readonly database: string; readonly copy: string },
  say: (line: string) => void,
): Promise<boolean> {
  const statement = `create database ${quoteIdentifier(copy)} template ${quoteIdentifier(database)}`;
  try {
    await maintenance.withClient((client) => execute(client, statement));
    return true;
  } catch (error) {
    const state = sqlStateOf(error);
    if (state !== OBJECT_IN_USE && !NOT_ALLOWED.has(state)) throw error;
    const why = state === OBJECT_IN_USE ? 'other sessions are connected to the database' : 'this login may not copy it';
    say(`  left out: ${why}`);
    return false;
  }
}

function dropCopy(maintenance: Database, copy: string): Promise<number> {
  return maintenance.withClient((client) =>
    execute(client, `drop database if exists ${quoteIdentifier(copy)} with (force)`),
  );
}

async function verifyTampered(ctx: Context, url: string): Promise<Tampered> {
  const admin = openDatabase({ url, applicationName: 'auditkeep-demo', maxConnections: 1 });
  const db = openDatabase({ url, role: ROLES.engine, applicationName: 'auditkeep-demo' });
  const home = await copySigner(ctx.config.home);
  try {
    const victim = await inTransaction(admin, changeOneEvent);
    const config = { ...ctx.config, home };
    const result = await verifyChain({ ...ctx, config, db, log: ctx.log.child({}, { level: 'silent' }) });
    const found = result.findings.find((finding) => finding.eventId === victim.id);
    if (found === undefined) throw new Error(`verification of the copy did not name event ${victim.id}`);
    const { class: kind, seq, eventId } = found;
    return {
      eventId: victim.id,
      partition: `${victim.schema}.${victim.leaf}`,
      found: { class: kind, seq: seq === null ? null : String(seq), eventId },
    };
  } finally {
    await Promise.all([admin.end(), db.end(), rm(home, { recursive: true, force: true })]);
  }
}

/** Verification notes in the signer's store what it saw; what it sees in the copy is no news of the database itself. */
async function copySigner(home: string): Promise<string> {
  const copy = await mkdtemp(join(home, 'demo-copy-'));
  for (const folder of ['signer', 'checkpoints']) await cp(join(home, folder), join(copy, folder), { recursive: true });
  return copy;
}

/** As a superuser can: trigger off, change, trigger on again. */
async function changeOneEvent(client: SqlClient): Promise<z.infer<typeof victimShape>> {
  const victim = await queryMaybe(
    client,
    victimShape,
    `select a.id::text, n.nspname as schema, c.relname as leaf
       from audit.audit_log_archive a
       join pg_catalog.pg_class c on c.oid = a.tableoid
       join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      order by a.event_timestamp, a.id
      limit 1`,
  );
  if (victim === null) throw new Error('there is no archived event to tamper with');
  const leaf = quoteIdentifier(victim.schema, victim.leaf);
  await execute(client, `alter table ${leaf} disable trigger ak_child_immutable`);
  await execute(
    client,
    `update ${leaf} set result = 'success', event_action = 'NOTHING_HAPPENED' where id = $1::uuid`,
    [victim.id],
  );
  await execute(client, `alter table ${leaf} enable always trigger ak_child_immutable`);
  return victim;
}

function urlOf(adminUrl: string, database: string): string {
  const url = new URL(adminUrl);
  url.pathname = `/${database}`;
  return url.href;
}
