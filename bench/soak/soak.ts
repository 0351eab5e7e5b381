/**
 * The soak: 16 writers with rollbacks and savepoints, a sealer that is killed every five seconds, partitions that move
 * to the archive, checkpoints, verifications of every level, and one crash and restart of PostgreSQL in the middle. Afterwards every committed event must be
 * linked exactly once, and no verification may have found anything.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { VERIFY_LEVELS, type VerifyLevel } from '../../src/audit/links/finding.ts';
import { signCheckpoint } from '../../src/audit/publish/sign.ts';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { verifyChain } from '../../src/audit/verify/verify.ts';
import type { Context } from '../../src/context.ts';
import type { Database } from '../../src/db/database.ts';
import { AuditkeepError } from '../../src/errors.ts';
import { runArchive } from '../../src/retention/archive.ts';
import { parseInstant } from '../../src/time/clock.ts';

const WRITERS = 16;
const KILL_EVERY_MS = 5000;
const MONTHS = 12;

export interface SoakInput {
  readonly ctx: Context;
  /** A pool as superuser: makes partitions, counts. */
  readonly admin: Database;
  /** The database as the engine's login, for the sealer's process. */
  readonly engineUrl: string;
  readonly seconds: number;
  /** Restarts the server; null leaves it alone. */
  readonly restart: (() => Promise<void>) | null;
}

export interface SoakResult {
  readonly written: number;
  readonly sealed: number;
  readonly verified: number;
  readonly archived: number;
  readonly lost: number;
  readonly doubled: number;
  readonly falseFindings: number;
  readonly rssMb: number;
}

interface Tally {
  readonly committed: string[];
  /** Rolled back: must be neither stored nor linked. */
  readonly undone: string[];
  verified: number;
  archived: number;
  falseFindings: number;
  rss: number;
}

/** Runs the soak and gives its counts; lost, doubled and falseFindings have to be 0. */
export async function runSoak(input: SoakInput): Promise<SoakResult> {
  const { ctx, admin } = input;
  await makeOldPartitions(ctx.db);
  const tally: Tally = { committed: [], undone: [], verified: 0, archived: 0, falseFindings: 0, rss: 0 };
  const end = performance.now() + input.seconds * 1000;
  const going = () => performance.now() < end;
  await Promise.all([
    ...Array.from({ length: WRITERS }, (_, writer) => write(ctx.db, writer, going, tally)),
    killSealers([input.engineUrl, ctx.config.home], going),
    movePartitions(ctx, input.seconds, going, tally),
    verifyAgain(ctx, going, tally),
    restartOnce(input),
  ]);
  await sealRest(ctx);
  for (const level of VERIFY_LEVELS) await verify(ctx, tally, level);
  const counts = await admin.withClient((client) => countLinks(client, tally));
  return {
    written: tally.committed.length,
    ...counts,
    verified: tally.verified,
    archived: tally.archived,
    falseFindings: tally.falseFindings,
    rssMb: Math.round(tally.rss / 2 ** 20),
  };
}

const monthStart = (month: number) =>
  month > MONTHS ? '2003-01-01T00:00:00.000Z' : `2002-${String(month).padStart(2, '0')}-01T00:00:00.000Z`;

/** Twelve months of 2002, which fill up during the soak and leave one after the other. */
async function makeOldPartitions(db: Database): Promise<void> {
  await db.withClient(async (client) => {
    for (let month = 1; month <= MONTHS; month += 1) {
      await client.query("select retention.create_partition('audit_log', $1::timestamptz, $2::timestamptz)", [
        monthStart(month),
        monthStart(month + 1),
      ]);
    }
  });
}

async function write(db: Database, writer: number, going: () => boolean, tally: Tally): Promise<void> {
  for (let round = 0; going(); round += 1) {
    const kept = [randomUUID(), randomUUID()];
    const undone = [randomUUID()];
    const rollback = round % 5 === 4;
    let committing = false;
    try {
      await db.withClient(async (client) => {
        await client.query('begin');
        await insert(client, kept, round);
        await client.query('savepoint s');
        await insert(client, undone, round);
        await client.query('rollback to savepoint s');
        if ((round + writer) % 20 === 0) await pause(200);
        committing = true;
        await client.query(rollback ? 'rollback' : 'commit');
      });
    } catch {
      // The server went away. Nobody knows whether a commit under way was made: such rows count for neither side.
      if (!committing) tally.undone.push(...kept, ...undone);
      await pause(100);
      continue;
    }
    tally.undone.push(...undone, ...(rollback ? kept : []));
    if (!rollback) tally.committed.push(...kept);
  }
}

type Client = Parameters<Parameters<Database['withClient']>[0]>[0];

/** Every seventh round writes into 2002: hot, archived (then late) and in between. */
async function insert(client: Client, ids: readonly string[], round: number): Promise<void> {
  const at = round % 7 === 0 ? `2002-${String((round % MONTHS) + 1).padStart(2, '0')}-10T00:00:00Z` : null;
  await client.query(
    `insert into audit.audit_log (id, event_type, event_category, event_action, user_email, new_values, event_timestamp)
     select i, 'soak.event', 'system', 'WRITE', 'soak@example.org', '{"n": 1}', coalesce($2::timestamptz, now())
       from unnest($1::uuid[]) i`,
    [ids, at],
  );
}

async function killSealers(args: readonly string[], going: () => boolean): Promise<void> {
  const file = fileURLToPath(new URL('sealer.ts', import.meta.url));
  while (going()) {
    const sealer: ChildProcess = spawn(process.execPath, [file, ...args], { stdio: 'ignore' });
    const ended = new Promise((resolve) => sealer.once('exit', resolve));
    const started = performance.now();
    while (going() && performance.now() - started < KILL_EVERY_MS) await pause(100);
    sealer.kill('SIGKILL');
    await ended;
  }
}

async function movePartitions(ctx: Context, seconds: number, going: () => boolean, tally: Tally): Promise<void> {
  for (let month = 1; going(); month = Math.min(month + 1, MONTHS)) {
    await pause(Math.min((seconds * 1000) / (MONTHS + 1), 3000));
    const before = parseInstant(monthStart(month + 1));
    if (before === null) throw new RangeError('not an instant');
    const run = await runArchive(ctx, { table: 'audit_log', before, reason: 'soak' }).catch(() => null);
    for (const { outcome } of run?.units ?? []) if (outcome.kind === 'archived') tally.archived += outcome.rows;
  }
}

/** One level after the other, each time over what was signed just before. */
async function verifyAgain(ctx: Context, going: () => boolean, tally: Tally): Promise<void> {
  for (let round = 0; going(); round += 1) {
    const level = VERIFY_LEVELS[round % VERIFY_LEVELS.length] ?? 'full';
    await verify(ctx, tally, level).catch((error: unknown) => {
      // The restart of the server ends a verification; that is no finding. Any other refusal is a false accusation.
      if (!(error instanceof AuditkeepError) || error.code.startsWith('DB_')) return;
      tally.falseFindings += 1;
      process.stderr.write(`${error.code}: ${error.message}\n`);
    });
    await pause(500);
  }
}

async function verify(ctx: Context, tally: Tally, level: VerifyLevel): Promise<void> {
  if ((await signCheckpoint(ctx)).note === null) return;
  const result = await verifyChain(ctx, { level });
  tally.verified += 1;
  tally.falseFindings += result.findings.length;
  for (const found of result.findings.slice(0, 5)) process.stderr.write(`${level}: ${JSON.stringify(found)}\n`);
  tally.rss = Math.max(tally.rss, process.memoryUsage().rss);
}

async function restartOnce({ restart, seconds }: SoakInput): Promise<void> {
  if (restart === null) return;
  await pause((seconds * 1000) / 2);
  await restart();
}

/** The killed sealer's backend may hold its lock for a moment longer. */
async function sealRest(ctx: Context): Promise<void> {
  for (let tries = 0; tries < 100; tries += 1) {
    if ((await sealChain(ctx)).complete) return;
    await pause(100);
  }
  throw new Error('the rest could not be sealed: somebody holds the lock of the sealer');
}

async function countLinks(client: Client, tally: Tally): Promise<{ sealed: number; lost: number; doubled: number }> {
  const count = async (text: string, ids?: readonly string[]) => {
    const result = await client.query<{ n: string }>(text, ids === undefined ? [] : [ids]);
    return Number(result.rows[0]?.n ?? Number.NaN);
  };
  const lost =
    'select count(*) as n from unnest($1::uuid[]) w(id) where not exists (select from audit.chain_link l where l.event_id = w.id)';
  const unlinked = `select count(*) as n from audit.audit_log_all e where e.event_type = 'soak.event'
    and not exists (select from audit.chain_link l where l.event_id = e.id)`;
  const undone = 'select count(*) as n from audit.chain_link l where l.event_id = any ($1::uuid[])';
  const twice = 'select count(*) as n from (select from audit.chain_link group by event_id having count(*) > 1) d';
  return {
    sealed: await count('select count(*) as n from audit.chain_link'),
    lost: (await count(lost, tally.committed)) + (await count(unlinked)),
    // A row that was rolled back and yet linked is one too many as well. Of commits under way at the restart nobody was
    // told how they ended: what is stored of them has to be linked like everything else.
    doubled: (await count(twice)) + (await count(undone, tally.undone)),
  };
}
