/** audit.append_links() by raw SQL as the engine: nothing that it accepts may lead the chain or its next rounds astray. */
import { beforeAll, describe, expect, it } from 'vitest';
import { appendLinks, type ChainHead, currentSnapshot, type HeadMove, readHead } from '../../src/audit/chain-store.ts';
import { type EventRow, eventSource, RAW_EVENT_COLUMNS } from '../../src/audit/event-source.ts';
import { encodeFrontier } from '../../src/audit/merkle.ts';
import { timestampText, uuidText } from '../../src/audit/pg-time.ts';
import { sealChain } from '../../src/audit/seal.ts';
import { linkRows } from '../../src/audit/seal-batch.ts';
import { parseSnapshot } from '../../src/audit/snapshot.ts';
import { readTuples } from '../../src/audit/tuples.ts';
import { verifyChain } from '../../src/audit/verify.ts';
import type { SqlClient } from '../../src/db/database.ts';
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

function cutMove(head: ChainHead, rows: readonly EventRow[], target: NonNullable<HeadMove['snapshot']>): HeadMove {
  const part = rows.slice(0, 2);
  const last = part[1];
  if (last === undefined) throw new Error('no row');
  const cursor = { target, txid: last.txid, timestamp: timestampText(last.timestamp), id: uuidText(last.id) };
  return { ...moveOf(head, part, head.snapshot), cursor };
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
