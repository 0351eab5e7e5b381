/**
 * The witness as a web server of one call, POST /add-checkpoint (https://c2sp.org/tlog-witness). It trusts nobody who
 * asks: bodies are bounded, slow clients are dropped, and each log's requests are judged one after the other, so that
 * reading the last head, judging and writing the new one are one step.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Clock } from '../../time/clock.ts';
import { splitNote, type VerifierKey } from '../tree/checkpoint.ts';
import { type AddCheckpoint, MAX_REQUEST_BYTES, parseAddCheckpoint, SIZE_TYPE } from './add-checkpoint.ts';
import { type Cosigner, cosign } from './cosignature.ts';
import { judgeCheckpoint, originLine, type Verdict } from './judge.ts';
import { keepEvidence, readWitnessedHead, writeWitnessedHead } from './log-store.ts';

const MAX_CONNECTIONS = 200;
const MAX_HEADER_BYTES = 8192;

export interface WitnessOptions {
  readonly store: string;
  readonly cosigner: Cosigner;
  /** The logs that this witness knows; the name of a key is the log's origin. */
  readonly logs: readonly VerifierKey[];
  readonly clock: Clock;
  /** How long a client may take to send its request. */
  readonly requestTimeoutMs: number;
  /** Told of each answer: one line of words and numbers. */
  report(line: string): void;
}

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly type?: string;
}

/** A server that the caller lets listen and closes. The store must be locked by this process (lockStore). */
export function createWitness(options: WitnessOptions): Server {
  const turns = new Map<string, Promise<unknown>>();
  const server = createServer(
    {
      requestTimeout: options.requestTimeoutMs,
      headersTimeout: options.requestTimeoutMs,
      connectionsCheckingInterval: Math.min(options.requestTimeoutMs, 1000),
      maxHeaderSize: MAX_HEADER_BYTES,
    },
    (request, response) => {
      void answer(options, turns, request)
        .catch((error: unknown) => {
          // Disk full, a damaged store: nothing was cosigned, and the client learns no more than that.
          options.report(`500 ${error instanceof Error ? error.message : 'unknown failure'}`);
          return { status: 500, body: 'the witness cannot answer\n' };
        })
        .then((given) => send(response, given));
    },
  );
  server.maxConnections = MAX_CONNECTIONS;
  return server;
}

async function answer(
  options: WitnessOptions,
  turns: Map<string, Promise<unknown>>,
  message: IncomingMessage,
): Promise<Answer> {
  if (message.url !== '/add-checkpoint') return { status: 404, body: 'no such call\n' };
  if (message.method !== 'POST') return { status: 405, body: 'POST only\n' };
  const body = await readBody(message);
  if (body === null) return { status: 413, body: `over ${MAX_REQUEST_BYTES} bytes\n` };
  const request = parseAddCheckpoint(body);
  if (request === null) return { status: 400, body: 'not an add-checkpoint request\n' };
  const origin = originLine(request.note);
  const key = options.logs.find((log) => log.name === origin);
  if (key === undefined) return { status: 404, body: 'unknown log\n' };
  // After whatever the request before it came to.
  const turn = (turns.get(origin) ?? Promise.resolve()).catch(() => null).then(() => decide(options, request, key));
  turns.set(origin, turn);
  return turn;
}

async function decide(options: WitnessOptions, request: AddCheckpoint, key: VerifierKey): Promise<Answer> {
  const { store, cosigner, clock } = options;
  const last = await readWitnessedHead(store, key.name);
  const verdict = judgeCheckpoint(request, key, last);
  if (verdict.kind === 'forked' || verdict.kind === 'unproven') await keepEvidence(store, request.note);
  if (verdict.kind !== 'cosign') {
    const refusal = refuse(verdict);
    options.report(`${refusal.status} ${key.name} ${verdict.kind}, old ${request.oldSize}, at ${last?.size ?? 0n}`);
    return refusal;
  }
  const { origin, size, root } = verdict.head;
  // A clock that went back must not date a larger tree before a smaller one.
  const now = BigInt(Math.floor(clock.now() / 1000));
  const time = last !== null && last.time > now ? last.time : now;
  const { text } = splitNote(request.note);
  await writeWitnessedHead(store, { origin, size, root, note: request.note, time });
  options.report(`200 ${origin} at ${size}`);
  return { status: 200, body: cosign(text, time, cosigner) };
}

function refuse(verdict: Exclude<Verdict, { kind: 'cosign' }>): Answer {
  switch (verdict.kind) {
    case 'malformed':
      return { status: 400, body: `${verdict.reason}\n` };
    case 'unsigned':
      return { status: 403, body: `${verdict.reason}\n` };
    case 'conflict':
    case 'forked':
      return { status: 409, body: `${verdict.size}\n`, type: SIZE_TYPE };
    case 'unproven':
      return { status: 422, body: 'the consistency proof does not verify\n' };
  }
}

/** The whole body; null when it is too large, without reading on. */
async function readBody(message: IncomingMessage): Promise<Buffer | null> {
  if (Number(message.headers['content-length'] ?? 0) > MAX_REQUEST_BYTES) return null;
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of message.iterator({ destroyOnReturn: false })) {
    if (!Buffer.isBuffer(chunk)) continue;
    length += chunk.length;
    if (length > MAX_REQUEST_BYTES) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function send(response: ServerResponse, { status, body, type }: Answer): void {
  const close = status === 413 ? { connection: 'close' } : {};
  const headers = { 'content-type': type ?? 'text/plain; charset=utf-8', 'content-length': Buffer.byteLength(body) };
  // The rest of a body that nobody reads would keep the connection busy for ever.
  response.writeHead(status, { ...headers, ...close }).end(body, () => {
    if (status === 413) response.req.destroy();
  });
}
