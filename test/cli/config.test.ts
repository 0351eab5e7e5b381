/** Where configuration comes from, in which order, and what is refused. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { nearestName } from '../../src/nearest-name.ts';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'auditkeep-test-config-'));
  await writeFile(join(folder, 'auditkeep.yaml'), 'origin: from.file/audit\nlogLevel: info\nas: file@example.org\n');
  await writeFile(join(folder, 'other.yaml'), 'home: data\n');
  await writeFile(join(folder, 'typo.yaml'), 'databaseUri: postgres://x\n');
  await writeFile(join(folder, 'broken.yaml'), 'a: [1\n');
  await writeFile(join(folder, 'list.yaml'), '- 1\n');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const load = (environment: Record<string, string>, more: Parameters<typeof loadConfig>[0] = {}) =>
  loadConfig({ environment, workingFolder: folder, ...more });

const containing = (part: string): unknown => expect.stringContaining(part);

describe('configuration', () => {
  it('is defaults below file below environment below flags, frozen', async () => {
    const environment = {
      AUDITKEEP_LOG_LEVEL: 'error',
      AUDITKEEP_AS: 'env@example.org',
      DATABASE_URL: 'postgres://env/x',
    };
    const config = await load(environment, { flags: { as: 'flag@example.org', key: undefined } });
    expect(config).toEqual({
      backupRetentionDays: null,
      databaseUrl: 'postgres://env/x',
      reportDatabaseUrl: null,
      maintenanceDatabaseUrl: null,
      retention: null,
      reports: { fiscalYearStart: 1, frequencies: {} },
      home: join(folder, '.auditkeep'),
      as: 'flag@example.org',
      key: null,
      organization: null,
      origin: 'from.file/audit',
      logLevel: 'error',
      witnesses: [],
      sealCertificate: null,
      sealKey: null,
      witnessQuorum: null,
      witnessTimeoutSeconds: 5,
    });
    expect(Object.isFrozen(config)).toBe(true);
  });

  it.each([
    ['witnesses:\n  - vkey: w+1+x\n    url: ftp://w.example\n', 'witnesses.0.url'],
    ['witnesses:\n  - url: https://w.example\n', 'witnesses.0.vkey'],
    ['witnesses:\n  - vkey: w+1+x\n    url: https://w.example\nwitnessQuorum: 2\n', 'witnessQuorum'],
    ['witnessQuorum: 1\n', 'witnessQuorum'],
    ['witnessQuorum: 0\n', 'witnessQuorum'],
    ['witnessTimeoutSeconds: 0\n', 'witnessTimeoutSeconds'],
    ['reports:\n  fiscalYearStart: 13\n', 'reports.fiscalYearStart'],
    ['reports:\n  frequencies:\n    sox: [weekly]\n', 'reports.frequencies.sox.0'],
  ])('refuses %j', async (text, key) => {
    await writeFile(join(folder, 'witnesses.yaml'), text);
    await expect(load({}, { file: 'witnesses.yaml' })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: containing(key),
    });
  });

  it('has paths relative to where they were written', async () => {
    expect((await load({}, { file: 'other.yaml' })).home).toBe(join(folder, 'data'));
    expect((await load({ AUDITKEEP_KEY: 'id' })).key).toBe(join(folder, 'id'));
  });

  it.each([
    [
      { PGHOST: 'db.example', PGUSER: 'me', PGPASSWORD: 'p@ss/w', PGDATABASE: 'audit', PGPORT: '6543' },
      'postgres://me:p%40ss%2Fw@db.example:6543/audit',
    ],
    [{ PGHOST: '/run/postgresql', PGDATABASE: 'audit' }, 'postgres://localhost/audit?host=%2Frun%2Fpostgresql'],
    [{ PGDATABASE: 'audit', PGSSLMODE: 'require' }, 'postgres://localhost/audit?sslmode=require'],
    [{ DATABASE_URL: 'postgres://mine/x', PGHOST: 'other' }, 'postgres://mine/x'],
    [{ PGHOST: '::1', PGDATABASE: 'audit' }, 'postgres://[::1]/audit'],
    [{ PGHOST: '192.0.2.7', PGPORT: '5433', PGDATABASE: 'audit' }, 'postgres://192.0.2.7:5433/audit'],
    [{ DATABASE_URL: 'postgres://mine/x', PGSERVICE: 'other', PGHOST: 'a,b' }, 'postgres://mine/x'],
    [{ PGUSER: 'me' }, null],
  ])('reads libpq variables %j', async (environment, url) => {
    expect((await load(environment)).databaseUrl).toBe(url);
  });

  it.each([
    [{ AUDITKEEP_HOEM: 'x' }, {}, 'unknown environment variable AUDITKEEP_HOEM', 'did you mean AUDITKEEP_HOME?'],
    [{}, { file: 'typo.yaml' }, 'unknown key databaseUri', 'did you mean databaseUrl?'],
    [{ DATABASE_URL: 'admin:secret@db.example/x' }, {}, 'databaseUrl: must look like postgres://', 'correct the value'],
    [{}, { file: 'broken.yaml' }, 'is not YAML', 'correct'],
    [{}, { file: 'list.yaml' }, 'does not hold keys', 'key: value'],
    [{ AUDITKEEP_LOG_LEVEL: 'loud' }, {}, 'logLevel: ', 'correct'],
    [{ AUDITKEEP_ORIGIN: 'Not An Origin' }, {}, 'origin: must look like', 'correct'],
    [{ AUDITKEEP_ORIGIN: 'host.example/2025' }, {}, 'origin: must not end in a number', 'correct'],
    [{ AUDITKEEP_ORIGIN: 'host.example/audit/2' }, {}, 'write host.example/audit-2025', 'correct'],
    [{ PGHOST: 'one.example,two.example' }, {}, 'PGHOST', 'DATABASE_URL'],
    [{ PGHOST: 'db.example:5433' }, {}, 'PGHOST', 'DATABASE_URL'],
    [{ PGHOST: 'fe80::1%eth0' }, {}, 'PGHOST', 'DATABASE_URL'],
    [{ PGHOST: 'db.example/other' }, {}, 'PGHOST', 'DATABASE_URL'],
    [{ PGHOST: 'db.example', PGPORT: '70000' }, {}, 'PGPORT', 'DATABASE_URL'],
    [{ PGHOST: 'db.example', PGPORT: '5433x' }, {}, 'PGPORT', 'DATABASE_URL'],
    [{ PGSERVICE: 'audit' }, {}, 'PGSERVICE', 'DATABASE_URL'],
    [{ PGSERVICE: 'audit', PGHOST: 'db.example' }, {}, 'PGSERVICE', 'DATABASE_URL'],
    [{ PGHOSTADDR: '192.0.2.7' }, {}, 'PGHOSTADDR', 'DATABASE_URL'],
  ])('refuses %j %j', async (environment, more, message, hint) => {
    await expect(load(environment, more)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: containing(message),
      hint: containing(hint),
    });
  });

  it('does not ask libpq’s variables when a flag names the database', async () => {
    const config = await load({ PGSERVICE: 'audit' }, { flags: { databaseUrl: 'postgres://flag/x' } });
    expect(config.databaseUrl).toBe('postgres://flag/x');
  });

  it('needs the file that --config names', async () => {
    await expect(load({}, { file: 'absent.yaml' })).rejects.toMatchObject({ code: 'INPUT_FILE' });
  });

  it('names nothing when nothing is near', () => {
    expect(nearestName('zzzzzzzz', ['home', 'origin'])).toBeNull();
    expect(nearestName('hoem', ['origin', 'home'])).toBe('home');
  });
});
