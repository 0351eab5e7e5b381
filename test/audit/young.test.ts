/** Events that wait for the sealer are compared among young ones alone: they make no slice of old events differ. */
import { randomBytes } from 'node:crypto';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { readTuples } from '../../src/audit/copy/tuples.ts';
import { signCheckpoint } from '../../src/audit/publish/sign.ts';
import { EventSums, type SummedEvent } from '../../src/audit/scan/event-sums.ts';
import { type Joined, joinedSource } from '../../src/audit/scan/joined-source.ts';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { verifyChain } from '../../src/audit/verify/verify.ts';
import { queryOne } from '../../src/db/query.ts';
import { testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { tamper } from '../tamper/tampering.ts';
import { addEvents, column } from './event-fixtures.ts';

const db = useDatabase();
const EVENTS = 400;
/** The years 2000 to 2100. */
const EVER = { from: 0n, to: 3_155_760_000_000_000n };

const found = async (ctx: Awaited<ReturnType<typeof testContext>>) =>
  (await verifyChain(ctx)).findings.map(({ class: kind, eventId }) => `${kind} ${eventId}`);
const idOf = async (action: string) =>
  String((await column(db.admin, `select id::text from audit.audit_log where event_action = '${action}'`))[0]);

it('events that wait are joined by their transactions, not by their time; tampering across that border is found', async () => {
  const ctx = await testContext(db);
  await addEvents(db.engine, EVENTS);
  await sealChain(ctx);
  await signCheckpoint(ctx);
  await addEvents(db.engine, 3, 1000);
  expect(await verifyChain(ctx)).toMatchObject({ findings: [], pending: 3 });

  const since = z.object({ since: z.bigint() });
  const [young] = await db.engine.withClient(async (client) => {
    const text = `select min(txid) as since from audit.audit_log where event_action like 'ACTION-100_'`;
    const differing = { ranges: [], young: { ...(await queryOne(client, since, text)), ranges: [EVER], seq: 0n } };
    const joined: Joined[] = [];
    for await (const part of readTuples(client, joinedSource(differing))) joined.push(...part);
    return [joined];
  });
  const waiting = young.filter(({ row }) => row !== null && Buffer.from(row.bare).includes('ACTION-100'));
  expect(waiting).toHaveLength(3);
  // Beside them at most what the verification itself has recorded.
  expect(young.length).toBeLessThan(10);
  expect(young.filter(({ link }) => link !== null)).toEqual([]);

  const old = await idOf('ACTION-7');
  const last = `(select max(txid) from audit.audit_log)`;
  const txid = String((await column(db.admin, `select txid from audit.audit_log where id = '${old}'`))[0]);
  // A sealed event that says it is young, and one whose link says so.
  await tamper(db.admin, `update audit.audit_log set txid = ${last} where id = '${old}'`);
  expect(await found(ctx)).toEqual([`reordered ${old}`]);
  await tamper(db.admin, `update audit.audit_log set txid = ${txid} where id = '${old}'`);
  await tamper(db.admin, `update audit.chain_link set txid = ${last} where event_id = '${old}'`);
  expect(await found(ctx)).toEqual([`reordered ${old}`]);
  await tamper(db.admin, `update audit.chain_link set txid = ${txid} where event_id = '${old}'`);
  // A young copy of a sealed event, of the same time, elsewhere.
  const copy = `insert into audit.audit_log_late select (jsonb_populate_record(e, jsonb_build_object('txid', ${last}))).*
                  from audit.audit_log e where id = '${old}'`;
  await tamper(db.admin, copy);
  expect(await found(ctx)).toEqual([`doubled ${old}`]);
  await tamper(db.admin, `delete from audit.audit_log_late where id = '${old}'`);
  expect(await found(ctx)).toEqual([]);
});

it('young events and links are a slice of their own, with the times and the seq where they begin', () => {
  const event = (txid: bigint, micros: bigint): SummedEvent => {
    const timestamp = Buffer.alloc(8);
    timestamp.writeBigInt64BE(micros);
    return { id: randomBytes(16), timestamp, txid, leaf: randomBytes(32), actor: null, payload: null };
  };
  const sums = new EventSums(randomBytes(32), 100n);
  const linked = [event(99n, 5n), event(100n, 6n), event(2n ** 60n, 7n)];
  for (const one of linked) sums.add('event', one);
  for (const one of linked) sums.add('link', one);
  expect(sums.differing()).toEqual({ ranges: [], young: null });
  sums.add('event', event(101n, 2n ** 39n));
  const slice = (at: bigint) => ({ from: at << 39n, to: (at + 1n) << 39n });
  expect(sums.differing()).toMatchObject({ ranges: [], young: { since: 100n, ranges: [{ from: 0n, to: 2n << 39n }] } });
  sums.add('event', event(99n, 3n << 39n));
  expect(sums.differing().ranges).toEqual([slice(3n)]);
  expect(sums.differing(linked.map((one) => one.timestamp)).ranges).toEqual([slice(0n), slice(3n)]);
  const again = new EventSums(sums.key, 100n);
  again.merge({ ...sums.take(), youngSeq: 9n });
  again.merge({ ...sums.take(), youngSeq: 8n });
  expect(again.differing().young).toMatchObject({ seq: 8n, ranges: [{ from: 0n, to: 2n << 39n }] });
  expect(sums.differing()).toEqual({ ranges: [], young: null });
});
