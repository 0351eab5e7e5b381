/** `chain prove`: what it proves, what it gives away, and what it refuses; stored tiles of a tree that has some. */
import { beforeAll, describe, expect, it } from 'vitest';
import { proveEvent } from '../../src/audit/export/proof.ts';
import { nodeReader, storeTiles } from '../../src/audit/links/tile-store.ts';
import { signCheckpoint } from '../../src/audit/publish/sign.ts';
import { readChainStatus } from '../../src/audit/publish/status.ts';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { verifyInclusion } from '../../src/audit/tree/merkle.ts';
import { readRoot } from '../../src/audit/tree/proof-path.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { tamper } from '../tamper/tampering.ts';
import { type Report, verifier } from '../verifier/verifier.ts';
import { addEvents, column } from './event-fixtures.ts';

const db = useDatabase();
/** One full tile of level 1 (65,536 leaves) and a ragged right edge. */
const EVENTS = 66_000;
let ctx: TestContext;
let key: string;
let ids: string[];

async function idOf(action: string): Promise<string> {
  return String((await column(db.admin, `select id::text from audit.audit_log where event_action = '${action}'`))[0]);
}

function check(proof: string): Report {
  return verifier.verifyProof(proof, { key: verifier.parseVerifierKey(key) });
}

beforeAll(async () => {
  ctx = await testContext(db);
  await addEvents(db.engine, EVENTS);
  await sealChain(ctx);
  await signCheckpoint(ctx);
  key = (await readChainStatus(ctx)).verifierKey ?? '';
  ids = (await column(db.admin, 'select event_id::text from audit.chain_link order by seq')) as string[];
});

describe('stored tiles', () => {
  it('are there as soon as the checkpoint that fills them, once', async () => {
    const stored = await column(db.admin, `select level || '/' || index from audit.tile`);
    expect(stored).toEqual(['1/0']);
    expect(await db.engine.withClient(storeTiles)).toBe(0);
  });

  it('lead to the signed root, as the leaves do', async () => {
    const [root] = await column(db.admin, 'select root from audit.checkpoint order by size desc limit 1');
    for (const stored of [true, false]) {
      const found = await db.engine.withClient((client) => readRoot(nodeReader(client, { stored }), BigInt(EVENTS)));
      expect(found).toEqual(root);
    }
  });

  it('cannot be written by the engine where the tree is not full, or a second time in another form', async () => {
    const store = (level: number, index: number) =>
      db.engine.withClient((client) =>
        client.query(
          `select audit.store_tile(${level}::smallint, ${index}::bigint, decode(repeat('ab', 8192), 'hex'))`,
        ),
      );
    for (const [level, index] of [
      [1, 1],
      [2, 0],
      [1, 0],
      [0, 0],
      [1, -1],
      [7, 0],
    ] as const) {
      await expect(store(level, index), `${level}/${index}`).rejects.toMatchObject({ code: 'AK023' });
    }
    await expect(db.engine.withClient((client) => client.query('delete from audit.tile'))).rejects.toThrow(
      'permission denied',
    );
  });

  it('that were changed do not make a wrong proof: the leaves are asked', async () => {
    const changed = `update audit.tile set hashes = set_byte(hashes, 40, get_byte(hashes, 40) # 1)`;
    await tamper(db.admin, changed);
    const { proof } = await proveEvent(ctx, { event: ids[65_800] ?? '', open: false });
    expect(check(proof)).toMatchObject({ verdict: 'intact' });
    await tamper(db.admin, changed);
  });
});

describe('a proof', () => {
  it.each([0, 1, 255, 256, 65_535, 65_536, EVENTS - 1])('of seq %i is accepted by the verifier', async (seq) => {
    const id = ids[seq] ?? '';
    const made = await proveEvent(ctx, { event: id, open: false });
    expect(made).toMatchObject({ eventId: id, seq: BigInt(seq), size: BigInt(EVENTS) });
    const report = check(made.proof);
    expect(report).toMatchObject({ verdict: 'intact', event: { id }, opened: null });
    expect(made.proof).not.toContain('example.org');
    expect(Buffer.from(/^extra (.+)$/m.exec(made.proof)?.[1] ?? '', 'base64').toString('latin1')).not.toContain(
      'example.org',
    );
  });

  it('is what the tree of the product itself holds', async () => {
    const { proof } = await proveEvent(ctx, { event: ids[300] ?? '', open: false });
    const path = proof.slice(0, proof.indexOf('\n\n')).split('\n').slice(3);
    const [leaf] = (await column(db.admin, 'select leaf from audit.chain_link where seq = 300')) as [Buffer];
    const [root] = (await column(db.admin, 'select root from audit.checkpoint')) as [Buffer];
    const claim = { index: 300n, size: BigInt(EVENTS), leaf, root };
    expect(verifyInclusion({ ...claim, proof: path.map((hash) => Buffer.from(hash, 'base64')) })).toBe(true);
  });

  it('shows who acted, and on what, only when opened', async () => {
    const id = await idOf('ACTION-7');
    const { proof } = await proveEvent(ctx, { event: id, open: true });
    expect(check(proof)).toMatchObject({
      verdict: 'intact',
      opened: { actor: { user_email: 'user7@example.org' }, payload: { new_values: '{"n": 7}' } },
    });
  });

  it('is recorded, with whether it was opened', async () => {
    const recorded = await column(
      db.admin,
      `select additional_data->>'opened' from audit.audit_log_all where event_type = 'chain.proved' and resource_id = '${await idOf('ACTION-7')}'`,
    );
    expect(recorded).toEqual(['true']);
  });

  it('is refused after any byte of it was changed', async () => {
    const { proof } = await proveEvent(ctx, { event: ids[300] ?? '', open: true });
    const bytes = Buffer.from(proof);
    const passed: number[] = [];
    for (let at = 0; at < bytes.length; at += 7) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ 1;
      if (check(changed.toString('utf8')).exitCode === 0) passed.push(at);
    }
    expect(passed).toEqual([]);
    expect(check(`${proof}\n`).exitCode).toBe(1);
    expect(check(proof.slice(0, -1)).exitCode).toBe(1);
    expect(check('').exitCode).toBe(1);
  });

  it('without a key is at most internally consistent', async () => {
    const { proof } = await proveEvent(ctx, { event: ids[300] ?? '', open: false });
    expect(verifier.verifyProof(proof)).toMatchObject({ verdict: 'internally-consistent', exitCode: 2 });
    const bare = proof.replace(/^extra .+\n/m, '');
    const known = { key: verifier.parseVerifierKey(key) };
    expect(verifier.verifyProof(bare, known)).toMatchObject({ verdict: 'undecided', exitCode: 2 });
    const extra = Buffer.from(/^extra (.+)$/m.exec(proof)?.[1] ?? '', 'base64');
    const entry = extra.subarray('auditkeep-proof/v1\n'.length + 4);
    expect(verifier.verifyProof(bare, { ...known, entry })).toMatchObject({ exitCode: 0 });
    expect(verifier.verifyProof(bare, { ...known, entry: entry.subarray(1) })).toMatchObject({ exitCode: 1 });
  });
});

describe('what cannot be proven', () => {
  it.each([
    ['a word', 'INPUT_INVALID'],
    ['1b4e28ba-2fa1-41d2-883f-0016d3cca427@yesterday', 'INPUT_INVALID'],
    ['1b4e28ba-2fa1-41d2-883f-0016d3cca427', 'CHAIN_EVENT_UNKNOWN'],
  ])('%s is %s', async (event, code) => {
    await expect(proveEvent(ctx, { event, open: false })).rejects.toMatchObject({ code });
  });

  it('an event that is not sealed, then not signed, then both', async () => {
    await addEvents(db.engine, 1, 900_000);
    const event = await idOf('ACTION-900000');
    await expect(proveEvent(ctx, { event, open: false })).rejects.toMatchObject({ code: 'CHAIN_EVENT_UNSEALED' });
    await sealChain(ctx);
    await expect(proveEvent(ctx, { event, open: false })).rejects.toMatchObject({ code: 'CHAIN_UNSIGNED' });
    await signCheckpoint(ctx);
    expect(check((await proveEvent(ctx, { event, open: false })).proof)).toMatchObject({ exitCode: 0 });
  });

  it('an id that two events bear, unless its time is named', async () => {
    const event = '1b4e28ba-2fa1-41d2-883f-0016d3cca428';
    await db.engine.withClient((client) =>
      client.query(`insert into audit.audit_log (id, event_type, event_category, event_action, event_timestamp)
        select '${event}', 'x', 'system', 'X', now() - i * interval '1 microsecond' from generate_series(1, 2) i`),
    );
    await sealChain(ctx);
    await signCheckpoint(ctx);
    const times = (await column(
      db.admin,
      `select to_char(event_timestamp, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') from audit.audit_log where id = '${event}'`,
    )) as string[];
    const refused = await proveEvent(ctx, { event, open: false }).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: 'CHAIN_EVENT_AMBIGUOUS' });
    expect(refused).toHaveProperty('hint');
    expect(JSON.stringify(refused)).toContain(`@${times[0]}`);
    const seqs = await Promise.all(
      times.map(async (time) => (await proveEvent(ctx, { event: `${event}@${time}`, open: false })).seq),
    );
    expect(new Set(seqs).size).toBe(2);
  });

  it('an event that is not what was sealed, or is gone', async () => {
    await tamper(
      db.admin,
      `update audit.audit_log set event_action = 'HARMLESS' where id = '${ids[9]}'`,
      `delete from audit.audit_log where id = '${ids[10]}'`,
    );
    for (const event of [ids[9], ids[10]]) {
      await expect(proveEvent(ctx, { event: event ?? '', open: false })).rejects.toMatchObject({
        code: 'CHAIN_ENTRY_DIFFERS',
      });
    }
  });

  it('an event of a chain whose links were rewritten', async () => {
    await tamper(db.admin, `update audit.chain_link set leaf = sha256('x') where seq = 20`);
    await expect(proveEvent(ctx, { event: ids[21] ?? '', open: false })).rejects.toMatchObject({
      code: 'CHAIN_REWRITTEN',
    });
  });
});
