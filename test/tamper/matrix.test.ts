/**
 * The tamper matrix: each way to change one event at each place where verification has an edge. Found, at the exact row,
 * under the right class, and nothing else; the table is printed at the end.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { FindingClass } from '../../src/audit/finding.ts';
import { sealChain } from '../../src/audit/seal.ts';
import { signCheckpoint } from '../../src/audit/sign.ts';
import { verifyChain } from '../../src/audit/verify.ts';
import { addEvents, column } from '../audit/event-fixtures.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { tamper } from './tampering.ts';

/** Two tiles and a rest; a checkpoint after 300; the unit of 2002-01 is the seqs 520 to 529, its neighbour follows. */
const TILE = 256;
const CHECKPOINT = 300;
const FIRST_RUN = 520;
const UNIT = 10;
const SIZE = FIRST_RUN + 2 * UNIT;
const POSITIONS: Readonly<Record<string, number>> = {
  first: 0,
  'before tile edge': TILE - 1,
  'after tile edge': TILE,
  'before checkpoint edge': CHECKPOINT - 1,
  'after checkpoint edge': CHECKPOINT,
  'first of unit': FIRST_RUN,
  'last of unit': FIRST_RUN + UNIT - 1,
  'first of next partition': FIRST_RUN + UNIT,
  last: SIZE - 1,
};

const db = useDatabase();
let ctx: TestContext;
let ids: string[];
const rows: string[] = [];

beforeAll(async () => {
  ctx = await testContext(db);
  await db.engine.withClient((client) =>
    client.query(`select retention.create_partition('audit_log', '2002-01-01 00:00:00+00', '2002-02-01 00:00:00+00');
                  select retention.create_partition('audit_log', '2002-02-01 00:00:00+00', '2002-03-01 00:00:00+00')`),
  );
  const before = (await column(db.engine, 'select id from audit.audit_log_all')).length;
  await addEvents(db.engine, CHECKPOINT - before);
  await sealChain(ctx);
  await signCheckpoint(ctx);
  await addEvents(db.engine, FIRST_RUN - CHECKPOINT, 1000);
  await sealChain(ctx);
  // The last row of one partition and the first of the next are neighbours in time and in the chain.
  await addEvents(db.engine, UNIT, 2000, "timestamptz '2002-01-31 23:59:57.990+00'");
  await sealChain(ctx);
  await addEvents(db.engine, UNIT, 3000, "timestamptz '2002-01-31 23:59:57+00'");
  await sealChain(ctx);
  await signCheckpoint(ctx);
  ids = (await column(db.admin, 'select event_id::text from audit.chain_link order by seq')) as string[];
  await tamper(db.admin, 'create schema saved', 'create table saved.link as table audit.chain_link');
});

afterAll(() => {
  process.stdout.write(
    `\n${['class                  place                      found  row  class', ...rows].join('\n')}\n`,
  );
});

it('has its edges where the matrix says', async () => {
  expect(ids).toHaveLength(SIZE);
  const places = await column(
    db.admin,
    `select e.tableoid::regclass::text from audit.chain_link l join audit.audit_log e on e.id = l.event_id
      where l.seq in (${FIRST_RUN}, ${FIRST_RUN + UNIT - 1}, ${FIRST_RUN + UNIT}) order by l.seq`,
  );
  expect(places).toEqual(['audit.audit_log_y2002m01', 'audit.audit_log_y2002m01', 'audit.audit_log_y2002m02']);
  expect((await verifyChain(ctx)).findings).toEqual([]);
});

interface Attack {
  readonly expected: (seq: number) => FindingClass;
  /** Statements that tamper with the event of this seq. */
  readonly on: (seq: number, id: string) => readonly string[];
}

const always = (kind: FindingClass) => () => kind;
const atEnds = (seq: number): FindingClass => (seq === 0 ? 'head-cut' : seq === SIZE - 1 ? 'truncated' : 'deleted');
const update = (set: string) => (_: number, id: string) => [`update audit.audit_log set ${set} where id = '${id}'`];
const link = (set: string) => (seq: number) => [`update audit.chain_link set ${set} where seq = ${seq}`];

const ATTACKS: Readonly<Record<string, Attack>> = {
  'bare column': { expected: always('modified'), on: update("event_action = 'HARMLESS'") },
  actor: { expected: always('commitment-broken'), on: update("user_email = 'x@example.org'") },
  payload: { expected: always('commitment-broken'), on: update(`new_values = '{"n": 1.0}'`) },
  'group gone': { expected: always('erased-without-record'), on: update('user_email = null, actor_salt = null') },
  'own hashes': {
    expected: always('rehashed'),
    on: update("event_hash = repeat('a', 64), previous_event_hash = repeat('b', 64)"),
  },
  'chain hash': { expected: always('rehashed'), on: link("chain_hash = sha256('x')") },
  'row gone': { expected: atEnds, on: (_, id) => [`delete from audit.audit_log where id = '${id}'`] },
  'row twice': {
    expected: always('doubled'),
    on: (_, id) => [`insert into audit.audit_log_late select * from audit.audit_log where id = '${id}'`],
  },
};

describe.each(Object.entries(ATTACKS))('%s', (attack, { expected, on }) => {
  it.each(Object.entries(POSITIONS))('at %s', async (place, seq) => {
    const id = ids[seq] ?? '';
    await tamper(
      db.admin,
      `create table saved.event as select * from audit.audit_log where id = '${id}'`,
      ...on(seq, id),
    );
    const { findings } = await verifyChain(ctx);
    await tamper(
      db.admin,
      `delete from audit.audit_log where id = '${id}'`,
      `delete from audit.audit_log_late where id = '${id}'`,
      'insert into audit.audit_log select * from saved.event',
      'drop table saved.event',
      `delete from audit.chain_link where seq = ${seq}`,
      `insert into audit.chain_link select * from saved.link where seq = ${seq}`,
    );
    const [found, ...more] = findings;
    const kind = expected(seq);
    const row = found?.seq === seq && found.eventId === id;
    const mark = (ok: boolean) => (ok ? 'yes' : 'NO');
    rows.push(
      `${kind.padEnd(22)} ${place.padEnd(26)} ${mark(found !== undefined).padEnd(6)} ${mark(row).padEnd(4)} ${mark(found?.class === kind)}  (${attack})`,
    );
    expect(findings).toMatchObject([{ class: kind, seq, eventId: id }]);
    expect(more).toEqual([]);
  });
});
