/** The state machine is one: table, code and README say the same, and nothing else can happen to a unit. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { queryRows } from '../../src/db/query.ts';
import { UNIT_EDGES, UNIT_STATES } from '../../src/retention/edges.ts';
import { useDatabase } from '../support/database.ts';
import { failureOf } from './rows.ts';

const db = useDatabase();
const shape = z.object({
  from: z.string(),
  to: z.string(),
  blockedByHold: z.boolean(),
  disposal: z.boolean(),
  guard: z.string(),
  who: z.string(),
  does: z.string(),
  crash: z.string(),
});

const readEdges = () =>
  db.engine.withClient((client) =>
    queryRows(
      client,
      shape,
      `select from_state as from, to_state as to, blocked_by_hold as "blockedByHold", disposal, guard, who, does, crash
         from retention.unit_edge order by 1, 2`,
    ),
  );
const isFailure = (edge: { from: string; to: string }) => edge.from === 'failed' || edge.to === 'failed';
const key = (edge: { from: string; to: string }) => `${edge.from} -> ${edge.to}`;
const byKey = (a: { from: string; to: string }, b: { from: string; to: string }) => (key(a) < key(b) ? -1 : 1);

test('the code knows the edges of the table', async () => {
  const edges = (await readEdges()).filter((edge) => !isFailure(edge));
  const stored = edges.map(({ from, to, blockedByHold, disposal }) => ({ from, to, blockedByHold, disposal }));
  expect(stored.sort(byKey)).toEqual([...UNIT_EDGES].sort(byKey));
});

test('every state that something leads out of may fail, and goes back there, but for a copy', async () => {
  // Destruction takes along the copies that are restored: one that had failed would outlive it.
  const never: readonly string[] = ['new', 'restored'];
  const starts = [...new Set(UNIT_EDGES.map((edge) => edge.from))].filter((state) => !never.includes(state)).sort();
  const failures = (await readEdges()).filter(isFailure);
  expect(failures.filter((edge) => edge.to === 'failed').map((edge) => edge.from)).toEqual(starts);
  expect(failures.filter((edge) => edge.from === 'failed').map((edge) => edge.to)).toEqual(starts);
});

test('the README has every edge with its words', async () => {
  const readme = readFileSync('src/retention/README.md', 'utf8');
  const cells = readme
    .split('\n')
    .filter((line) => /^\| [a-z_]+ -> /.test(line))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
  const stopped = (edge: z.infer<typeof shape>) =>
    edge.disposal ? 'hold, no approval' : edge.blockedByHold ? 'hold' : '';
  const expected = (await readEdges())
    .filter((edge) => !isFailure(edge))
    .map((edge) => [key(edge), stopped(edge), edge.who, edge.guard, edge.does, edge.crash]);
  expect([...cells].sort()).toEqual([...expected].sort());
});

/** Takes a unit to `from` past the trigger and then one step with it; always rolled back. */
async function step(from: string, to: string, more = ''): Promise<unknown> {
  const failed = (state: string, other: string) => (state === 'failed' ? `'${other}'` : 'null');
  const one = `where relation_name = (select min(relation_name) from retention.unit)`;
  return await failureOf(
    db.admin,
    'alter table retention.unit disable trigger ak_unit_change',
    `update retention.unit set state = '${from}', failed_from = ${failed(from, to)}, plan_id = gen_random_uuid() ${more} ${one}`,
    'alter table retention.unit enable always trigger ak_unit_change',
    `update retention.unit set state = '${to}', failed_from = ${failed(to, from)} ${one}`,
  );
}

test('of all steps between two states exactly the edges pass, and those to destruction need an approval', async () => {
  const edges = new Map((await readEdges()).map((edge) => [key(edge), edge]));
  for (const from of UNIT_STATES) {
    for (const to of UNIT_STATES) {
      if (from === to) continue;
      const edge = edges.get(key({ from, to }));
      const failure = await step(from, to);
      const expected = edge === undefined ? 'AK104' : edge.disposal ? 'AK109' : null;
      const code = failure === null ? null : z.object({ code: z.string() }).parse(failure).code;
      expect([key({ from, to }), code]).toEqual([key({ from, to }), expected]);
    }
  }
});

test('a hold stops the edges that it says it stops, and no other', async () => {
  for (const edge of await readEdges()) {
    if (edge.from === 'new') continue;
    const failure = await step(edge.from, edge.to, ', held = true');
    const code = failure === null ? null : z.object({ code: z.string() }).parse(failure).code;
    expect([key(edge), code]).toEqual([key(edge), edge.blockedByHold ? 'AK105' : null]);
  }
});

test.each(UNIT_STATES)('a unit begins %s only where the table says so', async (state) => {
  const generation = state === 'hot' ? 1 : 2;
  const failure = await failureOf(
    db.admin,
    `insert into retention.unit (table_name, lower_bound, upper_bound, generation, schema_name, relation_name, state, failed_from, plan_id)
     values ('audit_log', '2000-01-01Z', '2000-02-01Z', ${generation}, 'audit', 'x', '${state}',
             ${state === 'failed' ? `'hot'` : 'null'}, gen_random_uuid())`,
  );
  const births = UNIT_EDGES.filter((edge) => edge.from === 'new').map((edge) => edge.to);
  if (births.includes(state)) expect(failure).toBeNull();
  else expect(failure).toMatchObject({ code: 'AK104' });
});

test.each([
  ['a first generation that begins in the archive', `'archived', 1`],
  ['a second generation that begins hot', `'hot', 2`],
])('%s is refused', async (_what, values) => {
  const failure = await failureOf(
    db.admin,
    `insert into retention.unit (table_name, lower_bound, upper_bound, schema_name, relation_name, state, generation)
     values ('audit_log', '2000-01-01Z', '2000-02-01Z', 'audit', 'x', ${values})`,
  );
  expect(failure).toMatchObject({ code: 'AK104' });
});

test('no session passes a trigger of the units', async () => {
  const text = `select tgname as name, tgenabled::text as fires from pg_trigger
                 where tgrelid = 'retention.unit'::regclass and not tgisinternal`;
  const triggers = await db.engine.withClient((client) =>
    queryRows(client, z.object({ name: z.string(), fires: z.string() }), text),
  );
  expect(triggers.length).toBeGreaterThanOrEqual(4);
  expect(triggers.filter(({ fires }) => fires !== 'A')).toEqual([]);
});
