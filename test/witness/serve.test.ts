/** The witness as a process: every answer of C2SP tlog-witness, and what a kill, a second process or a bad key do. */
import { chmod, copyFile, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { sha256 } from '../../src/audit/tree/hash.ts';
import { runCli } from '../cli/process.ts';
import { temporaryHome } from '../support/context.ts';
import {
  fixedKey,
  leavesOf,
  post,
  rawRequest,
  readCosignature,
  TestLog,
  textOf,
  writeCosignature,
} from './fixtures.ts';
import { initWitness, startWitness } from './process.ts';

const log = new TestLog();
const leaves = leavesOf(20);
/** Where the one key of these tests was made; each test has a copy, with its mode, and a store of its own. */
let made: string;
let folder: string;
let vkey: string;

beforeAll(async () => {
  made = await temporaryHome();
  vkey = await initWitness(made);
});
beforeEach(async () => {
  folder = await temporaryHome();
  await copyFile(join(made, 'witness.key'), join(folder, 'witness.key'));
});

describe('witness init', () => {
  it('writes a key that only its owner reads, once', async () => {
    expect(vkey).toMatch(/^witness\.example\/w1\+[0-9a-f]{8}\+[A-Za-z0-9+/]+=*$/);
    const file = join(folder, 'witness.key');
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    const before = await readFile(file, 'utf8');
    const again = await runCli(['witness', 'init', '--key', file, '--name', 'other.example/w']);
    expect(again).toMatchObject({ code: 2, stderr: expect.stringContaining('WITNESS_KEY') as unknown });
    expect(await readFile(file, 'utf8')).toBe(before);
  });

  it.each(['', 'a b', 'a+b', 'a\nb'])('refuses the name %j', async (name) => {
    const made = await runCli(['witness', 'init', '--key', join(folder, 'other.key'), '--name', name]);
    expect(made.code).toBe(2);
    expect(await readdir(folder)).toEqual(['witness.key']);
  });
});

it('cosigns a tree that grows, and says so in a form that another implementation reads', async () => {
  const witness = await startWitness(folder, [log.verifierKey]);
  expect(witness.vkey).toBe(vkey);
  let size = 0;
  for (const next of [1, 2, 3, 8, 8, 13, 20]) {
    const tree = leaves.slice(0, next);
    const started = Math.floor(Date.now() / 1000);
    const { status, text } = await post(witness.url, log.request(tree, size));
    expect(status).toBe(200);
    const time = readCosignature(text, textOf(log.note(tree)), vkey) ?? 0;
    expect(time).toBeGreaterThanOrEqual(started);
    expect(time).toBeLessThanOrEqual(Math.ceil(Date.now() / 1000));
    size = next;
  }
  expect((await witness.end('SIGTERM')).code).toBe(0);
  expect((await readdir(witness.store)).filter((name) => !name.endsWith('.json'))).toEqual([]);
});

describe('an answer', () => {
  const other = leavesOf(20, 'another history');
  const unsigned = log.note(leaves.slice(0, 9)).replace(/\u2014 log\.example/, '\u2014 else.example');
  const forged = log.note(leaves.slice(0, 9)).replace('\n9\n', '\n8\n');
  const stranger = new TestLog('else.example/audit');
  const impostor = new TestLog(log.origin, 8);
  const proofOf = (to: number) => log.request(leaves.slice(0, to), 5);
  const size5 = { status: 409, type: 'text/x.tlog.size', text: '5\n' };
  const emptyTree = sha256(Buffer.alloc(0)).toString('base64');

  it('is what the specification says, whatever is asked, and leaves the witness where it was', async () => {
    const witness = await startWitness(folder, [log.verifierKey]);
    expect(await post(witness.url, log.request(leaves.slice(0, 5), 0))).toMatchObject({ status: 200 });
    const evilRoot = leaves.map((leaf, at) => (at === 6 ? sha256(leaf) : leaf));
    const cases: readonly (readonly [string, string | Uint8Array<ArrayBuffer>, object])[] = [
      ['an old size beyond the checkpoint', rawRequest(10, [], log.note(leaves.slice(0, 9))), { status: 400 }],
      ['another log', stranger.request(leaves.slice(0, 9), 0), { status: 404 }],
      ['another key of the same name', impostor.request(leaves.slice(0, 9), 5), { status: 403 }],
      ['no signature by the key', rawRequest(5, [], unsigned), { status: 403 }],
      ['a signature that does not verify', rawRequest(5, [], forged), { status: 403 }],
      ['an old size below ours', log.request(leaves.slice(0, 9), 3), size5],
      ['an old size of nothing', log.request(leaves.slice(0, 9), 0), size5],
      ['an old size above ours', log.request(leaves.slice(0, 9), 7), size5],
      ['a smaller tree', log.request(leaves.slice(0, 4), 4), size5],
      ['another tree of our size', rawRequest(5, [], log.note(other.slice(0, 5))), size5],
      ['another history', log.request(other, 5), { status: 422 }],
      ['a history changed beyond ours', log.request(evilRoot.slice(0, 9), 5), { status: 200 }],
    ];
    for (const [name, body, expected] of cases) {
      expect({ name, ...(await post(witness.url, body)) }).toMatchObject({ name, ...expected });
    }
    expect(await post(witness.url, log.request(leaves.slice(0, 9), 5))).toMatchObject({ text: '9\n' });
    // What the log signed against itself is kept: the fork of size 5 and the history that does not begin with ours.
    expect((await readdir(join(witness.store, 'evidence'))).length).toBe(2);
  });

  it('to a proof that is not exactly right is 422', async () => {
    const witness = await startWitness(folder, [log.verifierKey]);
    await post(witness.url, log.request(leaves.slice(0, 5), 0));
    const [, ...proof] = proofOf(13).split('\n\n')[0]?.split('\n') ?? [];
    const note = log.note(leaves.slice(0, 13));
    const nodes = proof.map((line) => Buffer.from(line, 'base64'));
    const wrong = [
      [],
      nodes.slice(1),
      nodes.slice(0, -1),
      [...nodes, sha256(Buffer.from('x'))],
      [...nodes].reverse(),
      nodes.map((node, at) => (at === 1 ? sha256(node) : node)),
    ];
    for (const given of wrong) expect((await post(witness.url, rawRequest(5, given, note))).status).toBe(422);
    const same = log.note(leaves.slice(0, 5));
    expect((await post(witness.url, rawRequest(5, nodes, same))).status).toBe(422);
    expect((await post(witness.url, rawRequest(5, nodes, note))).status).toBe(200);
  });

  it('to a first tree with a proof is 422, to an empty one what its root says', async () => {
    const witness = await startWitness(folder, [log.verifierKey]);
    const note = log.note(leaves.slice(0, 3));
    expect((await post(witness.url, rawRequest(0, [sha256(Buffer.from('x'))], note))).status).toBe(422);
    const empty = log.note([]);
    expect(empty).toContain(emptyTree);
    expect((await post(witness.url, rawRequest(0, [], empty))).status).toBe(200);
    expect((await post(witness.url, rawRequest(0, [], note))).status).toBe(200);
  });

  it('to what is no request is 400, 404, 405 or 413, and the witness goes on', async () => {
    const witness = await startWitness(folder, [log.verifierKey]);
    const note = log.note(leaves.slice(0, 3));
    const node = sha256(Buffer.from('x'));
    const latin = Buffer.from(rawRequest(0, [], note));
    const dash = latin.indexOf(Buffer.from('\u2014'));
    const malformed: readonly (string | Uint8Array<ArrayBuffer>)[] = [
      '',
      'old 0',
      'old 0\n\n',
      note,
      rawRequest('00', [], note),
      rawRequest('-1', [], note),
      rawRequest('1e3', [], note),
      rawRequest('99999999999999999999', [], note),
      rawRequest(0, [], note).replace('old', 'old '),
      rawRequest(0, [], note).replace('old', 'new'),
      rawRequest(0, [], note).replaceAll('\n', '\r\n'),
      rawRequest(0, [node.subarray(1)], note),
      rawRequest(0, [node], note).replace('=\n', '\n'),
      rawRequest(0, Array<Buffer>(64).fill(node), note),
      `${rawRequest(0, [], note)}x`,
      `${rawRequest(0, [], note)}\n`,
      rawRequest(0, [], `${note}\u2014 x y`),
      Uint8Array.from(Buffer.concat([latin.subarray(0, dash), Buffer.from([0xff]), latin.subarray(dash)])),
    ];
    for (const body of malformed)
      expect([body, (await post(witness.url, body)).status]).toEqual([body, expect.toBeOneOf([400, 404])]);
    // Without a line that could name a log the origin is unknown; with our origin it is malformed.
    expect((await post(witness.url, `${rawRequest(0, [], note)}x`)).status).toBe(400);
    expect((await post(witness.url, log.request(leaves.slice(0, 3), 0), '/sign-subtree')).status).toBe(404);
    expect((await fetch(`${witness.url}/add-checkpoint`)).status).toBe(405);
    expect((await post(witness.url, 'x'.repeat(65_537))).status).toBe(413);
    expect((await post(witness.url, log.request(leaves.slice(0, 3), 0))).status).toBe(200);
  });

  it('ignores further signatures and signs extension lines as they are', async () => {
    const witness = await startWitness(folder, [log.verifierKey]);
    const note = log.note(leaves.slice(0, 3));
    const line = writeCosignature(textOf(note), 5, { name: 'else.example/w', privateKey: fixedKey(3) });
    expect((await post(witness.url, rawRequest(0, [], note + line))).status).toBe(200);
  });
});

it('serialises requests of one log: of many trees after one size exactly one is cosigned', async () => {
  const witness = await startWitness(folder, [log.verifierKey]);
  await post(witness.url, log.request(leaves.slice(0, 5), 0));
  const forks = Array.from({ length: 24 }, (_, i) => [...leaves.slice(0, 5), ...leavesOf(1 + (i % 4), `fork ${i}`)]);
  const answers = await Promise.all(forks.map((fork) => post(witness.url, log.request(fork, 5))));
  expect(answers.filter(({ status }) => status === 200).length).toBe(1);
  expect(answers.filter(({ status }) => status === 409).length).toBe(23);
});

it('serves several logs, each with a memory of its own', async () => {
  const second = new TestLog('second.example/audit', 11);
  const witness = await startWitness(folder, [log.verifierKey, second.verifierKey]);
  expect((await post(witness.url, log.request(leaves.slice(0, 5), 0))).status).toBe(200);
  expect((await post(witness.url, second.request(leavesOf(3, 'second'), 0))).status).toBe(200);
  expect(await post(witness.url, log.request(leaves.slice(0, 9), 0))).toMatchObject({ text: '5\n' });
});

describe('after kill -9', () => {
  it('knows everything that it answered, many times over', async () => {
    let size = 0;
    for (const next of [2, 5, 6, 11]) {
      const witness = await startWitness(folder, [log.verifierKey]);
      if (size > 0) {
        const forgotten = await post(witness.url, log.request(leaves.slice(0, next), 0));
        expect(forgotten).toMatchObject({ status: 409, text: `${size}\n` });
      }
      expect((await post(witness.url, log.request(leaves.slice(0, next), size))).status).toBe(200);
      await witness.end('SIGKILL');
      size = next;
    }
  });

  it('begins although the lock of the dead process lies there, but never beside a living one', async () => {
    const witness = await startWitness(folder, [log.verifierKey]);
    const beside = await startWitness(folder, [log.verifierKey]).catch((error: unknown) => String(error));
    expect(beside).toContain('WITNESS_STORE');
    await witness.end('SIGKILL');
    expect(await readdir(witness.store)).toEqual(['lock']);
    const again = await startWitness(folder, [log.verifierKey]);
    expect((await post(again.url, log.request(leaves.slice(0, 2), 0))).status).toBe(200);
  });
});

it('never goes on from a damaged memory', async () => {
  const witness = await startWitness(folder, [log.verifierKey]);
  await post(witness.url, log.request(leaves.slice(0, 5), 0));
  const [file = ''] = (await readdir(witness.store)).filter((name) => name.endsWith('.json'));
  const kept = await readFile(join(witness.store, file), 'utf8');
  for (const text of ['', '{', kept.replace('"5"', '"05"'), kept.replace('log.example', 'else.example')]) {
    await writeFile(join(witness.store, file), text);
    expect((await post(witness.url, log.request(leaves.slice(0, 9), 5))).status).toBe(500);
  }
  await writeFile(join(witness.store, file), kept);
  expect((await post(witness.url, log.request(leaves.slice(0, 9), 5))).status).toBe(200);
});

it.each([
  ['a key that others may read', () => chmod(join(folder, 'witness.key'), 0o644), 'WITNESS_KEY'],
  ['a key that is none', () => writeFile(join(folder, 'witness.key'), 'PRIVATE+KEY+x+00000000+AAAA\n'), 'WITNESS_KEY'],
])('does not start with %s', async (_, spoil, code) => {
  await spoil();
  await expect(startWitness(folder, [log.verifierKey])).rejects.toThrow(code);
});

it('does not start with a log key that is malformed or given twice', async () => {
  await expect(startWitness(folder, ['nonsense'])).rejects.toThrow('error USAGE: --log nonsense: the verifier key is');
  await expect(startWitness(folder, [log.verifierKey, log.verifierKey])).rejects.toThrow('USAGE');
});
