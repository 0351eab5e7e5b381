/** audit.append_links() by raw SQL as the engine: nothing that it accepts may lead the chain or its next rounds astray. */
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { timestampText, uuidText } from '../../src/audit/copy/pg-time.ts';
import { readTuples } from '../../src/audit/copy/tuples.ts';
import { type EventRow, eventSource, RAW_EVENT_COLUMNS } from '../../src/audit/event/event-source.ts';
import {
  appendLinks,
  type ChainHead,
  currentSnapshot,
  type HeadMove,
  readHead,
} from '../../src/audit/links/chain-store.ts';
import { parseSnapshot } from '../../src/audit/links/snapshot.ts';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { linkRows } from '../../src/audit/seal/seal-batch.ts';
import { encodeFrontier } from '../../src/audit/tree/merkle.ts';
import { verifyChain } from '../../src/audit/verify/verify.ts';
import type { SqlClient } from '../../src/db/database.ts';
import { queryOne, type SqlValue } from '../../src/db/query.ts';
import { testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { addEvents } from './event-fixtures.ts';

const db = useDatabase();

beforeAll(async () => {
  await addEvents(db.engine, 11);
  await sealChain(await testContext(db));
  await addEvents(db.engine, 3, 100);
});

/** The move that the sealer would make, of all that waits. */
async function nextMove(client: SqlClient): Promise<{ head: ChainHead; rows: EventRow[]; move: HeadMove }> {
  const head = await readHead(client);
  const rows: EventRow[] = [];
  const source = eventSource(
    `select * from (select ${RAW_EVENT_COLUMNS} from audit.audit_log e) u
      where not exists (select from audit.chain_link l where l.event_id = u.id) order by txid, event_timestamp, id`,
  );
  for await (const slab of readTuples(client, source)) rows.push(...slab);
  return { head, rows, move: moveOf(head, rows, await currentSnapshot(client)) };
}

function moveOf(head: ChainHead, rows: readonly EventRow[], snapshot: HeadMove['snapshot']): HeadMove {
  const { links, end } = linkRows(head, rows);
  return { from: head, links, frontier: encodeFrontier(end.frontier), snapshot, cursor: null };
}

/** Tries a move and undoes it. */
async function attempt(
  change: (made: Awaited<ReturnType<typeof nextMove>>, client: SqlClient) => HeadMove | Promise<HeadMove>,
) {
  return db.engine.withClient(async (client) => {
    const made = await nextMove(client);
    const move = await change(made, client);
    await client.query('begin');
    try {
      return await appendLinks(client, move);
    } finally {
      await client.query('rollback');
    }
  });
}

it('takes the move of the sealer, whole or cut', async () => {
  expect(await attempt(({ move }) => move)).toBe(14n);
  const cut = await attempt(async ({ head, rows }, client) => cutMove(head, rows, await currentSnapshot(client)));
  expect(cut).toBe(13n);
});

function required<T>(value: T | null | undefined): T {
  if (value == null) throw new Error('nothing there');
  return value;
}

/** At most two rows, and the cursor after them. */
function cutMove(head: ChainHead, rows: readonly EventRow[], target: NonNullable<HeadMove['snapshot']>): HeadMove {
  const part = rows.slice(0, 2);
  const last = required(part.at(-1));
  const cursor = { target, txid: last.txid, timestamp: timestampText(last.timestamp), id: uuidText(last.id) };
  return { ...moveOf(head, part, head.snapshot), cursor };
}

/** The sealer's move as literals, one argument written otherwise ('%' stands for its elements, '' for null); undone. */
async function attemptRaw(argument: string, form: string): Promise<unknown> {
  return db.engine.withClient(async (client) => {
    const { head, rows, move } = await nextMove(client);
    const given: Record<string, SqlValue | readonly SqlValue[]> = {
      expected_size: head.size,
      expected_hash: head.chainHash,
      event_timestamps: rows.map((row) => `"${timestampText(row.timestamp)}"`),
      event_ids: rows.map((row) => uuidText(row.id)),
      txids: rows.map((row) => row.txid),
      leaves: move.links.leaves,
      commitments: move.links.commitments,
      chain_hashes: move.links.chainHashes,
      new_frontier: move.frontier,
      new_snapshot: move.snapshot?.text ?? null,
      new_target: null,
      new_cursor_txid: null,
      new_cursor_timestamp: null,
      new_cursor_id: null,
    };
    const values = Object.entries(given).map(([name, value]) => {
      const how = name === argument ? form : '{%}';
      if (how === '') return null;
      return Array.isArray(value) ? how.replace('%', value.join(',')) : value;
    });
    const text = `select audit.append_links(${Object.keys(given).map((name, at) => `${name} => $${at + 1}`)}) as size`;
    await client.query('begin');
    try {
      return (await queryOne(client, z.object({ size: z.bigint() }), text, values)).size;
    } finally {
      await client.query('rollback');
    }
  });
}

describe('the engine by raw SQL cannot', () => {
  const none: EventRow[] = [];
  const refused = { code: 'AK027' };

  it('forget what was sealed', async () => {
    await expect(attempt(({ head }) => moveOf(head, none, null))).rejects.toMatchObject(refused);
  });

  it('lower the snapshot', async () => {
    await expect(attempt(({ head }) => moveOf(head, none, parseSnapshot('3:3:')))).rejects.toMatchObject(refused);
  });

  it('say that the future is sealed', async () => {
    const far = parseSnapshot('9000000000:9000000000:');
    await expect(attempt(({ head }) => moveOf(head, none, far))).rejects.toMatchObject(refused);
  });

  it('say that an open transaction is sealed', async () => {
    await db.admin.withClient(async (open) => {
      await open.query('begin');
      await open.query('select pg_current_xact_id()');
      await addEvents(db.engine, 1, 700);
      const blind = attempt(({ head, move }) => {
        const xmax = move.snapshot?.xmax ?? 0n;
        return moveOf(head, none, parseSnapshot(`${xmax}:${xmax}:`));
      });
      await expect(blind).rejects.toMatchObject(refused);
      await open.query('rollback');
    });
  });

  it('link an event twice', async () => {
    const twice = attempt(({ head, rows, move }) => moveOf(head, [...rows, ...rows], move.snapshot));
    await expect(twice).rejects.toMatchObject(refused);
    // As many as wait, all of them stored.
    const instead = attempt(({ head, rows, move }) =>
      moveOf(head, [required(rows[0]), ...rows.slice(0, 1), ...rows.slice(2)], move.snapshot),
    );
    await expect(instead).rejects.toMatchObject(refused);
    const again = attempt(async ({ head, move }, client) => {
      const sealed: EventRow[] = [];
      const source = eventSource(`select * from (select ${RAW_EVENT_COLUMNS} from audit.audit_log e) u
        where id = (select event_id from audit.chain_link where seq = 3)`);
      for await (const slab of readTuples(client, source)) sealed.push(...slab);
      return moveOf(head, sealed, move.snapshot);
    });
    await expect(again).rejects.toMatchObject(refused);
  });

  it('link an event that is not stored, or under another transaction or time', async () => {
    const changes: ((row: EventRow) => EventRow)[] = [
      (row) => ({ ...row, id: Buffer.alloc(16, 7) }),
      (row) => ({ ...row, txid: row.txid + 1n }),
      (row) => ({ ...row, timestamp: Buffer.alloc(8) }),
    ];
    for (const change of changes) {
      const bogus = attempt(({ head, rows, move }) => moveOf(head, rows.slice(0, 1).map(change), move.snapshot));
      await expect(bogus).rejects.toMatchObject(refused);
    }
    // In order and as many as wait: only that it is nowhere stored tells.
    const instead = attempt(({ head, rows, move }) => {
      const last = { ...required(rows.at(-1)), id: Buffer.alloc(16, 0xff) };
      return moveOf(head, [...rows.slice(0, -1), last], move.snapshot);
    });
    await expect(instead).rejects.toThrow('no stored event');
  });

  it('link an event that is not stored in the place of one that two rows claim', async () => {
    await db.admin.withClient(async (admin) => {
      // No login can write such rows (migration 0218); they only show that events and links are matched one by one.
      // Before this transaction has a number that a snapshot could show.
      const snapshot = await currentSnapshot(admin);
      await admin.query('begin');
      await admin.query('drop index audit.audit_log_late_once');
      await admin.query(`insert into audit.audit_log_late select (e).* from
        (select e from audit.audit_log e where not exists (select from audit.chain_link l where l.event_id = e.id)
          order by txid desc, event_timestamp desc limit 1) t`);
      const { head, rows } = await nextMove(admin);
      const bogus = moveOf(head, [...rows, { ...required(rows.at(-1)), id: Buffer.alloc(16, 0xff) }], snapshot);
      await admin.query('savepoint s');
      await expect(appendLinks(admin, bogus)).rejects.toThrow('no stored event');
      await admin.query('rollback');
    });
  });

  it.each([
    ['all', 0, 0, false],
    ['the last', 0, 2, false],
    ['the first, with a cursor', 1, 2, true],
  ])('leave out events that wait: %s', async (_, from, to, cut) => {
    const skips = attempt(({ head, rows, move }) => {
      const part = rows.slice(from, to);
      return cut ? cutMove(head, part, required(move.snapshot)) : moveOf(head, part, move.snapshot);
    });
    await expect(skips).rejects.toMatchObject(refused);
  });

  it('leave out events within a transaction that is cut', async () => {
    await db.engine.withClient(async (client) => {
      const { head, rows } = await nextMove(client);
      const target = await currentSnapshot(client);
      await client.query('begin');
      await appendLinks(client, cutMove(head, rows.slice(0, 1), target));
      const cut = await readHead(client);
      await client.query('savepoint s');
      await expect(appendLinks(client, cutMove(cut, rows.slice(2, 3), target))).rejects.toMatchObject(refused);
      await client.query('rollback to s');
      await expect(appendLinks(client, moveOf(cut, rows.slice(2), target))).rejects.toMatchObject(refused);
      await client.query('rollback to s');
      expect(await appendLinks(client, cutMove(cut, rows.slice(1, 2), target))).toBe(13n);
      await client.query('rollback');
    });
  });

  it('number the links from elsewhere than 1, or leave an argument out', async () => {
    const waiting = await db.engine.withClient(async (client) => (await nextMove(client)).rows.length);
    const places: [string, string][] = [
      ['event_ids', `[3:${waiting + 2}]={%}`],
      ['event_ids', '{{%}}'],
      ['txids', `[0:${waiting - 1}]={%}`],
      ['expected_hash', ''],
    ];
    for (const [argument, form] of places) {
      await expect(attemptRaw(argument, form)).rejects.toMatchObject({ code: 'AK021' });
    }
    expect(await attemptRaw('none', '')).toBe(11n + BigInt(waiting));
  });

  it('put the cursor elsewhere', async () => {
    const ahead = attempt(async ({ head, rows }, client) => {
      const move = cutMove(head, rows, await currentSnapshot(client));
      return { ...move, cursor: move.cursor === null ? null : { ...move.cursor, timestamp: '2999-01-01' } };
    });
    await expect(ahead).rejects.toMatchObject(refused);
  });

  it('change the round or the snapshot within a round', async () => {
    await db.engine.withClient(async (client) => {
      const { head, rows } = await nextMove(client);
      const target = await currentSnapshot(client);
      await client.query('begin');
      await appendLinks(client, cutMove(head, rows, target));
      const cut = await readHead(client);
      await client.query('savepoint s');
      const other = parseSnapshot(`${target.xmax - 1n}:${target.xmax - 1n}:`);
      await expect(appendLinks(client, moveOf(cut, rows.slice(2), other))).rejects.toMatchObject(refused);
      await client.query('rollback to s');
      expect(await appendLinks(client, moveOf(cut, rows.slice(2), target))).toBe(head.size + BigInt(rows.length));
      await client.query('rollback');
    });
  });

  it('store another frontier or chain hash', async () => {
    const wrong = { code: 'AK021' };
    const frontier = attempt(({ move }) => ({ ...move, frontier: Buffer.alloc(move.frontier.length) }));
    await expect(frontier).rejects.toMatchObject(wrong);
    const hash = attempt(({ move }) => ({
      ...move,
      links: { ...move.links, chainHashes: Buffer.alloc(move.links.chainHashes.length) },
    }));
    await expect(hash).rejects.toMatchObject(wrong);
  });
});

it('grows the frontier as the tree of the program does, at every size', async () => {
  const ctx = await testContext(db);
  for (let n = 1; n <= 9; n += 1) {
    await addEvents(db.engine, n, 1000 * n);
    await sealChain(ctx);
  }
  expect(await verifyChain(ctx)).toMatchObject({ intact: true, pending: 0 });
});
