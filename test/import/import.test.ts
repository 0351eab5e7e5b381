/** Imports against a real database: malformed files, late rows, conflicts, a connection killed at the commit. */
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { Database, SqlClient } from '../../src/db/database.ts';
import { execute, queryOne } from '../../src/db/query.ts';
import { generateEvents } from '../../src/import/generate.ts';
import { importCloudtrail, importNdjson } from '../../src/import/import.ts';
import { ensurePartitions } from '../../src/retention/partition.ts';
import { parseInstant, type UtcInstant } from '../../src/time/clock.ts';
import { type TestContext, temporaryHome, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();
let ctx: TestContext;
let folder: string;
let serial = 0;
beforeAll(async () => {
  ctx = await testContext(db);
});
beforeEach(async () => {
  folder = await temporaryHome();
  serial++;
});

const at = (text: string): UtcInstant => {
  const instant = parseInstant(text);
  if (instant === null) throw new RangeError(text);
  return instant;
};
const uuid = (n: number) => `${serial.toString().padStart(8, '0')}-0000-4000-8000-${n.toString().padStart(12, '0')}`;
const record = (n: number, more: object = {}) => ({
  eventID: uuid(n),
  eventTime: '2025-07-10T11:42:36Z',
  eventName: 'GetObject',
  eventSource: 's3.amazonaws.com',
  eventType: 'AwsApiCall',
  ...more,
});
const event = (n: number, more: object = {}) => ({
  id: uuid(n),
  event_timestamp: '2025-07-10T11:42:36.000001Z',
  event_type: 'record.read',
  event_category: 'data_access',
  event_action: 'READ',
  ...more,
});
const file = async (name: string, content: string | Buffer) => {
  await writeFile(join(folder, name), content);
  return join(folder, name);
};
const lines = (...items: readonly (object | string)[]) =>
  items.map((item) => (typeof item === 'string' ? item : JSON.stringify(item))).join('\n');
const countOf = async (sql: string) =>
  Number((await db.engine.withClient((client) => queryOne(client, z.object({ n: z.bigint() }), sql))).n);
const stored = () =>
  countOf(`select count(*) as n from audit.audit_log_all where id::text like '${uuid(0).slice(0, 8)}%'`);

describe('malformed input', () => {
  test('each bad record is named by file, line and reason; the others are imported', async () => {
    const path = await file(
      'events.ndjson',
      Buffer.concat([
        Buffer.from(
          `${lines(
            event(1),
            '{"id":',
            event(2, { user_agent: 'a\0b' }),
            event(3, { user_agent: '\ud800' }),
            event(4, { event_timestamp: '10000-01-01T00:00:00Z' }),
            event(5, { event_type: 'ann@example.com' }),
            `{"additional_data":${'['.repeat(100)}${']'.repeat(100)}}`,
            `{"additional_data":1e99999}`,
            '',
          )}`,
        ),
        Buffer.from([0x7b, 0xff, 0x7d, 0x0a]),
        Buffer.from(lines(event(6))),
      ]),
    );
    const report = await importNdjson(ctx, { paths: [path] });
    expect(report).toMatchObject({ read: 10, imported: 2, rejected: 8, failedFiles: 0 });
    expect(report.rejections.map(({ line, reason, field }) => [line, reason, field])).toEqual([
      [2, 'JSON_INVALID', null],
      [3, 'TEXT_NUL', null],
      [4, 'TEXT_SURROGATE', null],
      [5, 'TIME_INVALID', 'event_timestamp'],
      [6, 'FIELD_INVALID', 'event_type'],
      [7, 'JSON_TOO_DEEP', null],
      [8, 'NUMBER_RANGE', null],
      [9, 'ENCODING_INVALID', null],
    ]);
    expect(await stored()).toBe(2);
  });

  test('a broken file does not stop the others, and links out of the folder are not followed', async () => {
    const outside = await temporaryHome();
    await writeFile(join(outside, 'secret.json'), JSON.stringify({ Records: [record(90)] }));
    await symlink(outside, join(folder, 'linked'));
    await symlink(join(outside, 'secret.json'), join(folder, 'linked.json'));
    await mkdir(join(folder, 'deep/er'), { recursive: true });
    await file('a.json', 'no JSON at all');
    await file('b.json.gz', gzipSync(JSON.stringify({ Records: [record(1)] })).subarray(0, 60));
    await file('c.json.gz', gzipSync(JSON.stringify({ Records: [record(2), record(3)] })));
    await file('d.json', `{"Records":[${JSON.stringify(record(4))},{"cut`);
    await file('e.json', lines(record(5), { Records: [record(6), 7] }));
    await file('deep/er/f.json', JSON.stringify({ Records: [record(7)] }));
    await file('notes.txt', 'not ours');
    const report = await importCloudtrail(ctx, { paths: [folder] });
    expect(report).toMatchObject({ files: 6, skippedFiles: 3, failedFiles: 1, imported: 6, rejected: 3 });
    expect(report.rejections.map((r) => [r.file.slice(folder.length + 1), r.line, r.reason])).toEqual([
      ['a.json', 1, 'JSON_INVALID'],
      ['b.json.gz', null, 'FILE_UNREADABLE'],
      ['d.json', 1, 'FILE_TRUNCATED'],
      ['e.json', 2, 'JSON_INVALID'],
    ]);
    expect(await stored()).toBe(6);
  });

  test('a missing path is an error before anything is done', async () => {
    const good = await file('good.json', lines(record(1)));
    const run = importCloudtrail(ctx, { paths: [good, join(folder, 'absent.json')] });
    await expect(run).rejects.toMatchObject({ code: 'INPUT_FILE' });
    expect(await stored()).toBe(0);
  });

  test('a dry run counts and changes nothing', async () => {
    const report = await importCloudtrail(ctx, {
      paths: [await file('good.json', lines(record(1), '{'))],
      dryRun: true,
    });
    expect(report).toMatchObject({ dryRun: true, read: 2, imported: 0, rejected: 1 });
    expect(await stored()).toBe(0);
  });
});

describe('what is stored', () => {
  test('huge numbers, escapes and unicode come back as they were', async () => {
    const data = '{"n": 123456789012345678901234567890.10, "t": "tab\\t\\\\ \\"q\\" 😀 \\\\N", "k\\n": null}';
    const text = JSON.stringify(event(1, { user_roles: ['a,b', '"{}\\', ''], error_message: '\\N' })).slice(0, -1);
    await importNdjson(ctx, { paths: [await file('x.ndjson', `${text},"additional_data":${data}}`)] });
    const row = await db.engine.withClient((client) =>
      queryOne(
        client,
        z.object({ data: z.string(), roles: z.array(z.string()), message: z.string(), at: z.string() }),
        `select additional_data::text as data, user_roles as roles, error_message as message, event_timestamp as at
           from audit.audit_log where id = '${uuid(1)}'`,
      ),
    );
    expect(row.data).toContain('123456789012345678901234567890.10');
    expect(JSON.parse(row.data)).toMatchObject({ t: 'tab\t\\ "q" 😀 \\N', 'k\n': null });
    expect(row).toMatchObject({ roles: ['a,b', '"{}\\', ''], message: '\\N', at: '2025-07-10 11:42:36.000001+00' });
  });

  test('rows for which there can be no partition, or whose range is archived, are late and known again', async () => {
    await ensurePartitions(ctx, 'audit_log', [at('2020-01-15T00:00:00Z')]);
    await db.engine.withClient(async (client) => {
      for (const step of ['seal_partition', 'seal_partition', 'move_unit'])
        await execute(client, `select retention.${step}('audit_log', '2020-01-01 00:00:00+00')`);
    });
    const path = await file(
      'late.ndjson',
      lines(
        event(1, { event_timestamp: '2020-01-31T23:59:59.999999Z' }),
        event(2, { event_timestamp: '1812-06-24T00:00:00Z' }),
        event(3, { event_timestamp: '2020-02-01T00:00:00Z' }),
      ),
    );
    expect(await importNdjson(ctx, { paths: [path] })).toMatchObject({ imported: 1, late: 2, duplicates: 0 });
    expect(await importNdjson(ctx, { paths: [path, path] })).toMatchObject({ imported: 0, late: 0, duplicates: 6 });
    expect(
      await countOf(`select count(*) as n from audit.audit_log_late where id in ('${uuid(1)}', '${uuid(2)}')`),
    ).toBe(2);
  });

  test('an id that comes back with another time is refused, within a batch and against the chain', async () => {
    const other = { event_timestamp: '2025-07-11T00:00:00Z' };
    const path = await file('twice.ndjson', lines(event(1), event(1), event(1, other)));
    const report = await importNdjson(ctx, { paths: [path] });
    expect(report).toMatchObject({ read: 3, imported: 1, duplicates: 1, rejected: 1 });
    expect(report.rejections).toMatchObject([{ line: 3, reason: 'ID_CONFLICT' }]);
    await db.admin.withClient((client) =>
      execute(
        client,
        `insert into audit.chain_link (seq, event_timestamp, event_id, txid, leaf, chain_hash)
         values (0, '2025-07-10 11:42:36+00', '${uuid(2)}', 1, decode(repeat('00', 32), 'hex'), decode(repeat('00', 32), 'hex'))`,
      ),
    );
    const again = await importNdjson(ctx, { paths: [await file('moved.ndjson', lines(event(2, other)))] });
    expect(again).toMatchObject({ imported: 0, rejected: 1, rejections: [{ line: 1, reason: 'ID_CONFLICT' }] });
  });

  test('an id that comes back with another time before the sealer ran is refused too', async () => {
    const moved = { event_timestamp: '2025-07-11T11:42:36.000001Z' };
    const first = await file('first.ndjson', lines(event(1)));
    const second = await file('second.ndjson', lines(event(1, moved), event(2, moved)));
    expect(await importNdjson(ctx, { paths: [first] })).toMatchObject({ imported: 1 });
    expect(await importNdjson(ctx, { paths: [second] })).toMatchObject({
      imported: 1,
      rejected: 1,
      rejections: [{ line: 1, reason: 'ID_CONFLICT' }],
    });
    expect(await importNdjson(ctx, { paths: [first] })).toMatchObject({ imported: 0, duplicates: 1, rejected: 0 });
    const old = await file('old.ndjson', lines(event(3, { event_timestamp: '1969-07-20T20:17:40Z' })));
    const later = await file('later.ndjson', lines(event(3)));
    expect(await importNdjson(ctx, { paths: [old] })).toMatchObject({ late: 1 });
    expect(await importNdjson(ctx, { paths: [later] })).toMatchObject({ imported: 0, rejected: 1 });
    expect(await stored()).toBe(3);
  });
});

test('two imports of one file at the same time store each event once', async () => {
  const path = await file('both.ndjson', lines(...Array.from({ length: 300 }, (_, n) => event(n))));
  const reports = await Promise.all([importNdjson(ctx, { paths: [path] }), importNdjson(ctx, { paths: [path] })]);
  expect(reports.map((report) => report.imported).toSorted((a, b) => a - b)).toEqual([0, 300]);
  expect(await stored()).toBe(300);
});

test('a batch waits for another one under way, so that it sees what that one stored', async () => {
  const path = await file('late.ndjson', lines(event(1, { event_timestamp: '1812-06-24T00:00:00Z' })));
  const waiting = `select count(*) as n from pg_stat_activity
                    where datname = current_database() and query like '%pg_try_advisory_xact_lock%' and state like 'idle%'`;
  const reading = `select count(*) as n from pg_locks
                    where locktype = 'advisory' and classid = 24939 and objid = 1 and granted and mode = 'ShareLock'
                      and database = (select oid from pg_database where datname = current_database())`;
  const run = await db.admin.withClient(async (client) => {
    await execute(client, 'select pg_advisory_lock(24939, 7)');
    const started = importNdjson(ctx, { paths: [path] });
    await expect.poll(() => countOf(waiting), { timeout: 20_000 }).toBe(1);
    expect(await stored()).toBe(0);
    // It reads hot, archive and late together, so nothing may move meanwhile.
    expect(await countOf(reading)).toBe(1);
    await execute(client, 'select pg_advisory_unlock(24939, 7)');
    // In an object, so that awaiting withClient does not await the import as well.
    return { started };
  });
  expect(await run.started).toMatchObject({ late: 1 });
});

test('an event that an application stores at the same moment is a duplicate, and the batch goes on', async () => {
  const path = await file('race.ndjson', lines(event(1), event(2)));
  await importNdjson(ctx, { paths: [await file('first.ndjson', lines(event(3)))] });
  const run = await db.admin.withClient(async (client) => {
    await client.query('begin');
    await execute(
      client,
      `insert into audit.audit_log (id, event_timestamp, event_type, event_category, event_action)
       values ('${uuid(1)}', '2025-07-10T11:42:36.000001Z', 'record.read', 'data_access', 'READ')`,
    );
    const started = importNdjson(ctx, { paths: [path] });
    const blocked = `select count(*) as n from pg_locks
                      where locktype = 'transactionid' and not granted and transactionid = '${await xidOf(client)}'`;
    await expect.poll(() => countOf(blocked), { timeout: 20_000 }).toBe(1);
    await client.query('commit');
    return { started };
  });
  expect(await run.started).toMatchObject({ imported: 1, duplicates: 1, rejected: 0 });
  expect(await stored()).toBe(3);
});

async function xidOf(client: SqlClient): Promise<string> {
  const text = 'select pg_current_xact_id()::xid::text as xid';
  return (await queryOne(client, z.object({ xid: z.string() }), text)).xid;
}

test('a backend killed at the commit of the second batch loses that batch only; running again adds what is missing', async () => {
  const events = [...generateEvents({ seed: serial, count: 6000, years: 1, now: ctx.clock.now() })];
  const path = await file('generated.ndjson', events.join('\n'));
  const source = `service_name = 'generator'`;
  const killing = { ...ctx, db: killAtCommit(db.engine, 2) };
  await expect(importNdjson(killing, { paths: [path] })).rejects.toMatchObject({ code: 'DB_UNREACHABLE' });
  expect(await countOf(`select count(*) as n from audit.audit_log where ${source}`)).toBe(5000);
  expect(await importNdjson(ctx, { paths: [path] })).toMatchObject({ imported: 1000, duplicates: 5000 });
  expect(await countOf(`select count(*) as n from audit.audit_log where ${source}`)).toBe(6000);
  const recorded = `select sum((additional_data ->> 'imported')::integer)::bigint as n from audit.audit_log_all
                     where event_type = 'import.batch' and additional_data ->> 'fileNamesSha256' in (
                       select additional_data ->> 'fileNamesSha256' from audit.audit_log_all
                        where event_type = 'import.batch' order by event_timestamp desc, txid desc limit 1)`;
  expect(await countOf(recorded)).toBe(6000);
});

/** A database whose server process is terminated between the nth COPY of events and its commit. */
function killAtCommit(real: Database, nth: number): Database {
  let copies = 0;
  const terminate = async (client: SqlClient) => {
    const { pid } = await queryOne(client, z.object({ pid: z.number() }), 'select pg_backend_pid() as pid');
    await db.admin.withClient((admin) => execute(admin, 'select pg_terminate_backend($1::integer, 10000)', [pid]));
  };
  const watched = (client: SqlClient): SqlClient =>
    new Proxy(client, {
      get(target, key) {
        const value: unknown = Reflect.get(target, key);
        if (typeof value !== 'function') return value;
        if (key !== 'query') return value.bind(target) as unknown;
        return (...args: readonly unknown[]) => {
          const [query] = args;
          if (typeof query === 'object' && query !== null && 'text' in query) {
            copies += /^copy audit/.test(String(query.text)) ? 1 : 0;
          }
          const run = () => Reflect.apply(value, target, args) as unknown;
          // A COPY is a stream, which query() gives back as it is: no promise may wrap it.
          return query === 'commit' && copies === nth ? terminate(client).then(run) : run();
        };
      },
    });
  return { end: () => real.end(), withClient: (fn) => real.withClient((client) => fn(watched(client))) };
}
