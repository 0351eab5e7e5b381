/** Import of generated events, the whole path: file, parse, encode, duplicate check, COPY, audit event. */
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { copyIn } from '../src/db/copy.ts';
import { type Database, openDatabase } from '../src/db/database.ts';
import { encodeEvents, openSealers } from '../src/import/event-copy.ts';
import { generateEvents } from '../src/import/generate.ts';
import { type ImportContext, importNdjson } from '../src/import/import.ts';
import { parseRecord } from '../src/import/json-text.ts';
import { parseNdjsonEvent } from '../src/import/ndjson.ts';
import { COPY_EVENTS } from '../src/import/store.ts';
import { openKeyring } from '../src/keys/open-keyring.ts';
import { migrate } from '../src/schema/migrate.ts';
import { systemClock } from '../src/time/clock.ts';
import { startTestServer } from '../test/support/server.ts';
import type { Bench, BenchOptions, BenchResult } from './bench.ts';

const EVENTS = 100_000;
const BAR_EVENTS_PER_SECOND = 20_000;
/** PostgreSQL's own defaults, which the embedded server keeps too; only the tests' server turns them off. */
const DURABLE = ['fsync=on', 'synchronous_commit=on', 'full_page_writes=on', 'shared_buffers=128MB'];

export const importBench: Bench = { area: 'import', run: benchImport };

async function benchImport({ scale, say }: BenchOptions): Promise<readonly BenchResult[]> {
  const count = Math.round(EVENTS * scale);
  const folder = await mkdtemp(join(tmpdir(), 'auditkeep-bench-'));
  const server = await startTestServer(DURABLE);
  const admin = openDatabase({ url: server.url('postgres'), applicationName: 'bench' });
  const engine = openDatabase({ url: engineUrl(server.url('postgres')), applicationName: 'bench' });
  try {
    await migrate(admin);
    const ctx = context(engine, folder);
    const file = join(folder, 'events.ndjson');
    const options = { seed: 1, count, years: 5, now: ctx.clock.now() };
    await writeLines(file, generateEvents(options));
    say(`${count} events over five years in ${file}`);
    // Partitions, key and JIT are there before the clock starts, as they are in a running installation.
    const warmUp = join(folder, 'warm-up.ndjson');
    await writeLines(warmUp, generateEvents({ ...options, seed: 2, count: Math.round(count / 10) }));
    await importNdjson(ctx, { paths: [warmUp] });
    const first = await timed(() => importNdjson(ctx, { paths: [file] }));
    if (first.result.imported !== count) throw new Error(`imported ${first.result.imported} of ${count}`);
    const again = await timed(() => importNdjson(ctx, { paths: [file] }));
    if (again.result.duplicates !== count) throw new Error(`found ${again.result.duplicates} of ${count} again`);
    const peak = peakMb();
    const bare = await bareCopy(ctx, { ...options, seed: 3 });
    const rate = count / first.seconds;
    return [
      {
        name: 'events imported a second',
        value: Math.round(rate),
        bar: BAR_EVENTS_PER_SECOND,
        ok: rate >= BAR_EVENTS_PER_SECOND,
        detail: `${count} events in ${first.seconds.toFixed(2)} s (${first.cpuSeconds.toFixed(2)} s of it CPU of this process), fsync and synchronous_commit on, peak RSS ${peak} MB`,
      },
      info('events known again a second', count / again.seconds, 'the same file a second time: nothing stored'),
      info(
        'share of a bare COPY',
        Math.round((100 * bare) / first.seconds) / 100,
        'one COPY of lines at hand into the same table, same run',
      ),
    ];
  } finally {
    await engine.end();
    await admin.end();
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

/** Seconds that one COPY of the encoded lines takes: what the database costs without us. */
async function bareCopy(ctx: ImportContext, options: Parameters<typeof generateEvents>[0]): Promise<number> {
  const rows = [...generateEvents(options)].map((line) => parseNdjsonEvent(parseRecord(line), options.now));
  const bytes = encodeEvents(rows, await openSealers(ctx.keys, rows));
  return (await timed(() => ctx.db.withClient((client) => copyIn(client, COPY_EVENTS, [bytes])))).seconds;
}

function info(name: string, value: number, detail: string): BenchResult {
  return { name, value: value > 10 ? Math.round(value) : value, bar: null, ok: true, detail };
}

function context(db: Database, home: string): ImportContext {
  const actor = { kind: 'service', name: 'bench' } as const;
  return {
    db,
    clock: systemClock,
    log: pino({ level: 'silent' }),
    keys: openKeyring({ db, clock: systemClock, home, actor }),
    actor,
    progress: { start: () => undefined, update: () => undefined, stop: () => undefined },
  };
}

function engineUrl(url: string): string {
  const result = new URL(url);
  result.username = 'auditkeep_engine';
  return result.href;
}

async function writeLines(path: string, lines: Iterable<string>): Promise<void> {
  const file = createWriteStream(path);
  for (const line of lines) if (!file.write(`${line}\n`)) await once(file, 'drain');
  file.end();
  await once(file, 'close');
}

interface Timed<T> {
  readonly seconds: number;
  /** Of this process; the server's is its own. */
  readonly cpuSeconds: number;
  readonly result: T;
}

async function timed<T>(fn: () => Promise<T>): Promise<Timed<T>> {
  const start = performance.now();
  const used = process.cpuUsage();
  const result = await fn();
  const { user, system } = process.cpuUsage(used);
  return { seconds: (performance.now() - start) / 1000, cpuSeconds: (user + system) / 1e6, result };
}

function peakMb(): number {
  return Math.round(process.resourceUsage().maxRSS / 1024);
}
