/** Downtime shows: what was due while nobody ran is noted, and told as missed until a run catches up. */
import { beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { queryRows } from '../../src/db/query.ts';
import { dueBetween, noteDueRuns } from '../../src/jobs/due.ts';
import { changeSchedule, finishRun, startRun } from '../../src/jobs/store.ts';
import { isoOf, toInstant } from '../../src/time/clock.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();
const HOUR = 3_600_000;
const now = toInstant(Math.floor(Date.now() / HOUR) * HOUR);
const at = (hours: number) => toInstant(now + hours * HOUR);
beforeAll(() =>
  db.engine.withClient((client) => {
    const schedule = {
      job: 'hourly',
      cron: '0 * * * *',
      timeZone: 'UTC',
      paused: false,
      changedBy: 't',
      reason: 'test',
    };
    return changeSchedule(client, schedule, at(-4));
  }),
);

const note = (until: number) => db.engine.withClient((client) => noteDueRuns(client, ['hourly'], at(until)));
const states = async () => {
  const shape = z.object({ due: z.string(), state: z.string(), by: z.boolean() });
  const sql = `select to_char(due_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as due, state,
                      caught_up_by is not null as by from facts.due_run order by due_at`;
  const rows = await db.report.withClient((client) => queryRows(client, shape, sql));
  return rows.map(({ due, state, by }) => [(Date.parse(due) - now) / HOUR, state, by]);
};
const run = (due: number, started: number) =>
  db.engine.withClient(async (client) => {
    const start = { job: 'hourly', queueJobId: crypto.randomUUID(), attempt: 1, dueAt: isoOf(at(due)) };
    const id = await startRun(client, { ...start, startedAt: at(started) });
    await finishRun(client, id, { finishedAt: at(started), outcome: 'done', summary: '', counts: {}, errorCode: null });
  });

test('every instant counts once, from when the schedule came into force', async () => {
  await note(-2);
  expect(await states()).toEqual([
    [-3, 'missed', false],
    [-2, 'missed', false],
  ]);
  await note(-2);
  await db.engine.withClient((client) => noteDueRuns(client, ['another'], at(0)));
  expect(await states()).toHaveLength(2);
});

test('a run of its own, a later one that catches up, and none yet are told apart', async () => {
  await note(0);
  await run(-2, -2);
  expect(await states()).toEqual([
    [-3, 'caught up', true],
    [-2, 'run', false],
    [-1, 'missed', false],
    [0, 'missed', false],
  ]);
});

test('what was due never changes, and the future is not noted', async () => {
  await expect(db.as('auditkeep_owner').withClient((client) => client.query('delete from ops.due'))).rejects.toThrow();
  const future = isoOf(at(30));
  await db.engine.withClient((client) =>
    client.query('select ops.note_due($1, 1, array[$2::timestamptz])', ['hourly', future]),
  );
  expect(await states()).toHaveLength(4);
});

test('a year of a schedule by the minute takes several passes', () => {
  const due = dueBetween({ cron: '* * * * *', timeZone: 'UTC' }, at(-9000), at(0));
  expect([due.length, isoOf(due[0] ?? at(0))]).toEqual([4000, isoOf(toInstant(at(-9000) + 60_000))]);
});
