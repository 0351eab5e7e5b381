/**
 * The tamper matrix: each way to change recorded history at each place where verification has an edge, hot, archived and
 * late. Found, at the exact row, under the right class, and nothing else. Attacks that leave each other alone are made
 * together, on every second place, so that a run has to name each of them and no more. The table is printed at the end.
 */
import { generateKeyPairSync, sign } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Finding, FindingClass } from '../../src/audit/links/finding.ts';
import { signCheckpoint } from '../../src/audit/publish/sign.ts';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { openLogKey } from '../../src/audit/signer/signer-store.ts';
import { appendLeaves, EMPTY_FRONTIER, encodeFrontier } from '../../src/audit/tree/merkle.ts';
import { verifyChain } from '../../src/audit/verify/verify.ts';
import { addEvents, column } from '../audit/event-fixtures.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { tamper } from './tampering.ts';

/** Two tiles and a rest, a checkpoint after 300; then a unit that is archived, its hot neighbour, late rows, a hot end. */
const TILE = 256;
const CHECKPOINT = 300;
const UNIT = 520;
const NEIGHBOUR = UNIT + 10;
const LATE = NEIGHBOUR + 10;
const END = LATE + 4;
const SIZE = END + 6;
const POSITIONS: Readonly<Record<string, number>> = {
  first: 0,
  'before tile edge': TILE - 1,
  'after tile edge': TILE,
  'before checkpoint edge': CHECKPOINT - 1,
  'after checkpoint edge': CHECKPOINT,
  'first of archived unit': UNIT,
  'last of archived unit': NEIGHBOUR - 1,
  'first of next partition': NEIGHBOUR,
  'first late': LATE,
  'last late': END - 1,
  last: SIZE - 1,
};
const PLACES = Object.entries(POSITIONS);

const db = useDatabase();
let ctx: TestContext;
let ids: string[];
let leaves: string[];
/** The columns of an event. */
let fields: string;
const table: string[] = [];

beforeAll(async () => {
  ctx = await testContext(db);
  await db.engine.withClient((client) =>
    client.query(`select retention.create_partition('audit_log', '2002-01-01 00:00:00+00', '2002-02-01 00:00:00+00');
                  select retention.create_partition('audit_log', '2002-02-01 00:00:00+00', '2002-03-01 00:00:00+00')`),
  );
  const before = (await column(db.engine, 'select id from audit.audit_log_all')).length;
  const add = async (n: number, first: number, at?: string) => {
    await addEvents(db.engine, n, first, at);
    await sealChain(ctx);
  };
  await add(CHECKPOINT - before, 0);
  await signCheckpoint(ctx);
  await add(UNIT - CHECKPOINT, 1000);
  // The last row of one partition and the first of the next are neighbours in time and in the chain.
  await add(10, 2000, "timestamptz '2002-01-31 23:59:57.990+00'");
  await add(10, 3000, "timestamptz '2002-01-31 23:59:57+00'");
  await add(4, 4000, "timestamptz '2001-05-01 00:00:00+00'");
  await add(6, 5000);
  await signCheckpoint(ctx);
  await db.admin.withClient((client) =>
    client.query(`alter table audit.audit_log detach partition audit.audit_log_y2002m01;
                  alter table audit.audit_log_archive attach partition audit.audit_log_y2002m01
                    for values from ('2002-01-01 00:00:00+00') to ('2002-02-01 00:00:00+00')`),
  );
  ids = (await column(db.admin, 'select event_id::text from audit.chain_link order by seq')) as string[];
  const place = 'select l.seq, e.tableoid::regclass::text as leaf, e.* from audit.chain_link l join';
  await tamper(
    db.admin,
    'create schema saved',
    'create table saved.link as table audit.chain_link',
    'create table saved.head as table audit.chain_head',
    'create table saved.checkpoint as table audit.checkpoint',
    `create table saved.event as ${['audit_log', 'audit_log_archive', 'audit_log_late']
      .map((name) => `${place} audit.${name} e on e.id = l.event_id`)
      .join(' union all ')}`,
  );
  leaves = (await column(db.admin, 'select leaf from saved.event order by seq')) as string[];
  [fields = ''] = (await column(
    db.admin,
    `select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute
      where attrelid = 'audit.audit_log'::regclass and attnum > 0 and not attisdropped`,
  )) as string[];
});

afterAll(() => {
  process.stdout.write(
    `\n${['class                  place                      found  row  class', ...table].join('\n')}\n`,
  );
});

/** Everything as it was signed. */
async function restore(): Promise<void> {
  const changed = [...new Set(leaves)];
  await tamper(
    db.admin,
    ...changed.flatMap((leaf) => [
      `delete from ${leaf}`,
      `insert into ${leaf} (${fields}) select ${fields} from saved.event where leaf = '${leaf}'`,
    ]),
    'truncate audit.chain_link, audit.chain_head, audit.cosignature, audit.checkpoint',
    'insert into audit.chain_link table saved.link',
    'insert into audit.chain_head table saved.head',
    'insert into audit.checkpoint table saved.checkpoint',
  );
}

interface Expected {
  readonly class: FindingClass;
  readonly seq: number | null;
  readonly eventId?: string | null;
  readonly partition?: string;
}

interface Place {
  readonly seq: number;
  readonly id: string;
  /** The leaf table of the event. */
  readonly leaf: string;
}

interface Attack {
  readonly on: (place: Place) => readonly string[];
  readonly expected: (place: Place) => readonly Expected[];
}

const placeOf = (seq: number): Place => ({ seq, id: ids[seq] ?? '', leaf: leaves[seq] ?? '' });
const itself =
  (kind: FindingClass) =>
  ({ seq, id }: Place) => [{ class: kind, seq, eventId: id }];
const update =
  (set: string) =>
  ({ leaf, id }: Place) => [`update ${leaf} set ${set} where id = '${id}'`];
const link =
  (set: string) =>
  ({ seq }: Place) => [`update audit.chain_link set ${set} where seq = ${seq}`];
const gone = ({ seq, id }: Place) =>
  [{ class: seq === 0 ? 'head-cut' : seq === SIZE - 1 ? 'truncated' : 'deleted', seq, eventId: id }] as const;
/** The id of an event put in beside another. */
const forgedId = (id: string) => `00000000${id.slice(8)}`;
const beside = (seq: number) => (seq === SIZE - 1 ? seq - 1 : seq + 1);
const LINKED = ['event_id', 'event_timestamp', 'txid', 'leaf', 'actor_commitment', 'payload_commitment'];
const swap = (a: number, b: number) =>
  `update audit.chain_link l set ${LINKED.map((name) => `${name} = o.${name}`).join(', ')}
     from saved.link o where (l.seq, o.seq) in ((${a}, ${b}), (${b}, ${a}))`;

const ATTACKS: Readonly<Record<string, Attack>> = {
  'bare column': { on: update("event_action = 'HARMLESS'"), expected: itself('modified') },
  'time by a microsecond': {
    on: ({ leaf, id, seq }) =>
      update(`event_timestamp = event_timestamp ${seq === NEIGHBOUR - 1 ? '-' : '+'} interval '1 us'`)({
        leaf,
        id,
        seq,
      }),
    expected: itself('modified'),
  },
  'linked leaf': { on: link("leaf = sha256('x')"), expected: itself('modified') },
  actor: { on: update("user_email = 'x@example.org'"), expected: itself('commitment-broken') },
  'payload 1 to 1.0': {
    on: update(`new_values = jsonb_set(new_values, '{n}', ((new_values ->> 'n') || '.0')::jsonb)`),
    expected: itself('commitment-broken'),
  },
  salt: { on: update("payload_salt = decode(repeat('ab', 16), 'hex')"), expected: itself('commitment-broken') },
  'group gone': { on: update('user_email = null, actor_salt = null'), expected: itself('erased-without-record') },
  'own hashes': {
    on: update("event_hash = repeat('a', 64), previous_event_hash = repeat('b', 64)"),
    expected: itself('rehashed'),
  },
  'chain hash': { on: link("chain_hash = sha256('x')"), expected: itself('rehashed') },
  'linked commitment': { on: link("actor_commitment = sha256('x')"), expected: itself('rehashed') },
  'row gone': { on: ({ leaf, id }) => [`delete from ${leaf} where id = '${id}'`], expected: gone },
  'link gone': { on: ({ seq }) => [`delete from audit.chain_link where seq = ${seq}`], expected: gone },
  'row twice': {
    on: ({ leaf, id }) => [
      'drop index if exists audit.audit_log_late_once',
      `insert into audit.audit_log_late (${fields}) select ${fields} from ${leaf} where id = '${id}'`,
    ],
    expected: itself('doubled'),
  },
  'row put in': {
    on: ({ leaf, id }) => [
      `insert into ${leaf} (${fields}) select ${fields.replace(/\bid\b/, `'${'FORGED'}'::uuid`)} from ${leaf} where id = '${id}'`.replace(
        'FORGED',
        forgedId(id),
      ),
    ],
    expected: ({ id, leaf }) => [{ class: 'inserted', seq: null, eventId: forgedId(id), partition: leaf }],
  },
  'row put in, link gone': {
    on: (place) => [...(ATTACKS['row put in']?.on(place) ?? []), ...(ATTACKS['link gone']?.on(place) ?? [])],
    expected: (place) => [
      ...gone(place),
      { class: 'inserted', seq: null, eventId: forgedId(place.id), partition: place.leaf },
    ],
  },
  transaction: { on: update('txid = txid + 1'), expected: itself('reordered') },
  'changed places': {
    on: ({ seq }) => [swap(seq, beside(seq))],
    // Which of the two was first nobody can say: the places are named with the events that lie there now.
    expected: ({ seq }) => [
      { class: 'reordered', seq, eventId: ids[beside(seq)] ?? '' },
      { class: 'reordered', seq: beside(seq), eventId: ids[seq] ?? '' },
    ],
  },
};

const key = ({ class: kind, seq, eventId, partition }: Expected) => [kind, seq, eventId, partition ?? ''].join(' ');

/** Writes a line of the table for each place and requires exactly what is expected. */
function judge(
  attack: string,
  places: readonly { name: string; wanted: readonly Expected[] }[],
  found: readonly Finding[],
) {
  const seen = (wanted: Expected, by: (finding: Finding) => boolean) =>
    found.some((one) => by(one) && one.seq === wanted.seq && one.eventId === (wanted.eventId ?? null)) ? 'yes' : 'NO';
  for (const { name, wanted } of places) {
    for (const one of wanted) {
      const row = seen(one, () => true);
      const kind = seen(one, (finding) => finding.class === one.class);
      const any = found.length > 0 ? 'yes' : 'NO';
      table.push(`${one.class.padEnd(22)} ${name.padEnd(26)} ${any.padEnd(6)} ${row.padEnd(4)} ${kind}  (${attack})`);
    }
  }
  const wanted = places.flatMap((place) => place.wanted);
  const named = found.map((one) => ({
    ...{ class: one.class, seq: one.seq, eventId: one.eventId },
    ...(wanted.some(({ partition }) => partition !== undefined && partition === one.partition && one.seq === null)
      ? { partition: one.partition ?? '' }
      : {}),
  }));
  expect(named.map(key).sort()).toEqual(wanted.map(key).sort());
}

function impossible(attack: string, kind: string, reason: string): void {
  table.push(`${kind.padEnd(22)} ${'n/a'.padEnd(26)} ${reason}  (${attack})`);
}

it('has its edges where the matrix says', async () => {
  expect(ids).toHaveLength(SIZE);
  const at = [0, UNIT, NEIGHBOUR - 1, NEIGHBOUR, LATE, END - 1].map((seq) => leaves[seq]);
  expect(at.slice(1)).toEqual([
    'audit.audit_log_y2002m01',
    'audit.audit_log_y2002m01',
    'audit.audit_log_y2002m02',
    'audit.audit_log_late',
    'audit.audit_log_late',
  ]);
  expect(leaves.at(-1)).toBe(at[0]);
  expect((await verifyChain(ctx)).findings).toEqual([]);
});

describe.each(Object.entries(ATTACKS))('%s', (attack, { on, expected }) => {
  it.each([0, 1])('at every second place from %i on', async (from) => {
    const places = PLACES.filter((_, at) => at % 2 === from).map(([name, seq]) => ({ name, place: placeOf(seq) }));
    await tamper(db.admin, ...places.flatMap(({ place }) => on(place)));
    const { findings } = await verifyChain(ctx);
    await restore();
    judge(
      attack,
      places.map(({ name, place }) => ({ name, wanted: expected(place) })),
      findings,
    );
  });
});

/** The frontier of some leaves, as a bytea literal. */
const frontierOf = (hashes: readonly Buffer[]) =>
  `'\\x${encodeFrontier(appendLeaves(EMPTY_FRONTIER, hashes)).toString('hex')}'::bytea`;
const readLeaves = async (from: string) =>
  (await column(db.admin, `select leaf from ${from} order by seq`)) as Buffer[];

/** Leaves and chain hashes from a place on, made to fit the events. */
const relink = (from: number) => [
  ...['audit_log', 'audit_log_archive', 'audit_log_late'].map(
    (name) => `update audit.chain_link l set leaf = audit.event_leaf(row(e.*)::audit.audit_log) from audit.${name} e
      where e.id = l.event_id and l.seq = ${from}`,
  ),
  `do $$ declare l record; h bytea := coalesce((select chain_hash from audit.chain_link where seq = ${from} - 1),
      decode(repeat('00', 32), 'hex')); begin
     for l in select seq, leaf from audit.chain_link where seq >= ${from} order by seq loop
       h := sha256('\\x02'::bytea || h || int8send(l.seq) || l.leaf);
       update audit.chain_link set chain_hash = h where seq = l.seq;
     end loop;
     update audit.chain_head set chain_hash = h;
   end $$`,
];

describe('made to fit throughout', () => {
  it.each(PLACES)('at %s is rewritten since the last checkpoint that fits', async (name, seq) => {
    await tamper(db.admin, ...update("event_action = 'HARMLESS'")(placeOf(seq)), ...relink(seq));
    await tamper(
      db.admin,
      `update audit.chain_head set frontier = ${frontierOf(await readLeaves('audit.chain_link'))}`,
    );
    const { findings } = await verifyChain(ctx);
    await restore();
    const [fits, diverges] = seq < CHECKPOINT ? [null, CHECKPOINT] : [CHECKPOINT, SIZE];
    // The mirror of leaves beside the signer pins it to the event.
    judge('all made to fit', [{ name, wanted: itself('rewritten')(placeOf(seq)) }], findings);
    expect(findings).toMatchObject([{ checkpointFrom: fits, checkpointTo: diverges }]);
  });
});

describe('cut off, head and all', () => {
  it.each(PLACES.filter(([, seq]) => seq > 0))('at %s is rolled back', async (name, seq) => {
    const kept = (await readLeaves('saved.link')).slice(0, seq);
    await tamper(
      db.admin,
      `delete from audit.chain_link where seq >= ${seq}`,
      ...[...new Set(leaves)].map(
        (leaf) => `delete from ${leaf} where id in (select event_id from saved.link where seq >= ${seq})`,
      ),
      'truncate audit.chain_head, audit.cosignature, audit.checkpoint',
      `insert into audit.chain_head (size, chain_hash, frontier, snapshot) select ${seq}, l.chain_hash,
         ${frontierOf(kept)}, h.snapshot from saved.link l, saved.head h where l.seq = ${seq - 1}`,
    );
    const { findings } = await verifyChain(ctx);
    await restore();
    judge('yesterday restored', [{ name, wanted: [{ class: 'rolled-back', seq: null, eventId: null }] }], findings);
    expect(findings).toMatchObject([{ actual: String(seq), checkpointFrom: seq >= CHECKPOINT ? CHECKPOINT : null }]);
  });
});

describe('events of a unit that the database calls destroyed', () => {
  const unit = "(select unit_id from retention.unit where relation_name = 'audit_log_y2002m02')";
  const seqs = `(select range_agg(int8range(s, s + 1)) from unnest(array[${PLACES.map(([, seq]) => seq).join(', ')}]) s)`;
  /** Runs statements past the guards of retention. */
  const asOwner = (...statements: string[]) =>
    db.admin.withClient(async (client) => {
      const guarded = ['unit', 'manifest', 'certificate', 'plan'];
      const each = (action: string) => guarded.map((name) => `alter table retention.${name} ${action} trigger user;`);
      await client.query(`begin; ${each('disable').join(' ')} set local session_replication_role = replica`);
      for (const statement of statements) await client.query(statement);
      await client.query('set local session_replication_role = origin');
      await client.query(`${each('enable').join(' ')} commit`);
    });
  const arrange = () =>
    asOwner(
      `update retention.unit set state = 'purged', plan_id = gen_random_uuid(), purged_at = now() where unit_id = ${unit}`,
      `insert into retention.manifest (unit_id, row_count, fingerprint, method, seqs)
       values (${unit}, ${PLACES.length}, sha256('x'), 'leaves/1', ${seqs})`,
    );

  it.each(['none', 'of another key', 'of other places'])('with a certificate: %s', async (kind) => {
    await arrange();
    if (kind !== 'none') {
      const key =
        kind === 'of another key' ? generateKeyPairSync('ed25519').privateKey : await openLogKey(ctx.config.home);
      const ranges = PLACES.map(([, seq]) => (kind === 'of other places' ? [seq + 1000, seq + 1001] : [seq, seq + 1]));
      const text = JSON.stringify({ format: 'auditkeep-certificate/v1', seqs: ranges });
      const signature = sign(null, Buffer.from(`auditkeep-certificate/v1\n${text}`), key).toString('base64');
      await asOwner(`insert into retention.certificate (certificate_id, unit_id, plan_id, document, sha256, signature, seqs)
        values (gen_random_uuid(), ${unit}, gen_random_uuid(), '${text}', encode(sha256('${text}'), 'hex'), '${signature}', ${seqs})`);
    }
    const places = PLACES.map(([name, seq]) => ({ name, place: placeOf(seq) }));
    await tamper(db.admin, ...places.map(({ place }) => `delete from ${place.leaf} where id = '${place.id}'`));
    const { findings } = await verifyChain(ctx);
    await restore();
    await asOwner(
      'delete from retention.certificate',
      `delete from retention.manifest where unit_id = ${unit}`,
      `update retention.unit set state = 'hot', plan_id = null, purged_at = null where unit_id = ${unit}`,
    );
    const wanted = places.map(({ name, place }) => ({ name, wanted: itself('purged-without-certificate')(place) }));
    judge(`certificate ${kind}`, wanted, findings);
  });
});

it('a forged checkpoint at either edge is checkpoint-invalid', async () => {
  for (const size of [CHECKPOINT, SIZE]) {
    await tamper(
      db.admin,
      `update audit.checkpoint set note = overlay(note placing 'AAAAAAAA' from length(note) - 12) where size = ${size}`,
    );
    const { findings } = await verifyChain(ctx);
    await restore();
    const wanted = [{ class: 'checkpoint-invalid' as const, seq: null, eventId: null }];
    judge('forged signature', [{ name: size === SIZE ? 'last checkpoint' : 'checkpoint edge', wanted }], findings);
    expect(findings).toMatchObject([{ checkpointTo: size }]);
  }
});

it('a trigger off at every leaf of the matrix is unprotected there', async () => {
  const places = [...new Set(PLACES.map(([, seq]) => leaves[seq] ?? '')), 'audit.chain_link_p000000'].sort();
  const each = (action: string) =>
    db.admin.withClient(async (client) => {
      for (const leaf of places) await client.query(`alter table ${leaf} ${action} trigger ak_child_immutable`);
    });
  await each('disable');
  const { findings } = await verifyChain(ctx);
  await each('enable always');
  for (const leaf of places) {
    const found = findings.some((one) => one.class === 'unprotected' && one.partition === leaf) ? 'yes' : 'NO';
    table.push(`${'unprotected'.padEnd(22)} ${leaf.padEnd(26)} ${found.padEnd(6)} ${found.padEnd(4)} ${found}`);
  }
  expect(findings.map((one) => `${one.class} ${one.partition}`)).toEqual(places.map((leaf) => `unprotected ${leaf}`));
});

it('events that wait too long, hot and late, are unsealed', async () => {
  await sealChain(ctx);
  await addEvents(db.engine, 1, 9000);
  await addEvents(db.engine, 1, 9001, "timestamptz '2001-05-01 00:00:00+00'");
  const waiting = (await column(
    db.admin,
    "select id::text from audit.audit_log_all where event_action in ('ACTION-9000', 'ACTION-9001') order by event_action",
  )) as string[];
  const { findings } = await verifyChain(ctx, { unsealedAfterSeconds: -1 });
  const wanted = (at: number): Expected[] => [{ class: 'unsealed', seq: null, eventId: waiting[at] ?? '' }];
  judge(
    'left alone',
    [
      { name: 'hot', wanted: wanted(0) },
      { name: 'late', wanted: wanted(1) },
    ],
    findings,
  );
});

afterAll(() => {
  impossible(
    'left alone',
    'unsealed',
    'before the end and in archives: what is unlinked there was put in, or its link is gone',
  );
  impossible('yesterday restored', 'rolled-back', 'at first: an emptied chain is the error CHAIN_NOTHING_CHECKED');
  impossible(
    'second successor',
    'forked',
    'a place has one link, by its key; of the inline profile: test/audit/inline.test.ts',
  );
  impossible('row gone', 'truncated, head-cut', 'elsewhere than at the last and the first place the class is deleted');
  impossible('forged signature', 'checkpoint-invalid', 'beside a checkpoint: no event is concerned');
});
