/**
 * Full verification beside its peers on the same rows: a bare COPY ... BINARY of the same cast list over one connection
 * into nothing, read by the same code; an object a row; SQL with lag() over the links alone. Rounds alternate, medians count.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { z } from 'zod';
import { allEventsSource } from '../../src/audit/verify/verify-store.ts';
import { copyOut } from '../../src/db/copy.ts';
import type { Database } from '../../src/db/database.ts';
import { streamRows } from '../../src/db/stream.ts';
import type { BenchOptions, BenchResult } from '../bench.ts';
import { atLeast, atMost, info, median, timed } from '../results.ts';

const ROUNDS = 3;

const outcomeShape = z.object({
  seconds: z.number(),
  checked: z.number(),
  findings: z.array(z.string()),
  rssMb: z.number(),
  cpuSeconds: z.number(),
});

export async function benchFull(
  db: Database,
  { url, home }: { readonly url: string; readonly home: string },
  { say }: BenchOptions,
): Promise<BenchResult[]> {
  await bareCopy(db);
  const bare: number[] = [];
  const ours: z.infer<typeof outcomeShape>[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    bare.push((await timed(() => bareCopy(db))).seconds);
    ours.push(await verifyInProcess(url, home));
    say(`full ${ours.at(-1)?.seconds.toFixed(2)} s, bare ${bare.at(-1)?.toFixed(2)} s`);
  }
  const objects = await timed(() => objectPerRow(db));
  const sql = await timed(() => sqlOnly(db));
  const [seconds, bareSeconds] = [median(ours.map((run) => run.seconds)), median(bare)];
  const cpu = median(ours.map((run) => run.cpuSeconds));
  const detail = `${ours[0]?.checked} events in ${seconds.toFixed(2)} s (${cpu.toFixed(2)} s CPU of Node), bare COPY ${bareSeconds.toFixed(2)} s`;
  return [
    atMost('full verification by bare COPY', seconds / bareSeconds, 1.4, detail),
    atLeast('object per row by full verification', objects.seconds / seconds, 3, `${objects.seconds.toFixed(2)} s`),
    atMost('peak RSS of full verification, MB', Math.max(...ours.map((run) => run.rssMb)), 300, 'a process of its own'),
    info('SQL with lag() by full verification', sql.seconds / seconds, 'links only: it looks at no event'),
  ];
}

async function verifyInProcess(url: string, home: string): Promise<z.infer<typeof outcomeShape>> {
  const program = fileURLToPath(new URL('./full-process.ts', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [program, url, home]);
  const outcome = outcomeShape.parse(JSON.parse(stdout));
  if (outcome.findings.length > 0) throw new Error(`findings in an untouched chain: ${outcome.findings.join(', ')}`);
  return outcome;
}

async function bareCopy(db: Database): Promise<number> {
  return db.withClient(async (client) => {
    let bytes = 0;
    for await (const chunk of copyOut(client, allEventsSource.statement)) bytes += chunk.length;
    return bytes;
  });
}

/** The usual way: a cursor, an object a row, JSON, a hash object a row; and the same for the links. */
async function objectPerRow(db: Database): Promise<number> {
  return db.withClient(async (client) => {
    let rows = 0;
    for (const table of ['audit.audit_log', 'audit.chain_link']) {
      for await (const batch of streamRows(client, { shape: z.any(), text: `select * from ${table}` })) {
        for (const row of batch) createHash('sha256').update(jsonOf(row)).digest();
        rows += batch.length;
      }
    }
    return rows;
  });
}

function jsonOf(row: unknown): string {
  return JSON.stringify(row, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value));
}

async function sqlOnly(db: Database): Promise<void> {
  await db.withClient((client) =>
    client.query(`
      select count(*) from (
        select chain_hash, sha256('\\x02'::bytea || coalesce(lag(chain_hash) over (order by seq), decode(repeat('00', 32), 'hex'))
                                  || int8send(seq) || leaf) as computed
          from audit.chain_link) l
       where chain_hash <> computed`),
  );
}
