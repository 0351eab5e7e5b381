/** Clients that are slow, endless or gone, and a clock that goes backwards, against the server in this process. */
import type { Server } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { parseVerifierKey } from '../../src/audit/tree/checkpoint.ts';
import { createWitnessKey, witnessVerifierKey } from '../../src/audit/witness/key-file.ts';
import { createWitness } from '../../src/audit/witness/server.ts';
import { TestClock, temporaryHome } from '../support/context.ts';
import { leavesOf, post, readCosignature, TestLog, textOf } from './fixtures.ts';

const log = new TestLog();
const leaves = leavesOf(9);
const clock = new TestClock();
let server: Server;
let port: number;
let vkey: string;

beforeEach(async () => {
  const store = await temporaryHome();
  const cosigner = await createWitnessKey(join(store, 'key'), 'witness.example/w1');
  vkey = witnessVerifierKey(cosigner);
  const logs = [parseVerifierKey(log.verifierKey)];
  server = createWitness({ store, cosigner, logs, clock, requestTimeoutMs: 1000, report: () => undefined });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  port = typeof address === 'object' && address !== null ? address.port : 0;
});
afterEach(() => {
  server.closeAllConnections();
  server.close();
});

/** Sends bytes, then more of them for as long as it may; what came back before the server closed. */
function talk(first: string, more = ''): Promise<string> {
  return new Promise((resolve) => {
    let timer: NodeJS.Timeout | undefined;
    const socket = connect(port, '127.0.0.1', () => {
      socket.write(first);
      // Not before: what is written to a socket that still connects goes out first.
      if (more !== '') timer = setInterval(() => socket.write(more), 5);
    });
    let heard = '';
    socket.on('data', (chunk) => {
      heard += chunk.toString();
    });
    // A server that stops listening in the middle of our writing resets the connection.
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearInterval(timer);
      resolve(heard);
    });
  });
}

const start = 'POST /add-checkpoint HTTP/1.1\r\nHost: w\r\n';
it.each([
  ['never ends its headers', start, 'X: y\r\n', '408'],
  ['never sends its body', `${start}Content-Length: 100\r\n\r\nold 0`, '', '408'],
  ['trickles its body', `${start}Transfer-Encoding: chunked\r\n\r\n`, '1\r\nx\r\n', '408'],
  ['announces a huge body', `${start}Content-Length: 10737418240\r\n\r\n`, '', '413'],
  ['sends an endless body', `${start}Transfer-Encoding: chunked\r\n\r\n`, `4000\r\n${'x'.repeat(0x4000)}\r\n`, '413'],
  ['sends huge headers', `${start}X: ${'y'.repeat(20_000)}\r\n\r\n`, '', '431'],
])('drops a client that %s, and answers the next one', async (_, first, more, status) => {
  // A client that writes on while the server closes may lose the answer to the reset; that it is closed is the point.
  expect(await talk(first, more)).toMatch(new RegExp(`^HTTP/1.1 ${status} ${more === '' ? '' : '|^$'}`));
  expect((await post(`http://127.0.0.1:${port}`, log.request(leaves.slice(0, 3), 0))).status).toBe(200);
});

it('never dates a larger tree before a smaller one, though the clock went back', async () => {
  const times: (number | null)[] = [];
  let size = 0;
  for (const [next, at] of [
    [2, '2026-03-15T12:00:00Z'],
    [5, '2026-03-15T11:00:00Z'],
    [5, '2026-03-15T11:30:00Z'],
    [9, '2026-03-15T12:00:01Z'],
  ] as const) {
    clock.set(at);
    const tree = leaves.slice(0, next);
    const { text } = await post(`http://127.0.0.1:${port}`, log.request(tree, size));
    times.push(readCosignature(text, textOf(log.note(tree)), vkey));
    size = next;
  }
  const noon = Date.UTC(2026, 2, 15, 12) / 1000;
  expect(times).toEqual([noon, noon, noon, noon + 1]);
});
