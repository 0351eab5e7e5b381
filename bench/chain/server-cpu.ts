/** CPU time of a PostgreSQL server on this machine, from /proc: steadier than seconds where others use the cores too. */
import { readdir, readFile } from 'node:fs/promises';
import { z } from 'zod';
import type { Database } from '../../src/db/database.ts';
import { queryOne } from '../../src/db/query.ts';

/** What times of /proc are in: sysconf(_SC_CLK_TCK), 100 on every Linux of today. */
const TICKS_A_SECOND = 100;
/** Fields of /proc/PID/stat after the name (proc(5)): the parent; own times; times of children that have ended. */
const [PARENT, OWN, CHILDREN] = [1, [11, 12], [13, 14]] as const;

/** Seconds that all of the server's processes have used so far, ended ones included; null where there is no /proc. */
export async function serverCpu(admin: Database): Promise<number | null> {
  const { pid } = await admin.withClient((client) =>
    queryOne(client, z.object({ pid: z.number() }), 'select pg_backend_pid() as pid'),
  );
  const backend = await readStat(pid);
  if (backend === null) return null;
  const postmaster = backend[PARENT] ?? 0;
  let ticks = 0;
  for (const name of await readdir('/proc')) {
    const stat = /^\d+$/.test(name) ? await readStat(Number(name)) : null;
    if (stat === null) continue;
    if (Number(name) === postmaster) ticks += sumOf(stat, [...OWN, ...CHILDREN]);
    else if (stat[PARENT] === postmaster) ticks += sumOf(stat, OWN);
  }
  return ticks / TICKS_A_SECOND;
}

/** The numbers after the name; null for a process that is gone. */
async function readStat(pid: number): Promise<number[] | null> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
  return text === null
    ? null
    : text
        .slice(text.lastIndexOf(')') + 2)
        .split(' ')
        .map(Number);
}

function sumOf(stat: readonly number[], fields: readonly number[]): number {
  return fields.reduce((sum, field) => sum + (stat[field] ?? 0), 0);
}
