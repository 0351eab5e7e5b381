/** Bad input as a shell gives it: one line with a code and what to do, the documented exit code, and nothing changed. */
import { chmod, writeFile } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { signCheckpoint } from '../../src/audit/publish/sign.ts';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { installQueues } from '../../src/jobs/install.ts';
import { JOBS } from '../../src/jobs/registry.ts';
import { createKekFile } from '../../src/keys/providers/kek-file.ts';
import { writeSshKeyPair } from '../../src/keys/ssh-key.ts';
import { addEvents } from '../audit/event-fixtures.ts';
import { testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { type Ended, PRODUCT, startCli } from './process.ts';
import { readState } from './state.ts';

const db = useDatabase();
let home = '';
let older: Server;

/** An event that is right but for what is given. */
const event = (more: object) => ({
  ...{ event_type: 'x.y', event_category: 'system', event_action: 'X', event_timestamp: '2025-05-01T00:00:00Z' },
  ...{ external_id: 'e1', source: 'test' },
  ...more,
});
const FILES: Readonly<Record<string, string>> = {
  'nul.ndjson': JSON.stringify(event({ message: 'a\u0000b' })),
  'surrogate.ndjson': JSON.stringify(event({ message: 'a\ud800b' })),
  'year.ndjson': JSON.stringify(event({ event_timestamp: '12025-05-01T00:00:00Z' })),
  'ahead.ndjson': JSON.stringify(event({ event_timestamp: '2999-05-01T00:00:00Z' })),
  'broken.ndjson': '{"event_type": \n',
  'broken.yaml': 'databaseUrl: [\n',
  'transactions.csv': [
    'hash,from_address,to_address,value,gas,gas_price,block_number,block_timestamp,nonce,transaction_index,receipt_status,input',
    `0x${'a1'.repeat(32)},0x${'b2'.repeat(20)},0x${'c3'.repeat(20)},1000,21000,5,77,2025-05-01T00:00:00Z,0,0,1,0x`,
    '',
  ].join('\n'),
};

/** A server that answers as the tests' own does, except that it says to be PostgreSQL 14. */
async function startOlder(url: URL): Promise<Server> {
  const server = createServer((client) => {
    const real = connect(Number(url.port), url.hostname);
    client.pipe(real);
    real.on('data', (chunk: Buffer) => {
      // The number is as long as the one that it stands for, so that every length in the protocol stays right.
      const text = chunk.toString('latin1').replace(/\b1[5-9]\d{4}\b/g, '140011');
      client.write(Buffer.from(text, 'latin1'));
    });
    real.on('close', () => client.destroy());
    client.on('close', () => real.destroy());
    client.on('error', () => real.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}

const inHome = (name: string) => join(home, name);
const told = (code: string, more = '') => new RegExp(`^error ${code}: [^\\n]*${more}[^\\n]*; [^\\n]+\\n$`);

interface Case {
  readonly what: string;
  readonly argv: readonly string[];
  readonly url?: string;
  readonly exit: number;
  /** Of stderr, or of stdout where the exit code is 3. */
  readonly says: RegExp;
}

function cases(): readonly Case[] {
  const rejected = (file: string, why: string) => ({
    argv: ['import', 'ndjson', inHome(file)],
    exit: 3,
    says: new RegExp(`^1 file: 1 record read, 0 imported, .* 1 rejected\\n${inHome(file)}:1 ${why}: [^\\n]+\\n$`),
  });
  const port = older.address();
  const atOlder = `postgres://postgres@127.0.0.1:${typeof port === 'object' && port !== null ? port.port : 0}/postgres`;
  const stranger = db.url('test_stranger_of_bad_input');
  return [
    { what: 'an unknown option', argv: ['status', '--al'], exit: 2, says: told('USAGE', 'unknown option: --al') },
    { what: 'a missing file', argv: ['import', 'ndjson', '/nonexistent'], exit: 2, says: told('INPUT_FILE') },
    {
      what: 'an unreadable configuration',
      argv: ['status', '--config', inHome('broken.yaml')],
      exit: 2,
      says: told('CONFIG_INVALID'),
    },
    { what: 'unreadable JSON', ...rejected('broken.ndjson', 'JSON_INVALID') },
    { what: 'an event with a NUL character', ...rejected('nul.ndjson', 'TEXT_NUL') },
    { what: 'an event with half a character', ...rejected('surrogate.ndjson', 'TEXT_SURROGATE') },
    { what: 'an event of no year', ...rejected('year.ndjson', 'TIME_INVALID event_timestamp') },
    { what: 'an event beyond every partition', ...rejected('ahead.ndjson', 'TIME_FUTURE event_timestamp') },
    { what: 'a login without rights', argv: ['status'], url: stranger, exit: 2, says: told('DB_PRIVILEGE') },
    { what: 'a login that may not migrate', argv: ['migrate'], url: stranger, exit: 2, says: told('DB_PRIVILEGE') },
    {
      what: 'PostgreSQL 14',
      argv: ['migrate'],
      url: atOlder,
      exit: 2,
      says: told('DB_VERSION', 'PostgreSQL 14 is too old'),
    },
    {
      what: 'PostgreSQL 14, asked for its migrations',
      argv: ['migrate', 'status'],
      url: atOlder,
      exit: 2,
      says: told('DB_VERSION'),
    },
    {
      what: 'a person’s key that others may read',
      argv: ['person', 'prove', '--email', 'me@example.org', '--key', inHome('id')],
      exit: 2,
      says: told('KEY_FILE_MODE', 'id: its mode is 0644'),
    },
    {
      what: 'a key file that others may read',
      argv: ['import', 'ethereum', inHome('transactions.csv')],
      exit: 2,
      says: told('KEY_FILE_MODE', 'mode 0644'),
    },
    {
      what: 'a key of the log that others may read',
      argv: ['chain', 'checkpoint'],
      exit: 2,
      says: told('CHAIN_SIGNER_STORE', 'log.key'),
    },
  ];
}

const ended = new Map<string, Ended>();

beforeAll(async () => {
  await db.as('auditkeep_owner').withClient((client) => installQueues(client, JOBS));
  await db.admin.withClient((client) =>
    client.query('create role test_stranger_of_bad_input login').catch(() => undefined),
  );
  const ctx = await testContext(db);
  home = ctx.config.home;
  for (const [name, content] of Object.entries(FILES)) await writeFile(inHome(name), content);
  await writeSshKeyPair(inHome('id'), 'me');
  await createKekFile(home, 1);
  await addEvents(db.engine, 1);
  await sealChain(ctx);
  await signCheckpoint(ctx);
  await addEvents(db.engine, 1, 10);
  await sealChain(ctx);
  for (const key of ['id', 'keys/kek-1.json', 'signer/log.key']) await chmod(inHome(key), 0o644);
  older = await startOlder(new URL(db.url()));
});
afterAll(() => new Promise<void>((resolve) => older.close(() => resolve())));

test('changes nothing, whatever is wrong', async () => {
  const before = await readState(db.admin, home);
  const waiting = [...cases()];
  const runAll = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const env = { AUDITKEEP_HOME: home, DATABASE_URL: next.url ?? db.url(), AUDITKEEP_LOG_LEVEL: 'silent' };
      ended.set(next.what, await startCli(next.argv, env, { entry: PRODUCT }).ended);
    }
  };
  await Promise.all([runAll(), runAll(), runAll()]);
  expect(await readState(db.admin, home)).toEqual(before);
  for (const { what, exit, says } of cases()) {
    const { code, stdout = '', stderr = '' } = ended.get(what) ?? {};
    const [words, nothing] = exit === 3 ? [stdout, stderr] : [stderr, stdout];
    const said: unknown = expect.stringMatching(says);
    expect({ what, code, words, nothing }).toEqual({ what, code: exit, words: said, nothing: '' });
  }
});
