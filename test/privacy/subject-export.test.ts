/** All that is held about one person, wherever it lies, and nothing that is somebody else's or a secret. */
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { Decrypter, generateX25519Identity, identityToRecipient } from 'age-encryption';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { main } from '../../src/cli/main.ts';
import { queryRows } from '../../src/db/query.ts';
import { importNdjson } from '../../src/import/import.ts';
import { importRegister } from '../../src/import/register-import.ts';
import { exportSubject } from '../../src/privacy/subject-export.ts';
import { csvCell } from '../../src/privacy/subject-file.ts';
import { startOfAccounting } from '../../src/privacy/subject-manifest.ts';
import { loadSubjectMap } from '../../src/privacy/subject-map.ts';
import { placesOf } from '../../src/privacy/subject-store.ts';
import { runArchive } from '../../src/retention/archive.ts';
import { isoOf, toInstant, type UtcInstant } from '../../src/time/clock.ts';
import { emailOf, foundRegister, type Roster } from '../persons/roster.ts';
import { ensureMonths, instant } from '../retention/rows.ts';
import { TestClock, type TestContext, testContext } from '../support/context.ts';
import { type TestDatabase, useDatabase } from '../support/database.ts';
import { insertTransactions, makeChain } from './ethereum.ts';

const db: TestDatabase = useDatabase();
const ANN = '10000000-0000-4000-8000-00000000000a';
const BOB = '10000000-0000-4000-8000-00000000000b';
/** Values that no export may hold, and values that are Bob's alone. */
const SECRETS = ['hash-of-ann', 'salt-of-ann', 'token-of-ann', 'mfa-of-ann'];
const OF_BOB = ['bob@example.org', BOB, '10.9.9.9', 'bobs-agent', 'bobs-reason'];
/** A minute after the machine's clock, in whole seconds: roles count from when the database stored them. */
const NOW = toInstant(Math.floor(Date.now() / 1000) * 1000 + 60_000);
const SIX_YEARS_AGO = startOfAccounting(NOW);
const secondsAt = (at: UtcInstant) => `${isoOf(at).slice(0, 19)}Z`;
const dayAfter = isoOf(toInstant(NOW + 86_400_000)).slice(0, 10);
let ctx: TestContext;
let roster: Roster;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'auditkeep-subject-'));
  ctx = await testContext(db, { clock: new TestClock(NOW) });
  roster = await foundRegister(ctx, folder);
  await arrangeTables();
  await arrangeEvents();
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function arrangeTables(): Promise<void> {
  const seal = await ctx.keys.sealer('confidential');
  const cell = (column: string, text: string) =>
    seal({ table: 'security_confidential.users', column, rowId: ANN, dataClass: 'confidential' }, Buffer.from(text));
  await db.admin.withClient(async (client) => {
    await client.query(
      `insert into security_confidential.users
         (id, username, email, password_hash, password_salt, mfa_secret_encrypted, first_name_encrypted, last_name_encrypted)
       values ('${ANN}', 'ann', 'Ann@Example.org', 'hash-of-ann', 'salt-of-ann', 'mfa-of-ann', $1, $2),
              ('${BOB}', 'bob', 'bob@example.org', 'x', 'x', null, null, 'ak1.damaged')`,
      [cell('first_name_encrypted', 'Ann "the" Äxample'), cell('last_name_encrypted', '=cmd()')],
    );
    for (const [user, token, address] of [
      [ANN, 'token-of-ann', '10.0.0.1'],
      [BOB, 'token-of-bob', '10.9.9.9'],
    ]) {
      await client.query(
        `insert into security_internal.user_sessions (user_id, session_token_hash, ip_address, user_agent, expires_at)
         values ($1, $2, $3, 'agent', now())`,
        [user, token, address],
      );
      await client.query(
        `insert into audit.data_access_log (user_id, table_name, row_identifier, access_type, access_granted, ip_address, accessed_at)
         values ($1, 'users', '${ANN}', 'SELECT', true, $2, '2026-03-01T00:00:00Z')`,
        [user, address],
      );
    }
    const ids = await insertTransactions(ctx, client, makeChain(2));
    await client.query(`update security_confidential.transactions set user_id = '${ANN}' where id = $1`, [ids[0]]);
  });
  const file = join(folder, 'disclosures.ndjson');
  const disclosure = (id: string, subject: string, disclosed_at: string, purpose: string) => {
    return JSON.stringify({
      disclosure_id: id,
      subject,
      disclosed_at,
      recipient: 'a court',
      purpose,
      description: 'file',
    });
  };
  const lines = [
    disclosure('1', 'ann@example.org', isoOf(toInstant(SIX_YEARS_AGO - 1)), 'too old'),
    disclosure('2', ANN.toUpperCase(), isoOf(SIX_YEARS_AGO), 'six years ago'),
    disclosure('3', 'ann', '2026-01-01T00:00:00Z', 'a subpoena'),
    disclosure('4', 'bob@example.org', '2026-01-01T00:00:00Z', 'bobs-reason'),
    disclosure('5', 'ann', '2026-02-01T00:00:00Z', 'by mistake'),
  ];
  await writeFile(file, lines.join('\n'));
  await importRegister(ctx, 'disclosure', { paths: [file] });
  // A correction: that one was about somebody else.
  await writeFile(file, disclosure('5', 'carl', '2026-02-01T00:00:00Z', 'by mistake'));
  await importRegister(ctx, 'disclosure', { paths: [file] });
}

/** Ann's events: plain and encrypted, in the hot table, the archive, the late table and quarantine; and Bob's. */
async function arrangeEvents(): Promise<void> {
  const own = (n: number, at: string, more: object) => {
    return { id: `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`, event_timestamp: at, ...EVENT, ...more };
  };
  const ann = { user_id: ANN, user_email: 'ann@example.org', ip_address: '10.0.0.1', user_agent: 'anns-agent' };
  const bob = { user_id: BOB, user_email: 'bob@example.org', ip_address: '10.9.9.9', user_agent: 'bobs-agent' };
  const sensitive = { data_sensitivity: 'sensitive' };
  const write = async (events: readonly object[]) => {
    const file = join(folder, 'events.ndjson');
    await writeFile(file, events.map((event) => JSON.stringify(event)).join('\n'));
    const { imported, late } = await importNdjson(ctx, { paths: [file] });
    expect(imported + late).toBe(events.length);
  };
  await ensureMonths(db.engine, ['2023-01', '2026-03']);
  const [old, now] = ['2023-01-10T00:00:00Z', '2026-03-10T00:00:00Z'];
  await write([own(1, old, ann), own(2, old, { ...ann, ...sensitive }), own(3, old, { ...bob, ...sensitive })]);
  await sealChain(ctx);
  await runArchive(ctx, { table: 'audit_log', before: instant('2023-02-01T00:00:00Z'), reason: 'test' });
  await write([
    own(4, old, ann),
    own(5, now, { ...ann, resource_type: 'file', resource_id: 'f-1', additional_data: { note: 'mine' } }),
    own(6, now, { ...ann, data_sensitivity: 'highly_sensitive', resource_type: 'file', resource_id: 'f-2' }),
    // Bob changes Ann's account, and his own with a word about her.
    own(7, now, { ...bob, resource_type: 'user', resource_id: ANN, new_values: { status: 'locked' } }),
    own(8, now, {
      ...bob,
      ...sensitive,
      resource_type: 'file',
      resource_id: 'f-3',
      additional_data: { by: 'for ANN@example.org' },
    }),
    // Ann changes Bob's account: that she did, but not what it says of him.
    own(9, now, { ...ann, resource_type: 'user', resource_id: BOB, new_values: { reason: 'bobs-reason' } }),
    own(10, now, bob),
    own(11, now, { ...bob, ...sensitive }),
  ]);
  await db.admin.withClient(async (client) => {
    await client.query('create table quarantine.test_unit () inherits (quarantine.audit_log)');
    await client.query(
      `insert into quarantine.test_unit (id, event_type, event_category, event_action, event_timestamp, user_id)
       values ('00000000-0000-4000-8000-000000000012', 'test', 'system', 'READ', '2015-01-01T00:00:00Z', '${ANN}')`,
    );
  });
}

const EVENT = { event_type: 'test', event_category: 'data_access', event_action: 'READ' };

const lineShape = z.record(z.string(), z.string().nullable());
const manifestShape = z.looseObject({
  account: z.boolean(),
  accounting: z.looseObject({ since: z.string(), disclosures: z.int() }),
  tables: z.array(
    z.looseObject({
      table: z.string(),
      rows: z.int(),
      origins: z.record(z.string(), z.int()),
      files: z.array(z.strictObject({ path: z.string(), bytes: z.int(), sha256: z.string() })),
      columns: z.array(z.strictObject({ name: z.string(), type: z.string().min(1) })),
      withheld: z.array(z.strictObject({ column: z.string(), reason: z.string().min(1) })),
    }),
  ),
  nothingFoundIn: z.array(z.string()),
  withheldTables: z.array(z.strictObject({ table: z.string(), reason: z.string() })),
});

const exporting = (person: string, out: string | null, more: { age?: string; received?: string } = {}) =>
  exportSubject(roster.as(ctx, 'records'), {
    person,
    outDir: out === null ? null : join(folder, out),
    ageRecipient: more.age ?? null,
    receivedAt: more.received ?? null,
  });
const fileIn = (out: string, name: string) => readFile(join(folder, out, name), 'utf8');
const linesIn = async (out: string, name: string) =>
  (await fileIn(out, name))
    .trimEnd()
    .split('\n')
    .map((line) => lineShape.parse(JSON.parse(line)));
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

describe('the map', () => {
  test('decides on every column of every table: given, withheld or of nobody', async () => {
    const map = await loadSubjectMap();
    const shape = z.object({ table: z.string(), columns: z.array(z.string()) });
    const catalog = await db.admin.withClient((client) =>
      queryRows(
        client,
        shape,
        `select n.nspname || '.' || c.relname as "table", array_agg(a.attname::text order by a.attname) as columns
           from pg_class c join pg_namespace n on n.oid = c.relnamespace
           join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
          where c.relkind in ('r', 'p') and not c.relispartition
            and (n.nspname in ('audit', 'compliance', 'ops', 'privacy', 'retention') or n.nspname like 'security\\_%')
          group by 1`,
      ),
    );
    const twins = Object.keys(map.tables)
      .concat(map.nobody)
      .flatMap((name) => [`${name}_archive`, `${name}_late`]);
    const decided = [...Object.keys(map.tables), ...Object.keys(map.withheldTables), ...map.nobody];
    const present = catalog.map(({ table }) => table).filter((name) => !twins.includes(name));
    expect(decided.sort()).toEqual(present.sort());
    for (const { table: name, columns } of catalog) {
      const table = map.tables[name];
      if (table === undefined) continue;
      const listed = [...table.columns, ...table.groups, ...Object.values(table.withheld).flat()];
      expect([name, listed.sort()]).toEqual([name, columns]);
      const used = [
        ...table.find,
        ...table.contains,
        ...table.cells,
        ...table.belongs.flatMap((part) => [...part.to, ...part.columns]),
      ];
      expect([name, used.filter((column) => !table.columns.includes(column))]).toEqual([name, []]);
    }
    for (const reason of [
      ...Object.values(map.withheldTables),
      ...Object.values(map.tables).flatMap(({ withheld }) => Object.keys(withheld)),
    ]) {
      expect(Object.keys(map.reasons)).toContain(reason);
    }
  });

  test('names a family where the rows of a table lie in four places', async () => {
    const { tables } = await loadSubjectMap();
    const families = Object.entries(tables)
      .filter(([, { family }]) => family)
      .map(([name]) => name.split('.')[1] ?? '');
    const shape = z.object({ name: z.string() });
    const known = await db.admin.withClient((client) =>
      queryRows(client, shape, 'select table_name as name from retention.family'),
    );
    const withPersons = known.map(({ name }) => name).filter((name) => name !== 'performance_metrics');
    expect(families.sort()).toEqual(withPersons.sort());
    expect(placesOf('audit.audit_log', true).map(({ origin }) => origin)).toEqual([
      'hot',
      'archive',
      'late',
      'quarantine',
    ]);
  });
});

describe('an export', () => {
  test('has every row of the person from every place, decrypted, and says what else was looked at', async () => {
    const result = await exporting('ANN@example.org', 'ann', { received: '2026-03-01' });
    const manifestText = await fileIn('ann', 'manifest.json');
    const manifest = manifestShape.parse(JSON.parse(manifestText));
    expect(result.manifest?.sha256).toBe(sha256(Buffer.from(manifestText)));
    const found = Object.fromEntries(manifest.tables.map(({ table, rows }) => [table, rows]));
    expect(found).toEqual({
      // Nine of those above, the insertion of the account, and the beginning of this export.
      'audit.audit_log': 11,
      'audit.data_access_log': 2,
      'compliance.disclosure': 4,
      'security_confidential.transactions': 1,
      'security_confidential.users': 1,
      'security_internal.user_sessions': 1,
    });
    expect(manifest.account).toBe(true);
    expect(manifest.nothingFoundIn).toContain('security_internal.jwt_tokens');
    expect(manifest.withheldTables.map(({ table }) => table)).toContain('retention.hold');
    const files = manifest.tables.flatMap(({ files: written }) => written);
    for (const { path, bytes, sha256: hash } of files) {
      const content = await readFile(join(folder, 'ann', path));
      expect([path, content.length, sha256(content)]).toEqual([path, bytes, hash]);
      expect((await stat(join(folder, 'ann', path))).mode & 0o777).toBe(0o600);
    }
    expect((await readdir(join(folder, 'ann'))).sort()).toEqual(
      [
        ...files.map(({ path }) => path),
        'accounting-of-disclosures.csv',
        'accounting-of-disclosures.ndjson',
        'manifest.json',
      ].sort(),
    );
    const [user] = await linesIn('ann', 'security_confidential.users.ndjson');
    expect(user).toMatchObject({ id: ANN, email: 'Ann@Example.org', first_name_encrypted: 'Ann "the" Äxample' });
    expect(await fileIn('ann', 'security_confidential.users.csv')).toMatch(/,"Ann ""the"" Äxample",.*,'=cmd\(\),/);
    const [transaction] = await linesIn('ann', 'security_confidential.transactions.ndjson');
    expect(transaction?.['from_address_encrypted']).toMatch(/^0x[0-9a-fA-F]{40}$/);
  });

  test('finds events in clear and in envelopes, in hot, archived, late and quarantined rows', async () => {
    const events = await linesIn('ann', 'audit.audit_log.ndjson');
    const places = events
      .map(({ id, origin }) => [Number(id?.slice(-4)), origin])
      .filter(([n]) => Number(n) <= 12 && Number(n) > 0);
    const [last] = events.filter(({ event_type }) => event_type === 'subject.export-started');
    expect(last).toMatchObject({ resource_id: ANN, user_email: null, user_id: null });
    expect(Object.fromEntries(places.filter(([, origin]) => origin !== undefined))).toMatchObject({
      1: 'archive',
      2: 'archive',
      4: 'late',
      5: 'hot',
      6: 'hot',
      7: 'hot',
      8: 'hot',
      9: 'hot',
      12: 'quarantine',
    });
    expect(places.map(([n]) => n)).not.toEqual(expect.arrayContaining([3]));
    const event = (n: number) => events.find(({ id }) => id?.endsWith(`-${String(n).padStart(12, '0')}`));
    expect(event(2)).toMatchObject({ user_id: ANN, ip_address: '10.0.0.1/32', user_agent: 'anns-agent' });
    expect(event(6)).toMatchObject({ user_email: 'ann@example.org', resource_id: 'f-2' });
    expect(event(7)).toMatchObject({
      user_id: null,
      user_agent: null,
      resource_id: ANN,
      new_values: '{"status": "locked"}',
    });
    expect(event(8)).toMatchObject({
      user_email: null,
      resource_id: 'f-3',
      additional_data: '{"by":"for ANN@example.org"}',
    });
    expect(event(9)).toMatchObject({ user_id: ANN, resource_type: 'user', resource_id: null, new_values: null });
  });

  test('holds no secret and nothing of somebody else', async () => {
    for (const name of await readdir(join(folder, 'ann'))) {
      const content = await fileIn('ann', name);
      for (const word of [...SECRETS, ...OF_BOB]) expect(content.includes(word), `${word} in ${name}`).toBe(false);
    }
  });

  test('accounts for the disclosures of six years, as they were corrected', async () => {
    expect(await fileIn('ann', 'accounting-of-disclosures.csv')).toBe(
      'disclosed_at,recipient,description,purpose\r\n' +
        `${secondsAt(SIX_YEARS_AGO)},a court,file,six years ago\r\n2026-01-01T00:00:00Z,a court,file,a subpoena\r\n`,
    );
  });

  test('is an event before the first row is read and one with counts, which name the person under a commitment only', async () => {
    const shape = z.object({
      type: z.string(),
      who: z.string(),
      resource: z.string(),
      salted: z.boolean(),
      details: z.string(),
    });
    const events = await db.admin.withClient((client) =>
      queryRows(
        client,
        shape,
        `select event_type as type, user_email as who, resource_id as resource, payload_salt is not null as salted,
                additional_data::text as details
           from audit.audit_log where event_type like 'subject.%' order by event_type desc`,
      ),
    );
    expect(events.map(({ type, who, resource, salted }) => [type, who, resource, salted])).toEqual([
      ['subject.exported', emailOf('records'), ANN, true],
      ['subject.export-started', emailOf('records'), ANN, true],
    ]);
    expect(JSON.parse(events[0]?.details ?? '')).toMatchObject({ rows: 20, disclosures: 2, encrypted: false });
    expect(events[0]?.details).not.toMatch(/ann/i);
    const requests = await db.admin.withClient((client) =>
      queryRows(
        client,
        z.object({ received: z.string(), due: z.string(), completed: z.string(), outcome: z.string() }),
        `select received_at::date::text as received, due_at::date::text as due, completed_at::date::text as completed, outcome
           from privacy.subject_request`,
      ),
    );
    expect(requests).toEqual([
      { received: '2026-03-01', due: '2026-04-01', completed: isoOf(NOW).slice(0, 10), outcome: 'done' },
    ]);
  });

  test('is encrypted file by file for an age key, with the same hashes', async () => {
    const identity = await generateX25519Identity();
    await exporting(ANN, 'sealed', { age: await identityToRecipient(identity) });
    const names = await readdir(join(folder, 'sealed'));
    expect(names.every((name) => name.endsWith('.age'))).toBe(true);
    const decrypter = new Decrypter();
    decrypter.addIdentity(identity);
    const open = async (name: string) => decrypter.decrypt(await readFile(join(folder, 'sealed', name)));
    const manifest = manifestShape.parse(JSON.parse(Buffer.from(await open('manifest.json.age')).toString('utf8')));
    for (const { path, sha256: hash } of manifest.tables.flatMap(({ files }) => files)) {
      expect([path, sha256(await open(path))]).toEqual([path, hash]);
    }
    expect(manifest.tables.map(({ table }) => table)).toContain('audit.audit_log');
  });

  test('of somebody who is not known says so, and names them in the trail by a keyed digest', async () => {
    const result = await exporting('nobody@example.org', 'nobody');
    expect(result).toMatchObject({ account: false, disclosures: 0 });
    expect(result.tables.filter(({ rows }) => rows > 0)).toEqual([]);
    const trail = await db.admin.withClient((client) =>
      queryRows(
        client,
        z.object({ id: z.string() }),
        `select resource_id as id from audit.audit_log where resource_id like 'ref:%'`,
      ),
    );
    expect(trail).toHaveLength(2);
    expect(new Set(trail.map(({ id }) => id)).size).toBe(1);
    expect(trail[0]?.id).toMatch(/^ref:[0-9a-f]{64}$/);
  });

  test('of a person whose envelope does not open counts it, and goes on', async () => {
    const { tables } = await exporting(BOB, null);
    const users = tables.find(({ table }) => table === 'security_confidential.users');
    expect(users).toMatchObject({ rows: 1, unreadable: { TAMPERED: 1 }, files: [] });
  });

  test('without a folder writes and records nothing', async () => {
    const count = async () =>
      db.admin.withClient((client) =>
        queryRows(
          client,
          z.object({ n: z.int() }),
          `select count(*)::int as n from audit.audit_log where event_type like 'subject.%'`,
        ),
      );
    const before = await count();
    expect(await exporting('Ann', null)).toMatchObject({ account: true, manifest: null });
    expect(await count()).toEqual(before);
  });
});

describe('refused is', () => {
  const refusal = (who: string | null, input: Partial<Parameters<typeof exportSubject>[1]>) =>
    exportSubject(who === null ? ctx : roster.as(ctx, who), {
      person: ANN,
      outDir: join(folder, 'refused'),
      ageRecipient: null,
      receivedAt: null,
      ...input,
    });

  test.each([
    ['who shows no key', null, {}, 'USAGE'],
    ['who has another role', 'preparer', {}, 'ROLE_MISSING'],
    ['a recipient that is no age key', 'records', { ageRecipient: 'age1nothing' }, 'INPUT_INVALID'],
    ['a time that is none', 'records', { receivedAt: 'last week' }, 'INPUT_INVALID'],
    ['a time to come', 'records', { receivedAt: dayAfter }, 'INPUT_INVALID'],
  ])('%s', async (_what, who, input, code) => {
    await expect(refusal(who, input)).rejects.toMatchObject({ code });
    await expect(stat(join(folder, 'refused'))).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('a person whose user name or address is another account’s too, case aside', async () => {
    const rename = (username: string) =>
      db.admin.withClient((client) =>
        client.query('update security_confidential.users set username = $1 where id = $2', [username, BOB]),
      );
    for (const name of ['ANN', 'ann@EXAMPLE.org']) {
      await rename(name);
      for (const person of ['ann', 'Ann@example.org', ANN]) {
        await expect(refusal('records', { person })).rejects.toMatchObject({ code: 'SUBJECT_AMBIGUOUS' });
        await expect(stat(join(folder, 'refused'))).rejects.toMatchObject({ code: 'ENOENT' });
      }
    }
    await rename('bob');
  });

  test('a key of somebody else', async () => {
    const actor = { kind: 'person' as const, email: emailOf('records'), keyFile: roster.keyFile('preparer') };
    const stolen = exportSubject(
      { ...ctx, actor },
      { person: ANN, outDir: null, ageRecipient: null, receivedAt: null },
    );
    await expect(stolen).rejects.toMatchObject({ code: 'PERSON_KEY_INVALID' });
  });

  test('a folder that holds something, or is none', async () => {
    await mkdir(join(folder, 'used'));
    await writeFile(join(folder, 'used', 'x'), '');
    await expect(refusal('records', { outDir: join(folder, 'used') })).rejects.toMatchObject({ code: 'INPUT_INVALID' });
    await expect(refusal('records', { outDir: join(folder, 'used', 'x') })).rejects.toMatchObject({
      code: 'INPUT_FILE',
    });
  });
});

test('the command says what it found where, and ends with 3 where an envelope does not open', async () => {
  const config = join(folder, 'auditkeep.yaml');
  await writeFile(config, JSON.stringify({ home: ctx.config.home, databaseUrl: db.url(), logLevel: 'silent' }));
  const run = async (person: string, out: string, ...more: string[]) => {
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    const signed = ['--as', emailOf('records'), '--key', roster.keyFile('records'), '--config', config];
    const exit = await main(['subject', 'export', person, '--out', join(folder, out), ...signed, ...more], {
      stdout,
      stderr,
    });
    stdout.end();
    stderr.end();
    return { exit, text: await text(stdout), errors: await text(stderr) };
  };
  const ann = await run('ann@example.org', 'by-command');
  expect(ann).toMatchObject({ exit: 0, errors: '' });
  expect(ann.text).toMatch(/^audit\.audit_log .*2 archive, 1 late, 1 quarantine/m);
  expect(ann.text).toMatch(/^\d disclosures in six years\nan account; nothing found in \d+ tables of \d+\nwrote /m);
  const bob = await run(BOB, 'never', '--dry-run');
  expect(bob).toMatchObject({ exit: 3, errors: '' });
  expect(bob.text).toMatch(/^1 envelope could not be opened: the export is not complete\nNothing was changed\.\n$/m);
  expect(await readdir(folder)).not.toContain('never');
  expect(await run(ANN, 'by-command')).toMatchObject({ exit: 2 });
});

test.each([
  [null, ''],
  ['', '""'],
  ['a', 'a'],
  ['a,b', '"a,b"'],
  ['a "b"\r\n', '"a ""b""\r\n"'],
  ['=1+1', `'=1+1`],
  ['-1', `'-1`],
  ['@x', `'@x`],
])('the cell %j is written as %s', (value, cell) => {
  expect(csvCell(value)).toBe(cell);
});
