/** The signer and its witnesses: what is kept, what anchored means, and every way in which a witness can fail it. */
import { createPublicKey } from 'node:crypto';
import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type RequestListener, type Server } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { signCheckpoint } from '../../src/audit/publish/sign.ts';
import { readChainStatus } from '../../src/audit/publish/status.ts';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { openLogKey } from '../../src/audit/signer/signer-store.ts';
import { openCheckpoint, parseVerifierKey } from '../../src/audit/tree/checkpoint.ts';
import { verifyChain } from '../../src/audit/verify/verify.ts';
import { createWitnessKey, witnessVerifierKey } from '../../src/audit/witness/key-file.ts';
import { createWitness } from '../../src/audit/witness/server.ts';
import { systemClock } from '../../src/time/clock.ts';
import { addEvents, column } from '../audit/event-fixtures.ts';
import { type TestContext, temporaryHome, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { fixedKey, leavesOf, post, readCosignature, TestLog, textOf, writeCosignature } from './fixtures.ts';
import { initWitness, startWitness } from './process.ts';

const db = useDatabase();
let ctx: TestContext;
let logVkey: string;
const servers: Server[] = [];
/** A port of ours that nobody listens on any more. */
let nobodyThere: string;

async function listen(server: Server): Promise<string> {
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
}

interface Named {
  readonly vkey: string;
  readonly url: string;
}

/** An honest witness in this process, with a store of its own. */
async function honest(name: string, logs = [logVkey]): Promise<Named & { readonly store: string }> {
  const store = await temporaryHome();
  const cosigner = await createWitnessKey(join(store, 'key'), name);
  const options = { store, cosigner, clock: systemClock, requestTimeoutMs: 1000, report: () => undefined };
  const server = createWitness({ ...options, logs: logs.map((line) => parseVerifierKey(line)) });
  return { store, vkey: witnessVerifierKey(cosigner), url: await listen(server) };
}

/** Anything but a witness, under a key that nobody uses. */
async function dishonest(handler: RequestListener, vkey?: string): Promise<Named> {
  const folder = await temporaryHome();
  const made = witnessVerifierKey(await createWitnessKey(join(folder, 'key'), 'bad.example/w'));
  return { vkey: vkey ?? made, url: await listen(createServer(handler)) };
}

function asking(witnesses: readonly Named[], quorum: number | null = null, seconds = 5): TestContext {
  const list = witnesses.map(({ vkey, url }) => ({ vkey, url }));
  return {
    ...ctx,
    config: { ...ctx.config, witnesses: list, witnessQuorum: quorum, witnessTimeoutSeconds: seconds },
  };
}

let added = 0;
async function grow(n: number): Promise<void> {
  await addEvents(db.engine, n, added);
  added += n;
  await sealChain(ctx);
}

async function chainSize(): Promise<number> {
  return (await readChainStatus(ctx)).size;
}

async function forgetWitnesses(): Promise<void> {
  await rm(join(ctx.config.home, 'signer', 'witnesses.json'), { force: true });
}

beforeAll(async () => {
  ctx = await testContext(db);
  await grow(3);
  await signCheckpoint(ctx);
  logVkey = (await readChainStatus(ctx)).verifierKey ?? '';
  const gone = createServer();
  nobodyThere = await listen(gone);
  await new Promise((resolve) => gone.close(resolve));
});
beforeEach(forgetWitnesses);
afterAll(() => {
  for (const server of servers) server.closeAllConnections();
});

it('keeps verified cosignatures in the store, the directory and the table, and is anchored', async () => {
  const folder = await temporaryHome();
  const vkey = await initWitness(folder);
  const { url } = await startWitness(folder, [logVkey]);
  const asked = asking([{ vkey, url }]);
  expect(await readChainStatus(asked)).toMatchObject({ anchored: false, anchoredSize: null });
  expect(await verifyChain(asked)).toMatchObject({ intact: true, anchored: false });
  for (const more of [0, 1, 4, 7]) {
    if (more > 0) await grow(more);
    const { note, size } = await signCheckpoint(asked);
    const id = vkey.split('+')[1] ?? '';
    const file = join(ctx.config.home, 'checkpoints', `${String(size).padStart(20, '0')}.${id}.cosigned`);
    const cosigned = await readFile(file, 'utf8');
    expect(cosigned.startsWith(note ?? '')).toBe(true);
    const line = cosigned.slice(note?.length);
    expect(readCosignature(line, textOf(cosigned), vkey)).toBeGreaterThan(0);
    expect(await column(db.admin, `select line from audit.cosignature where size = ${size}`)).toEqual([line]);
    expect(openCheckpoint(cosigned, parseVerifierKey(logVkey)).size).toBe(size);
    expect(await readChainStatus(asked)).toMatchObject({ anchored: true, anchoredSize: Number(size) });
  }
  expect(await verifyChain(asked)).toMatchObject({ intact: true, anchored: true });
});

it('finds its way to a witness that knows the log at any earlier size', async () => {
  const one = await honest('w.example/1');
  for (const more of [1, 2, 5]) {
    await grow(more);
    // Without memory the client begins at 0 and learns the size from the 409.
    await forgetWitnesses();
    const { size } = await signCheckpoint(asking([one]));
    expect(await readChainStatus(asking([one]))).toMatchObject({ anchored: true, anchoredSize: Number(size) });
  }
});

it('is anchored by 2 of 3 with one down, and catches up when it returns', async () => {
  const [one, two] = [await honest('w.example/1'), await honest('w.example/2')];
  const down = { vkey: (await honest('w.example/3')).vkey, url: nobodyThere };
  const quorum2 = asking([one, down, two], 2);
  await grow(2);
  const { size } = await signCheckpoint(quorum2);
  const status = await readChainStatus(quorum2);
  expect(status).toMatchObject({ anchored: true, anchoredSize: Number(size), witnessQuorum: 2 });
  expect(status.witnesses.map(({ outcome }) => outcome)).toEqual(['cosigned', 'unreachable', 'cosigned']);
  expect(status.witnesses[1]).toMatchObject({ detail: 'ECONNREFUSED', cosignedSize: null });
  expect(await verifyChain(quorum2)).toMatchObject({ intact: true, anchored: true });
  const all = asking([one, down, two]);
  expect(await readChainStatus(all)).toMatchObject({ anchored: false, anchoredSize: null });
  expect(await verifyChain(all)).toMatchObject({ intact: true, anchored: false });
  const third = await honest('w.example/3');
  await signCheckpoint(asking([one, third, two]));
  expect(await readChainStatus(asking([one, third, two]))).toMatchObject({ anchored: true });
});

it('counts a witness of an earlier size for that size', async () => {
  const [one, two] = [await honest('w.example/1'), await honest('w.example/2')];
  await grow(1);
  const { size } = await signCheckpoint(asking([one, two]));
  await grow(1);
  await signCheckpoint(asking([one, { ...two, url: nobodyThere }]));
  expect(await readChainStatus(asking([one, two]))).toMatchObject({ anchored: true, anchoredSize: Number(size) });
});

describe('a witness that', () => {
  const never: RequestListener = () => undefined;
  const trickle: RequestListener = (_, response) => {
    response.writeHead(200);
    const timer = setInterval(() => response.write('\u2014'), 50);
    response.on('close', () => clearInterval(timer));
  };
  const says =
    (status: number, body: string, type = 'text/plain'): RequestListener =>
    (_, response) => {
      response.writeHead(status, { 'content-type': type }).end(body);
    };
  const size = 'text/x.tlog.size';
  let held = 0n;
  it.each<[string, RequestListener, string, string]>([
    ['never answers', never, 'unreachable', 'no answer in time'],
    ['answers a byte at a time', trickle, 'unreachable', 'no answer in time'],
    ['hangs up', (request) => request.socket.destroy(), 'unreachable', ''],
    ['answers garbage', says(200, 'hello'), 'invalid', 'verify'],
    ['answers nothing', says(200, ''), 'invalid', 'verify'],
    ['answers far too much', says(200, '\u2014 bad.example/w AAAA\n'.repeat(50_000)), 'invalid', 'verify'],
    ['answers what no note may hold', says(200, '\u2014 bad.example/w \u0001\n'), 'invalid', 'verify'],
    ['redirects elsewhere', (_, response) => response.writeHead(307, { location: '/x' }).end(), 'unreachable', ''],
    ['does not know us', says(404, 'unknown log'), 'refused', '404'],
    ['has another key for us', says(403, 'no'), 'refused', '403'],
    ['fails', says(500, 'no'), 'refused', '500'],
    ['finds the first tree unproven', says(422, ''), 'refused', '422'],
    ['conflicts without a size', says(409, 'no', size), 'invalid', 'without a size'],
    ['conflicts with a size of another type', says(409, '1\n'), 'invalid', 'without a size'],
    ['conflicts with a padded size', says(409, '01\n', size), 'invalid', 'without a size'],
    ['conflicts with the size it was given', says(409, '0\n', size), 'invalid', 'it was given'],
  ])('%s is missing, and nothing else changes', async (_, handler, outcome, detail) => {
    const one = await honest('w.example/1');
    const bad = await dishonest(handler);
    const asked = asking([one, bad], 1, 2);
    await grow(1);
    const signed = await signCheckpoint(asked);
    expect(signed.fresh).toBe(true);
    const { witnesses, anchored, anchoredSize } = await readChainStatus(asked);
    expect({ anchored, anchoredSize }).toEqual({ anchored: true, anchoredSize: Number(signed.size) });
    expect(witnesses[1]).toMatchObject({ outcome, cosignedSize: null, claimedSize: null });
    expect(witnesses[1]?.detail).toContain(detail);
    expect((await readChainStatus(asking([one, bad]))).anchored).toBe(false);
  });

  it.each([
    ['with no body', says(409, ''), 'rewritten'],
    ['with its size', (request, response) => says(409, `${held}\n`, size)(request, response), 'rewritten'],
    ['with garbage', says(409, 'no'), 'invalid'],
  ] satisfies [string, RequestListener, string][])(
    'conflicts %s over the size that it cosigned: %s',
    async (_, handler, outcome) => {
      const one = await honest('w.example/1');
      await grow(1);
      held = (await signCheckpoint(asking([one]))).size;
      const { url } = await dishonest(handler);
      const asked = asking([{ ...one, url }]);
      if (outcome === 'rewritten')
        await expect(signCheckpoint(asked)).rejects.toMatchObject({ code: 'CHAIN_REWRITTEN' });
      else await signCheckpoint(asked);
      expect((await readChainStatus(asked)).witnesses).toMatchObject([{ outcome }]);
      await signCheckpoint(asking([one]));
    },
  );

  it('names another size each time is given up', async () => {
    let requests = 0;
    const bad = await dishonest((_, response) => {
      requests += 1;
      response.writeHead(409, { 'content-type': size }).end(`${requests}\n`);
    });
    await signCheckpoint(asking([bad]));
    expect((await readChainStatus(asking([bad]))).witnesses[0]).toMatchObject({ outcome: 'invalid' });
    expect(requests).toBe(3);
  });

  it('cosigns with another key, another text or no time does not count', async () => {
    const name = 'bad.example/w';
    const privateKey = fixedKey(21);
    const publicKey = createPublicKey(privateKey);
    const { vkey } = await keyed(name, privateKey);
    expect(publicKey.asymmetricKeyType).toBe('ed25519');
    const attempts: ((text: string) => string)[] = [
      (text) => writeCosignature(text, 7, { name, privateKey: fixedKey(22) }),
      (text) => writeCosignature(`${text}extension\n`, 7, { name, privateKey }),
      (text) => writeCosignature(text, 0, { name, privateKey }),
      (text) => writeCosignature(text, 7, { name, privateKey, type: 1 }),
    ];
    const good = (text: string) => writeCosignature(text, 7, { name, privateKey });
    for (const attempt of [...attempts, good]) {
      const witness = await dishonest((request, response) => {
        void readAll(request).then((body) => response.end(attempt(textOf(body.slice(body.indexOf('\n\n') + 2)))));
      }, vkey);
      await signCheckpoint(asking([witness]));
      const { anchored, witnesses } = await readChainStatus(asking([witness]));
      expect([anchored, witnesses[0]?.outcome]).toEqual(attempt === good ? [true, 'cosigned'] : [false, 'invalid']);
    }
  });
});

describe('a witness that knows another tree', () => {
  /** Feeds a witness a tree that the product's own key signed. */
  async function feed(url: string, count: number): Promise<void> {
    const log = new TestLog('auditkeep.local/audit');
    const key = await openLogKey(ctx.config.home);
    const other = Object.assign(Object.create(log) as TestLog, { privateKey: key });
    expect((await post(url, other.request(leavesOf(count, 'another history'), 0))).status).toBe(200);
  }

  it.each([
    ['smaller: its proof fails', -2, 'CHAIN_REWRITTEN', 'rewritten'],
    ['of our size', 0, 'CHAIN_REWRITTEN', 'rewritten'],
    ['larger', 5, 'CHAIN_ROLLED_BACK', 'rolled-back'],
  ])('%s: is an error and a finding until it cosigns again', async (_, difference, code, kind) => {
    const [one, two] = [await honest('w.example/1'), await honest('w.example/2')];
    const theirs = (await chainSize()) + difference;
    await feed(two.url, theirs);
    const asked = asking([one, two], 1);
    await expect(signCheckpoint(asked)).rejects.toMatchObject({ code, details: { witness: 'w.example/2' } });
    // The honest one's answer is kept all the same.
    const { witnesses, anchored } = await readChainStatus(asked);
    expect(anchored).toBe(false);
    expect(witnesses).toMatchObject([
      { outcome: 'cosigned', claimedSize: null },
      { outcome: kind, claimedSize: theirs },
    ]);
    const verified = await verifyChain(asked);
    expect(verified).toMatchObject({ intact: false, anchored: false });
    expect(verified.findings.map((found) => [found.class, found.checkpointTo])).toEqual([[kind, theirs]]);
    // Who claims a longer chain stops the sealer, until people take the witness out of the configuration or it recants.
    const sealing = sealChain(asked);
    await (kind === 'rolled-back'
      ? expect(sealing).rejects.toMatchObject({ code: 'CHAIN_ROLLED_BACK' })
      : expect(sealing).resolves.toMatchObject({ complete: true }));
    expect(await sealChain(asking([one], 1))).toMatchObject({ complete: true });
    // Being out of reach takes nothing back.
    const away = asking([one, { ...two, url: nobodyThere }], 1);
    await expect(signCheckpoint(away)).rejects.toMatchObject({ code });
    await rm(two.store, { recursive: true });
    await signCheckpoint(asked);
    expect(await verifyChain(asked)).toMatchObject({ intact: true, anchored: true });
  });
});

it.each([
  ['before it grows again', 0],
  ['after it grew less', 2],
  ['after it grew more', 6],
])('a database and a signer restored to yesterday are recognised %s', async (_, later) => {
  const one = await honest('w.example/1');
  const asked = asking([one]);
  await grow(2);
  await signCheckpoint(asked);
  const backup = await backUp();
  await grow(4);
  const lost = Number((await signCheckpoint(asked)).size);
  await restore(backup);
  if (later > 0) await grow(later);
  const code = (await chainSize()) >= lost ? 'CHAIN_REWRITTEN' : 'CHAIN_ROLLED_BACK';
  await expect(signCheckpoint(asked)).rejects.toMatchObject({ code });
  expect(await verifyChain(asked)).toMatchObject({ intact: false, anchored: false });
});

it.each([
  ['a link is missing', 'seq = 4999999', 'seq = $SEQ'],
  ['a leaf is another', 'leaf = sha256(leaf)', 'leaf = $LEAF'],
])('sends no proof that the links do not give any more: %s; the other answers are kept', async (_, spoil, mend) => {
  const [one, two] = [await honest('w.example/1'), await honest('w.example/2')];
  await signCheckpoint(asking([one, two]));
  await grow(3);
  const { size } = await signCheckpoint(asking([{ ...one, url: nobodyThere }, two]));
  const last = size - 1n;
  const [leaf] = await column(db.admin, `select quote_literal(leaf) from audit.chain_link where seq = ${last}`);
  const change = (set: string) =>
    db.admin.withClient((client) =>
      client.query(`alter table audit.chain_link_p000000 disable trigger ak_child_immutable;
        update audit.chain_link set ${set} where seq in (${last}, 4999999);
        alter table audit.chain_link_p000000 enable always trigger ak_child_immutable`),
    );
  await change(spoil);
  await expect(signCheckpoint(asking([one, two]))).rejects.toMatchObject({ code: 'CHAIN_REWRITTEN' });
  const status = await readChainStatus(asking([one, two]));
  expect(status.witnesses[1]).toMatchObject({ outcome: 'cosigned', cosignedSize: Number(size) });
  expect(status.witnesses[0]).toMatchObject({ claimedSize: null });
  expect(status.witnesses[0]?.cosignedSize).toBeLessThan(Number(size));
  await change(mend.replace('$SEQ', String(last)).replace('$LEAF', `${String(leaf)}::bytea`));
  await signCheckpoint(asking([one, two]));
  expect(await readChainStatus(asking([one, two]))).toMatchObject({ anchored: true, anchoredSize: Number(size) });
});

it('goes on when the memory of witnesses is damaged only after it was put right', async () => {
  const one = await honest('w.example/1');
  await signCheckpoint(asking([one]));
  const file = join(ctx.config.home, 'signer', 'witnesses.json');
  const kept = await readFile(file, 'utf8');
  await writeFile(file, kept.slice(0, -9));
  await expect(signCheckpoint(asking([one]))).rejects.toMatchObject({ code: 'CHAIN_SIGNER_STORE' });
  // A memory that claims cosignatures which do not verify anchors nothing.
  await writeFile(file, kept.replace(/( [A-Za-z0-9+/]{20})[A-Za-z0-9]([^"]*\\n","outcome")/, '$1A$2'));
  expect(await readChainStatus(asking([one]))).toMatchObject({ anchored: false, anchoredSize: null });
});

it('refuses one key under two names, and a larger quorum than there are witnesses', async () => {
  const privateKey = fixedKey(23);
  const [first, second] = [await keyed('a.example/w', privateKey), await keyed('b.example/w', privateKey)];
  await expect(signCheckpoint(asking([first, second], 2))).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
});

it('leaves another file in the directory of checkpoints alone', async () => {
  const names = await readdir(join(ctx.config.home, 'checkpoints'));
  expect(
    names.filter((name) => name !== 'leaves' && !/^\d{20}(\.[0-9a-f]{8}\.cosigned|\.checkpoint)$/.test(name)),
  ).toEqual([]);
});

interface Backup {
  readonly home: string;
  readonly size: number;
}

/** The signer's folder and the head of the chain as they are now. */
async function backUp(): Promise<Backup> {
  const home = await temporaryHome();
  await cp(ctx.config.home, home, { recursive: true });
  await db.admin.withClient((client) =>
    client.query('create schema backup; create table backup.head as select * from audit.chain_head'),
  );
  return { home, size: await chainSize() };
}

/** What a restore of both does: later links, checkpoints, events and signatures are gone. */
async function restore({ home, size }: Backup): Promise<void> {
  const tables = ['chain_head', 'chain_link_p000000', 'checkpoint', 'cosignature'];
  const triggers = (word: string) =>
    tables.map((table) => `alter table audit.${table} ${word} trigger ak_child_immutable;`).join('\n');
  const leaf = await column(db.admin, 'select distinct tableoid::regclass::text from audit.audit_log');
  await db.admin.withClient((client) =>
    client.query(`${triggers('disable')}
      ${leaf.map((name) => `alter table ${String(name)} disable trigger ak_child_immutable;`).join('\n')}
      delete from audit.audit_log where id in (select event_id from audit.chain_link where seq >= ${size});
      delete from audit.chain_link where seq >= ${size};
      delete from audit.cosignature where size > ${size};
      delete from audit.checkpoint where size > ${size};
      update audit.chain_head set size = b.size, chain_hash = b.chain_hash, frontier = b.frontier from backup.head b;
      drop schema backup cascade;
      ${leaf.map((name) => `alter table ${String(name)} enable always trigger ak_child_immutable;`).join('\n')}
      ${triggers('enable always')}`),
  );
  await rm(ctx.config.home, { recursive: true });
  await cp(home, ctx.config.home, { recursive: true });
}

/** A verifier key for a given private key. */
async function keyed(name: string, privateKey: ReturnType<typeof fixedKey>): Promise<Named> {
  await Promise.resolve();
  return { vkey: witnessVerifierKey({ name, privateKey }), url: nobodyThere };
}

async function readAll(request: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}
