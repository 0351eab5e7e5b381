/**
 * What a superuser with the triggers off can do beyond the tamper matrix (matrix.test.ts): several changes at once, several
 * places that have to agree, checkpoints, triggers. Each must be found under its class, and nothing else reported.
 */
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Finding, VERIFY_LEVELS } from '../../src/audit/links/finding.ts';
import { signCheckpoint } from '../../src/audit/publish/sign.ts';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { verifyChain } from '../../src/audit/verify/verify.ts';
import { addEvents, column } from '../audit/event-fixtures.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { tamper } from './tampering.ts';

const EVENTS = 12;
const HOT = 'audit.audit_log';
const db = useDatabase();
let ctx: TestContext;
let ids: string[];

beforeAll(async () => {
  ctx = await testContext(db);
  await addEvents(db.engine, EVENTS);
  await sealChain(ctx);
  await makeArchived();
  await sealChain(ctx);
  await addEvents(db.engine, 3, 200, "timestamptz '2001-05-01 00:00:00+00'");
  await sealChain(ctx);
  await addEvents(db.engine, 2, 300);
  await sealChain(ctx);
  await signCheckpoint(ctx);
  ids = (await column(db.admin, 'select event_id::text from audit.chain_link order by seq')) as string[];
  await save();
});

/** Four events of a leaf of 2002 that is attached to the archive, as a moved unit is. */
async function makeArchived(): Promise<void> {
  await db.engine.withClient((client) =>
    client.query("select retention.create_partition('audit_log', '2002-01-01 00:00:00+00', '2002-02-01 00:00:00+00')"),
  );
  await addEvents(db.engine, 4, 100, "timestamptz '2002-01-05 00:00:00+00'");
  await sealChain(ctx);
  await db.admin.withClient((client) =>
    client.query(`alter table audit.audit_log detach partition audit.audit_log_y2002m01;
                  alter table audit.audit_log_archive attach partition audit.audit_log_y2002m01
                    for values from ('2002-01-01 00:00:00+00') to ('2002-02-01 00:00:00+00')`),
  );
}

async function save(): Promise<void> {
  await db.admin.withClient((client) =>
    client.query(`create schema saved;
      create table saved.event as select e.tableoid::regclass::text as leaf, e.* from audit.audit_log e
        union all select e.tableoid::regclass::text, e.* from audit.audit_log_archive e
        union all select e.tableoid::regclass::text, e.* from audit.audit_log_late e;
      create table saved.link as table audit.chain_link;
      create table saved.head as table audit.chain_head;
      create table saved.checkpoint as table audit.checkpoint`),
  );
}

/** Puts the database back as it was signed. */
afterEach(async () => {
  const leaves = (await column(db.admin, 'select distinct leaf from saved.event')) as string[];
  const columns = (await column(
    db.admin,
    `select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute
      where attrelid = 'audit.audit_log'::regclass and attnum > 0 and not attisdropped`,
  )) as string[];
  await tamper(
    db.admin,
    ...leaves.flatMap((leaf) => [
      `delete from ${leaf}`,
      `insert into ${leaf} (${columns[0]}) select ${columns[0]} from saved.event where leaf = '${leaf}'`,
    ]),
    'truncate audit.chain_link, audit.chain_head, audit.cosignature, audit.checkpoint, audit.erasure',
    'insert into audit.chain_link table saved.link',
    'insert into audit.chain_head table saved.head',
    'insert into audit.checkpoint table saved.checkpoint',
  );
});

async function findings(): Promise<readonly Finding[]> {
  return (await verifyChain(ctx)).findings;
}

/** Class, seq and event of each finding. */
async function named(): Promise<string[]> {
  return (await findings()).map((found) => `${found.class} ${found.seq} ${found.eventId}`);
}

const at = (seq: number) => `where id = '${ids[seq]}'`;

it('finds nothing in an untouched chain, and says that it is anchored', async () => {
  const result = await verifyChain(ctx);
  expect(result).toEqual({
    level: 'full',
    checked: EVENTS + 9,
    from: 0,
    to: EVENTS + 9,
    intact: true,
    anchored: true,
    findings: [],
    sealed: 0,
    erased: 0,
    purged: 0,
    pending: 0,
    resumed: null,
  });
});

it('says erased-without-record of a group whose commitment no signed record vouches for', async () => {
  await tamper(
    db.admin,
    `insert into audit.erasure (event_id, event_group, commitment, request_id, record_event_id)
     select event_id, 'actor', actor_commitment, gen_random_uuid(), '${ids[1]}' from audit.chain_link where seq = 5`,
    `update ${HOT} set user_email = null, actor_salt = null ${at(5)}`,
  );
  expect(await named()).toEqual([`erased-without-record 5 ${ids[5]}`]);
});

it('says reordered whichever of an event and its link is of another transaction, and nothing when both agree', async () => {
  await tamper(db.admin, `update audit.chain_link set txid = txid - 1 where seq = 5`);
  expect(await named()).toEqual([`reordered 5 ${ids[5]}`]);
  await tamper(db.admin, `update ${HOT} set txid = txid - 1 ${at(5)}`);
  expect(await named()).toEqual([]);
});

it.each(['actor', 'payload'])('says rehashed when the %s commitment of a link was rewritten', async (group) => {
  await tamper(db.admin, `update audit.chain_link set ${group}_commitment = sha256('x') where seq = 5`);
  expect(await named()).toEqual([`rehashed 5 ${ids[5]}`]);
});

it('finds several changes in one run, each by its own class', async () => {
  await tamper(
    db.admin,
    `update ${HOT} set result = 'failure' ${at(1)}`,
    `update ${HOT} set user_agent = 'curl' ${at(3)}`,
    `delete from audit.audit_log_archive ${at(EVENTS)}`,
  );
  expect(await named()).toEqual([
    `modified 1 ${ids[1]}`,
    `commitment-broken 3 ${ids[3]}`,
    `deleted ${EVENTS} ${ids[EVENTS]}`,
  ]);
});

it('names a row that was put in under an old transaction inserted', async () => {
  const id = '11111111-2222-4333-8444-555555555555';
  await tamper(
    db.admin,
    `insert into ${HOT} (id, event_type, event_category, event_action, txid) values ('${id}', 'x', 'system', 'X', 3)`,
  );
  expect(await findings()).toMatchObject([{ class: 'inserted', eventId: id }]);
});

describe('an event put in while links are taken out', () => {
  const id = '11111111-2222-4333-8444-666666666666';
  const insert = (txid: string) => `insert into ${HOT} (id, event_type, event_category, event_action, txid)
    values ('${id}', 'x', 'system', 'X', ${txid})`;

  it.each([
    ['one link', [4]],
    ['several links', [4, 5, 6]],
    ['links at two places', [4, 7, 8]],
    ['the first links', [0, 1]],
    ['the last links', [EVENTS + 7, EVENTS + 8]],
  ])('is inserted, and each of the events of %s named', async (_, seqs) => {
    const taken = `delete from audit.chain_link where seq in (${seqs})`;
    const kind = seqs[0] === 0 ? 'head-cut' : seqs.includes(EVENTS + 8) ? 'truncated' : 'deleted';
    const expected = [...seqs.map((seq) => `${kind} ${seq} ${ids[seq]}`), `inserted null ${id}`].sort();
    // Before all others in the order of sealing, and among those whose links are gone.
    await tamper(db.admin, insert('3'), taken);
    expect((await named()).sort()).toEqual(expected);
    await tamper(
      db.admin,
      `update ${HOT} set txid = (select txid from saved.link where seq = ${seqs[0]}),
      event_timestamp = (select event_timestamp + interval '1 us' from saved.link where seq = ${seqs[0]}) where id = '${id}'`,
    );
    expect((await named()).sort()).toEqual(expected);
  });

  it('is inserted also when the event of the missing link is gone', async () => {
    await tamper(db.admin, insert('3'), 'delete from audit.chain_link where seq = 4', `delete from ${HOT} ${at(4)}`);
    expect((await named()).sort()).toEqual(['deleted 4 null', `inserted null ${id}`]);
  });
});

it('names an event id that occurs twice doubled', async () => {
  await tamper(db.admin, `insert into audit.audit_log_late select * from ${HOT} ${at(4)}`);
  expect(await named()).toEqual([`doubled 4 ${ids[4]}`]);
});

it('names an event that is linked twice doubled, though every hash fits', async () => {
  await tamper(
    db.admin,
    `with h as (select * from audit.chain_head), l as (select * from audit.chain_link where seq = 4)
     insert into audit.chain_link select h.size, l.event_timestamp, l.event_id, l.txid, l.leaf,
       sha256('\\x02'::bytea || h.chain_hash || int8send(h.size) || l.leaf), l.actor_commitment, l.payload_commitment
       from h, l`,
  );
  expect((await findings()).map((found) => `${found.class} ${found.seq} ${found.eventId}`)).toEqual([
    `doubled ${ids.length} ${ids[4]}`,
    `rolled-back null null`,
  ]);
});

it('names two links that changed places reordered', async () => {
  await tamper(
    db.admin,
    `update audit.chain_link a set event_id = b.event_id, event_timestamp = b.event_timestamp, leaf = b.leaf,
        actor_commitment = b.actor_commitment, payload_commitment = b.payload_commitment
       from saved.link b where (a.seq, b.seq) in ((2, 7), (7, 2))`,
  );
  expect((await findings()).map((found) => `${found.class} ${found.seq}`)).toEqual(['reordered 2', 'reordered 7']);
});

it('says rolled-back when links, events and head are those of yesterday', async () => {
  await tamper(
    db.admin,
    `delete from audit.chain_link where seq >= ${EVENTS}`,
    `delete from ${HOT} where id = any ('{${ids.slice(EVENTS)}}')`,
    `delete from audit.audit_log_archive`,
    `delete from audit.audit_log_late`,
    'truncate audit.chain_head, audit.cosignature, audit.checkpoint',
    `insert into audit.chain_head (size, chain_hash, frontier, snapshot)
       select ${EVENTS}, l.chain_hash, h.frontier, h.snapshot from saved.link l, saved.head h where l.seq = ${EVENTS - 1}`,
  );
  // Twelve leaves are an 8 and a 4: the frontier is made of the links themselves.
  await tamper(db.admin, `update audit.chain_head set frontier = ${await frontierOf(EVENTS)}`);
  expect((await findings()).map((found) => found.class)).toEqual(['rolled-back']);
  await expect(signCheckpoint(ctx)).rejects.toMatchObject({ code: 'CHAIN_ROLLED_BACK' });
});

it('says rewritten when event, links and head were all made to fit: only the checkpoint knows', async () => {
  await tamper(db.admin, `update ${HOT} set event_action = 'HARMLESS' ${at(6)}`, ...relink());
  await tamper(db.admin, `update audit.chain_head set frontier = ${await frontierOf(ids.length)}`);
  const result = await verifyChain(ctx);
  expect(result).toMatchObject({ intact: false, anchored: false });
  // The mirror of leaves outside the database says which row.
  expect(result.findings).toMatchObject([{ class: 'rewritten', seq: 6, eventId: ids[6], checkpointTo: ids.length }]);
  await truncate(join(ctx.config.home, 'checkpoints', 'leaves'), 32);
  expect(await findings()).toMatchObject([{ class: 'rewritten', seq: 0, eventId: null, checkpointTo: ids.length }]);
  await expect(signCheckpoint(ctx)).rejects.toMatchObject({ code: 'CHAIN_REWRITTEN' });
});

it('says checkpoint-invalid when a stored checkpoint is not what was signed', async () => {
  await tamper(db.admin, `update audit.checkpoint set note = replace(note, E'\\n${ids.length}\\n', E'\\n5\\n')`);
  expect(await findings()).toMatchObject([{ class: 'checkpoint-invalid', actual: 'CHECKPOINT_SIGNATURE' }]);
});

describe('a checkpoint of the true root under a signature that is not the log’s', () => {
  const forged = "overlay(note placing 'AAAAAAAA' from length(note) - 12)";
  const expected = { class: 'checkpoint-invalid', actual: 'CHECKPOINT_SIGNATURE', checkpointTo: 21 };

  it.each(VERIFY_LEVELS)('in the database is checkpoint-invalid at level %s, alone', async (level) => {
    await tamper(db.admin, `update audit.checkpoint set note = ${forged}`);
    expect((await verifyChain(ctx, { level })).findings).toMatchObject([
      { ...expected, expected: expect.stringContaining('audit.checkpoint') as string },
    ]);
  });

  it.each(VERIFY_LEVELS)('in the directory is checkpoint-invalid at level %s, alone', async (level) => {
    const name = `${'21'.padStart(20, '0')}.checkpoint`;
    const file = join(ctx.config.home, 'checkpoints', name);
    const note = await readFile(file, 'utf8');
    await writeFile(file, note.replace(/.{8}\n$/, 'AAAAAAA=\n'));
    const { findings: found } = await verifyChain(ctx, { level });
    await writeFile(file, note);
    expect(found).toMatchObject([{ ...expected, expected: expect.stringContaining(name) as string }]);
  });

  it('is refused beside the real one, and the signer refuses to take it for the real one', async () => {
    const [note] = (await column(db.admin, `select ${forged} from audit.checkpoint`)) as string[];
    const [root] = (await column(db.admin, 'select root from audit.checkpoint')) as Buffer[];
    await tamper(db.admin, 'delete from audit.cosignature', 'delete from audit.checkpoint');
    await db.engine.withClient((client) =>
      client.query('select audit.publish_checkpoint($1, 21, $2, $3)', [ctx.config.origin, root, note]),
    );
    await expect(signCheckpoint(ctx)).rejects.toMatchObject({ code: 'CHAIN_REWRITTEN' });
  });

  it('of a log that this one never was is checkpoint-invalid', async () => {
    await tamper(db.admin, "update audit.checkpoint set origin = 'elsewhere.example/log'");
    expect(await findings()).toMatchObject([{ class: 'checkpoint-invalid', checkpointTo: 21 }]);
  });
});

it.each(['audit_log_late', 'audit_log_y2002m01', 'chain_link_p000000'])(
  'says unprotected when a trigger of %s is off or only enabled for the origin',
  async (table) => {
    for (const [action, trigger] of [
      ['disable', 'ak_child_immutable'],
      ['enable', 'ak_child_truncate'],
    ]) {
      await db.admin.withClient((client) => client.query(`alter table audit.${table} ${action} trigger ${trigger}`));
      expect(await findings()).toMatchObject([{ class: 'unprotected', partition: `audit.${table}` }]);
      await db.admin.withClient((client) =>
        client.query(`alter table audit.${table} enable always trigger ${trigger}`),
      );
    }
  },
);

describe('says unprotected when a trigger of the right name', () => {
  const leaf = 'audit.audit_log_y2002m01';
  const right = `create trigger ak_child_immutable before update or delete on ${leaf}
    for each row execute function audit.refuse_change('audit_log')`;

  it.each([
    ['never fires', right.replace('execute', 'when (false) execute')],
    ['fires too late to refuse', right.replace('before', 'after')],
    ['fires on one column', right.replace('update or delete', 'update of result or delete')],
    ['does not fire on DELETE', right.replace('update or delete', 'update')],
    ['judges by another family', right.replace("'audit_log'", "'security_events_log'")],
    ['calls another function', right.replace("audit.refuse_change('audit_log')", 'audit.default_permanent()')],
    ['calls a namesake in another schema', right.replace('audit.refuse_change', 'public.refuse_change')],
  ])('%s', async (_, create) => {
    await db.admin.withClient(async (client) => {
      await client.query(`create or replace function public.refuse_change() returns trigger language plpgsql as
        $$ begin return coalesce(new, old); end $$`);
      await client.query(`drop trigger ak_child_immutable on ${leaf}`);
      await client.query(create);
      await client.query(`alter table ${leaf} enable always trigger ak_child_immutable`);
    });
    const expected = [
      { class: 'unprotected', partition: leaf, actual: expect.stringContaining('ak_child_immutable') as string },
    ];
    for (const level of VERIFY_LEVELS) expect((await verifyChain(ctx, { level })).findings).toMatchObject(expected);
    await db.admin.withClient(async (client) => {
      await client.query(`drop trigger ak_child_immutable on ${leaf}`);
      await client.query(right);
      await client.query(`alter table ${leaf} enable always trigger ak_child_immutable`);
    });
    expect(await findings()).toEqual([]);
  });
});

it('says unprotected of every table whose trigger function is not the released one', async () => {
  const [definition] = (await column(
    db.admin,
    "select pg_get_functiondef('audit.refuse_link_change()'::regprocedure)",
  )) as string[];
  const replace = (text: string) => db.admin.withClient((client) => client.query(text));
  await replace(String(definition).replace('begin', 'begin if current_user = session_user then return new; end if;'));
  const places = (await findings()).map((found) => `${found.class} ${found.partition}`);
  await replace(String(definition));
  const tables = [
    'chain_head',
    'chain_link_p000000',
    'chain_link_p000001',
    'checkpoint',
    'cosignature',
    'erasure',
    'tile',
  ];
  expect(places).toEqual(tables.map((table) => `unprotected audit.${table}`));
});

it('says unsealed only when the sealer has left committed events alone for too long', async () => {
  await addEvents(db.engine, 1, 500);
  const lax = await verifyChain(ctx, { unsealedAfterSeconds: 3600 });
  expect(lax).toMatchObject({ intact: true, findings: [] });
  const waiting = (await column(
    db.admin,
    `select e.id::text from audit.audit_log_all e where not exists (select from audit.chain_link l where l.event_id = e.id)`,
  )) as string[];
  const strict = await verifyChain(ctx, { unsealedAfterSeconds: -1 });
  expect(strict.findings.map((found) => `${found.class} ${found.eventId}`).sort()).toEqual(
    waiting.map((id) => `unsealed ${id}`).sort(),
  );
  expect(waiting.length).toBeGreaterThan(0);
});

it('does not call an emptied chain intact', async () => {
  await tamper(
    db.admin,
    'truncate audit.chain_link',
    'delete from audit.audit_log',
    'delete from audit.audit_log_archive',
    'delete from audit.audit_log_late',
  );
  await expect(verifyChain(ctx)).rejects.toMatchObject({ code: 'CHAIN_NOTHING_CHECKED' });
});

it('does not call a chain without events intact, at any level', async () => {
  await tamper(
    db.admin,
    'delete from audit.audit_log',
    'delete from audit.audit_log_archive',
    'delete from audit.audit_log_late',
  );
  await expect(verifyChain(ctx, { level: 'head' })).rejects.toMatchObject({ code: 'CHAIN_NOTHING_CHECKED' });
  for (const level of ['rolling', 'full'] as const) {
    const { findings: found, from, to } = await verifyChain(ctx, { level });
    expect(found.map(({ seq }) => seq)).toEqual(ids.slice(from, to).map((_, at) => from + at));
  }
});

it('writes each finding to the security log and the outcome into the chain', async () => {
  await tamper(db.admin, `update ${HOT} set event_action = 'HARMLESS' ${at(2)}`);
  await verifyChain(ctx);
  const logged = await column(
    db.admin,
    `select s.additional_context ->> 'eventId' from audit.security_events_log_all s
       join audit.audit_log_all e on e.id = s.correlation_id and e.event_type = 'chain.findings' and e.result = 'failure'
      where s.event_type = 'chain.finding' and s.additional_context ->> 'seq' = '2'
        and s.additional_context ->> 'class' = 'modified'`,
  );
  expect(logged).toContain(ids[2]);
});

/** Rewrites leaves and chain hashes from seq 6 on so that they fit the events. */
function relink(): string[] {
  return [
    `update audit.chain_link l set leaf = audit.event_leaf(e), actor_commitment = audit.event_commitment(e, 'actor'),
        payload_commitment = audit.event_commitment(e, 'payload')
       from audit.audit_log e where e.id = l.event_id and l.seq >= 6`,
    `do $$ declare l record; h bytea := (select chain_hash from audit.chain_link where seq = 5); begin
       for l in select seq, leaf from audit.chain_link where seq >= 6 order by seq loop
         h := sha256('\\x02'::bytea || h || int8send(l.seq) || l.leaf);
         update audit.chain_link set chain_hash = h where seq = l.seq;
       end loop;
       update audit.chain_head set chain_hash = h;
     end $$`,
  ];
}

/** The frontier of the first n links, as a bytea literal. */
async function frontierOf(n: number): Promise<string> {
  const { appendLeaves, EMPTY_FRONTIER, encodeFrontier } = await import('../../src/audit/tree/merkle.ts');
  const leaves = (await column(
    db.admin,
    `select leaf from audit.chain_link where seq < ${n} order by seq`,
  )) as Buffer[];
  return `'\\x${encodeFrontier(appendLeaves(EMPTY_FRONTIER, leaves)).toString('hex')}'::bytea`;
}
