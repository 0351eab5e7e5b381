/** The inline profile: rows that carry their own hashes, in a declared segment. */
import { beforeEach, describe, expect, it } from 'vitest';
import type { Finding } from '../../src/audit/links/finding.ts';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { verifyChain } from '../../src/audit/verify/verify.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { tamper } from '../tamper/tampering.ts';
import { addEvents, column } from './event-fixtures.ts';

const db = useDatabase();
let ctx: TestContext;
let ids: string[];

const append = (action: string) =>
  db.engine.withClient((client) =>
    client.query('select audit.append_inline($1::jsonb)', [
      JSON.stringify({
        event_type: 'test.inline',
        event_category: 'system',
        event_action: action,
        user_email: 'inline@example.org',
        new_values: { n: 1 },
        user_roles: ['auditor'],
      }),
    ]),
  );

/** Before each test everything inline is gone and a segment of six events is there, not sealed. */
beforeEach(async () => {
  ctx ??= await testContext(db);
  await tamper(db.admin, "delete from audit.audit_log where event_hash is not null or event_type like 'test.%'");
  await db.admin.withClient((client) =>
    client.query(`alter table audit.inline_segment disable trigger all; truncate audit.inline_segment;
                  alter table audit.inline_segment enable always trigger ak_child_immutable;
                  alter table audit.inline_segment enable always trigger ak_child_truncate`),
  );
  await db.engine.withClient((client) => client.query('select audit.begin_inline_segment()'));
  for (const action of ['A', 'B', 'C', 'D', 'E']) await append(action);
  ids = (await column(
    db.admin,
    'select id::text from audit.audit_log where event_hash is not null order by txid',
  )) as string[];
});

async function findings(): Promise<readonly Finding[]> {
  return (await verifyChain(ctx, { unsealedAfterSeconds: 3600 })).findings;
}

const named = async () => (await findings()).map((found) => `${found.class} ${ids.indexOf(found.eventId ?? '')}`);

/** The row's hash as it should be for its content and its previous_event_hash. */
const REHASH = `encode(sha256('\\x03'::bytea || decode(previous_event_hash, 'hex') || audit.event_leaf(e)), 'hex')`;
const copyOf = (at: number, columns: string) =>
  `insert into audit.audit_log select (x.e).* from (
     select jsonb_populate_record(e, jsonb_build_object('id', gen_random_uuid(), ${columns})) as e
       from audit.audit_log e where e.id = '${ids[at]}') x`;
const settle = `update audit.audit_log e set event_hash = ${REHASH} where event_action = 'FORGED'`;

describe('an inline segment', () => {
  it('is intact as written, and writers at the same time neither fork nor lose', async () => {
    await Promise.all(Array.from({ length: 16 }, (_, at) => append(`P${at}`)));
    expect(await findings()).toEqual([]);
    expect(await column(db.admin, 'select size from audit.inline_segment')).toEqual([22n]);
  });

  it.each([
    [
      'changed content is modified',
      () => [`update audit.audit_log set event_action = 'X' where id = '${ids[3]}'`],
      'modified 3',
    ],
    [
      'changed content with a hash to fit is rehashed',
      () => [
        `update audit.audit_log set event_action = 'X' where id = '${ids[3]}'`,
        `update audit.audit_log e set event_hash = ${REHASH} where id = '${ids[3]}'`,
      ],
      'rehashed 3',
    ],
    [
      'a row gone in the middle is deleted before the next',
      () => [`delete from audit.audit_log where id = '${ids[2]}'`],
      'deleted 3',
    ],
    [
      'a row gone at the end is truncated',
      () => [`delete from audit.audit_log where id = '${ids[5]}'`],
      'truncated -1',
    ],
    [
      'a row gone at the beginning is head-cut',
      () => [`delete from audit.audit_log where id = '${ids[0]}'`],
      'head-cut 1',
    ],
  ])('%s', async (_, statements, expected) => {
    await tamper(db.admin, ...statements());
    expect(await named()).toEqual([expected]);
  });

  it.each([
    ['a second successor is a fork', 2, "'event_action', 'FORGED'", 'forked', 'fork'],
    [
      'a row whose predecessor nobody knows is an orphan',
      2,
      `'event_action', 'FORGED', 'previous_event_hash', repeat('ab', 32)`,
      'inserted',
      'orphan',
    ],
    [
      'a second genesis',
      2,
      `'event_action', 'FORGED', 'previous_event_hash', repeat('0', 64)`,
      'forked',
      'second genesis',
    ],
    [
      'a row after the head that the segment does not know',
      5,
      `'event_action', 'FORGED', 'previous_event_hash', e.event_hash`,
      'inserted',
      'beyond the head',
    ],
  ])('%s', async (_, at, columns, kind, actual) => {
    await tamper(db.admin, copyOf(at, columns), settle);
    expect(await findings()).toMatchObject([{ class: kind, actual }]);
  });

  it('rows whose hashes lead back to themselves are a cycle', async () => {
    const [a, b] = ['ab'.repeat(32), 'cd'.repeat(32)];
    await tamper(
      db.admin,
      copyOf(2, `'event_hash', '${a}', 'previous_event_hash', '${b}'`),
      copyOf(3, `'event_hash', '${b}', 'previous_event_hash', '${a}'`),
    );
    expect(await findings()).toMatchObject([
      { class: 'reordered', actual: 'a cycle' },
      { class: 'reordered', actual: 'a cycle' },
    ]);
  });
});

describe('both profiles in one database', () => {
  it('seals inline events too, and says of a sealed row with filled columns what it is', async () => {
    await addEvents(db.engine, 2);
    await sealChain(ctx);
    expect(await findings()).toEqual([]);
    const [id] = (await column(
      db.admin,
      "select id::text from audit.audit_log where event_type = 'test.event'",
    )) as string[];
    await tamper(
      db.admin,
      `update audit.audit_log set previous_event_hash = (select event_hash from audit.audit_log where id = '${ids[1]}') where id = '${id}'`,
      `update audit.audit_log e set event_hash = ${REHASH} where id = '${id}'`,
    );
    expect(await findings()).toMatchObject([{ class: 'forked', actual: 'fork', eventId: id }]);
    await tamper(
      db.admin,
      `update audit.audit_log set event_hash = null, previous_event_hash = null where id = '${id}'`,
    );
    await tamper(db.admin, `update audit.audit_log set event_action = 'X' where id = '${ids[3]}'`);
    const found = await findings();
    expect(found).toMatchObject([{ class: 'modified', eventId: ids[3] }]);
    expect(typeof found[0]?.seq).toBe('number');
    await tamper(
      db.admin,
      'truncate audit.chain_link, audit.chain_head',
      'insert into audit.chain_head default values',
    );
  });

  it('refuses changes of a segment, and appending without one', async () => {
    await expect(
      db.as('auditkeep_owner').withClient((client) => client.query('update audit.inline_segment set size = 1')),
    ).rejects.toMatchObject({ code: 'AK100' });
  });
});
