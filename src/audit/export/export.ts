/**
 * Bundles: a range of the chain with everything that a stranger needs to check it offline, laid out as
 * docs/spec/tlog-bundle-v1.md says. Memory stays flat; the same range under the same checkpoint gives the same bytes.
 */
import { canonicalJson } from '../../canonical-json.ts';
import type { Context } from '../../context.ts';
import { withSessionLock } from '../../db/advisory-lock.ts';
import type { SqlClient } from '../../db/database.ts';
import { transact } from '../../db/transaction.ts';
import { AuditkeepError } from '../../errors.ts';
import { readTuples } from '../copy/tuples.ts';
import { readHead } from '../links/chain-store.ts';
import { leafSource } from '../links/link-source.ts';
import { readLogName } from '../publish/log-name.ts';
import { recordEvent } from '../record/record.ts';
import { incarnationOf, originOf, readLogPublicKey } from '../signer/signer-store.ts';
import { formatVerifierKey } from '../tree/checkpoint.ts';
import { appendLeaves, EMPTY_FRONTIER, rootOf } from '../tree/merkle.ts';
import { readEarlierNotes, readOrigins, readSignedHead, type SignedHead } from '../tree/signed-head.ts';
import { TILE_WIDTH, type Tile, TileCutter, tilePath } from '../tree/tile.ts';
import { lockChainTables } from '../verify/verify-store.ts';
import { certificateLines, manifestLines } from './export-destroyed.ts';
import { readSealedEvents, type SealedEvent } from './export-events.ts';
import { checkBundleFolder, makeBundleFolder, writeChunks, writePart, zipFolder } from './export-files.ts';
import { readmeText } from './export-readme.ts';
import { erasureLines, type RecordScope, recordLines } from './export-records.ts';

const WIDTH = BigInt(TILE_WIDTH);
/** Events in memory at a time: 16 tiles. */
const BATCH = 16n * WIDTH;

export interface ExportInput {
  /** A folder that does not exist yet, or an empty one. */
  readonly out: string;
  /** First seq; 0 unless given. */
  readonly from?: bigint;
  /** The seq after the last; the size of the last checkpoint unless given. */
  readonly to?: bigint;
  /** Adds salts and columns of both groups: personal data in clear. */
  readonly open?: boolean;
  /** Packs the folder into `<out>.zip` too. */
  readonly zip?: boolean;
}

export interface ExportResult {
  readonly folder: string;
  readonly zip: string | null;
  readonly origin: string;
  /** The size of the checkpoint that the bundle leads to. */
  readonly size: bigint;
  /** The range of entries, widened to whole tiles. */
  readonly from: bigint;
  readonly to: bigint;
  readonly entries: number;
  /** Links whose event is not there, and events that are not what was sealed: the verifier will name them. */
  readonly absent: number;
  readonly altered: number;
}

interface Scope {
  /** The log's name in its first incarnation. */
  readonly name: string;
  readonly incarnation: number;
  readonly origin: string;
  readonly head: SignedHead;
  readonly from: bigint;
  readonly to: bigint;
  readonly open: boolean;
}

/**
 * Writes a bundle. Recorded as an audit event before anything is read. bundle.json is written last: a folder without it
 * is not a bundle.
 * @throws CHAIN_UNSIGNED without a checkpoint, CHAIN_REWRITTEN when the chain does not lead to it, INPUT_INVALID,
 * INPUT_FILE, CHECKPOINT_FORMAT, CHAIN_SIGNER_STORE
 */
export async function exportChain(
  ctx: Pick<Context, 'db' | 'config' | 'clock' | 'actor' | 'progress' | 'log'>,
  input: ExportInput,
): Promise<ExportResult> {
  await makeBundleFolder(input.out);
  const vkey = await readLogPublicKey(ctx.config.home);
  const result = await ctx.db.withClient((client) =>
    withSessionLock(client, 'structure', 'shared', async () => {
      await transact(client, async () => recordExport(ctx, client, await readScope(ctx, client, input)));
      return transact(
        client,
        async () => {
          await lockChainTables(client);
          const scope = await readScope(ctx, client, input);
          const name = scope.origin;
          const key = vkey === null ? null : formatVerifierKey({ name, publicKey: vkey });
          return writeBundle(ctx, client, { scope, key, out: input.out });
        },
        'repeatable read, read only',
      );
    }),
  );
  const zip = input.zip === true ? `${input.out.replace(/\/+$/, '')}.zip` : null;
  if (zip !== null) await zipFolder(input.out, zip);
  ctx.log.info({ entries: result.entries, size: String(result.size) }, 'chain.exported');
  return { ...result, zip };
}

/**
 * What exportChain would write, after its checks; nothing is recorded, since nothing leaves.
 * @throws CHAIN_UNSIGNED, INPUT_INVALID, INPUT_FILE
 */
export async function planExport(
  ctx: Pick<Context, 'db' | 'config'>,
  input: ExportInput,
): Promise<Pick<ExportResult, 'folder' | 'origin' | 'size' | 'from' | 'to'>> {
  await checkBundleFolder(input.out);
  const { origin, head, from, to } = await ctx.db.withClient((client) => readScope(ctx, client, input));
  return { folder: input.out, origin, size: head.size, from, to };
}

async function recordExport(
  ctx: Pick<Context, 'clock' | 'actor'>,
  client: SqlClient,
  { from, to, head, open }: Scope,
): Promise<void> {
  await recordEvent(ctx, client, {
    type: 'chain.exported',
    category: 'data_access',
    action: 'EXPORT',
    resourceType: 'audit_chain',
    details: { from: Number(from), to: Number(to), size: Number(head.size), opened: open },
  });
}

async function readScope(ctx: Pick<Context, 'config'>, client: SqlClient, input: ExportInput): Promise<Scope> {
  const name = ctx.config.origin;
  const { origin, incarnation } = await readLogName(ctx.config, await readHead(client));
  const head = await readSignedHead(client, origin);
  if (head === null) {
    throw new AuditkeepError('CHAIN_UNSIGNED', {
      message: 'the chain has no signed checkpoint that a bundle could lead to',
      hint: 'run auditkeep chain seal and auditkeep chain checkpoint',
    });
  }
  const [from, to] = [input.from ?? 0n, input.to ?? head.size];
  if (from < 0n || from >= to || to > head.size) {
    throw new AuditkeepError('INPUT_INVALID', {
      message: `there are no signed events from seq ${from} up to, without, ${to}`,
      hint: `name a range within 0 and ${head.size}, the size of the last checkpoint`,
    });
  }
  const wide = { from: from - (from % WIDTH), to: smaller(to + ((WIDTH - (to % WIDTH)) % WIDTH), head.size) };
  if (input.open === true && (wide.from !== from || wide.to !== to)) {
    throw new AuditkeepError('INPUT_INVALID', {
      message: 'a bundle holds whole tiles of 256 events, so --open would show more events than were asked for',
      hint: `ask for --from ${wide.from} --to ${wide.to}, or prove single events with auditkeep chain prove --open`,
    });
  }
  return { name, incarnation, origin, head, ...wide, open: input.open === true };
}

interface Target {
  readonly scope: Scope;
  readonly key: string | null;
  readonly out: string;
}

async function writeBundle(
  ctx: Pick<Context, 'progress'>,
  client: SqlClient,
  { scope, key, out }: Target,
): Promise<Omit<ExportResult, 'zip'>> {
  const { origin, head, from, to, open } = scope;
  await writeTree(ctx, client, head, out);
  const counts = { entries: 0, absent: 0, altered: 0 };
  await writeEntries(ctx, client, { scope, out, counts });
  const about = { from, to, size: head.size };
  const files: Record<string, string> = {
    'erasures.ndjson': await writeChunks(out, 'erasures.ndjson', erasureLines(client, about)),
    'records.ndjson': await writeChunks(out, 'records.ndjson', recordLines(client, about, scope.incarnation)),
    'checkpoints.ndjson': await writeChunks(out, 'checkpoints.ndjson', earlierNotes(client, scope)),
    checkpoint: await writeChunks(out, 'checkpoint', [head.note]),
    'README.txt': await writeChunks(out, 'README.txt', [readmeText({ origin, size: head.size, from, to, open })]),
  };
  if (key !== null) files['log.vkey'] = await writeChunks(out, 'log.vkey', [`${key}\n`]);
  await addDestroyed(client, { about, out, files });
  const manifest = {
    format: 'auditkeep-bundle/v1',
    origin,
    size: String(head.size),
    from: String(from),
    to: String(to),
    open,
    files,
  };
  await writePart(out, 'bundle.json', canonicalJson(manifest));
  return { folder: out, origin, size: head.size, from, to, ...counts };
}

/** Lists that most bundles need not have: they are parts only where they hold a line. */
async function addDestroyed(
  client: SqlClient,
  { about, out, files }: { readonly about: RecordScope; readonly out: string; readonly files: Record<string, string> },
): Promise<void> {
  for (const [name, list] of [
    ['certificates.ndjson', certificateLines],
    ['manifests.ndjson', manifestLines],
  ] as const) {
    const lines = list(client, about);
    const first = await lines.next();
    if (first.done === true) continue;
    files[name] = await writeChunks(out, name, startingWith(first.value, lines));
  }
}

async function* startingWith(first: string, rest: AsyncIterable<string>): AsyncGenerator<string, void, undefined> {
  yield first;
  yield* rest;
}

/** Every hash of the tree up to the checkpoint: 32 bytes an event, which also pin a later rewrite to a row. */
async function writeTree(
  ctx: Pick<Context, 'progress'>,
  client: SqlClient,
  head: SignedHead,
  out: string,
): Promise<void> {
  const cutter = new TileCutter();
  let frontier = EMPTY_FRONTIER;
  ctx.progress.start('tree', Number(head.size));
  for await (const leaves of readTuples(client, leafSource(0n, head.size))) {
    frontier = appendLeaves(frontier, leaves);
    // Leaves are views of the slab that they came in.
    for (const leaf of leaves) for (const tile of cutter.push(Buffer.from(leaf))) await writeTile(out, tile);
    ctx.progress.update(Number(frontier.size));
  }
  for (const tile of cutter.finish()) await writeTile(out, tile);
  ctx.progress.stop();
  if (frontier.size === head.size && rootOf(frontier).equals(head.root)) return;
  throw new AuditkeepError('CHAIN_REWRITTEN', {
    message: `the chain does not lead to its signed checkpoint of ${head.size} links`,
    hint: 'run auditkeep chain verify: somebody changed the chain itself',
    details: { signed: String(head.size) },
  });
}

function writeTile(out: string, { level, index, hashes }: Tile): Promise<void> {
  return writePart(out, `tile/${level}/${tilePath(index, hashes.length)}`, Buffer.concat([...hashes]));
}

/** Writes entries, chain hashes and openings, tile by tile. */
async function writeEntries(
  ctx: Pick<Context, 'progress'>,
  client: SqlClient,
  into: { scope: Scope; out: string; counts: { entries: number; absent: number; altered: number } },
): Promise<void> {
  const { from, to, open } = into.scope;
  ctx.progress.start('entries', Number(to - from));
  for (let at = from; at < to; at += BATCH) {
    const events = await readSealedEvents(client, at, smaller(at + BATCH, to));
    for (let first = 0; first < events.length; first += TILE_WIDTH) {
      const tile = events.slice(first, first + TILE_WIDTH);
      const path = tilePath((at + BigInt(first)) / WIDTH, tile.length);
      await writePart(into.out, `tile/entries/${path}`, Buffer.concat(tile.flatMap(lengthAndEntry)));
      await writePart(into.out, `chain/${path}`, Buffer.concat(tile.map(({ link }) => link.chainHash)));
      if (open) await writePart(into.out, `openings/${path}`, Buffer.concat(tile.map(({ opening }) => opening)));
    }
    into.counts.entries += events.length;
    into.counts.absent += events.filter(({ entry }) => entry === null).length;
    into.counts.altered += events.filter(({ entry, fits }) => entry !== null && !fits).length;
    ctx.progress.update(into.counts.entries);
  }
  ctx.progress.stop();
}

/** C2SP entry bundle: uint16 length and entry. No entry of ours is empty, so length 0 is an event that is not there. */
function lengthAndEntry({ entry }: SealedEvent): Buffer[] {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(entry?.length ?? 0);
  return entry === null ? [length] : [length, entry];
}

/** Of every origin that the log had, the oldest first, as far as the database keeps them. */
async function* earlierNotes(
  client: SqlClient,
  { name, incarnation, head }: Scope,
): AsyncGenerator<string, void, undefined> {
  // Those that are there: what the signer says of its number may be any number.
  const numbers = (await readOrigins(client)).flatMap((origin) => incarnationOf(name, origin) ?? []);
  for (const at of numbers.filter((number) => number <= incarnation).sort((a, b) => a - b)) {
    const below = at === incarnation ? head.size : null;
    for await (const notes of readEarlierNotes(client, originOf(name, at), below)) {
      for (const note of notes) yield `${canonicalJson({ note })}\n`;
    }
  }
}

function smaller(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}
