import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { queryOne, queryRows } from '../../src/db/query.ts';
import { AuditkeepError } from '../../src/errors.ts';
import { writeSshKeyPair } from '../../src/keys/ssh-key.ts';
import type { PersonChange } from '../../src/persons/act.ts';
import { changeRegister, initPersons, proveKey } from '../../src/persons/change.ts';
import { readRegister } from '../../src/persons/read-register.ts';
import { hasRole, replayActs } from '../../src/persons/register.ts';
import { readRosterFile } from '../../src/persons/roster-file.ts';
import { readActs, readInstallationId } from '../../src/persons/store.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { changesFor, emailOf, makeRoster, type Roster } from './roster.ts';

const db = useDatabase();
let ctx: TestContext;
let roster: Roster & { readonly changes: readonly PersonChange[] };
let folder: string;
let officers: (...names: readonly string[]) => string[];
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'auditkeep-persons-'));
  ctx = await testContext(db);
  roster = await makeRoster(ctx, folder);
  officers = (...names) => names.map(roster.keyFile);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const register = () => ctx.db.withClient(readRegister);
const installation = () => ctx.db.withClient(readInstallationId);
const DAY_MS = 86_400_000;

describe('founding', () => {
  test.each([
    ['nobody', [], 'DUTY_SEPARATION'],
    ['one officer', ['officer1'], 'DUTY_SEPARATION'],
    ['one officer twice', ['officer1', 'officer1'], 'DUTY_SEPARATION'],
    ['an officer and somebody else', ['officer1', 'preparer'], 'ROLE_MISSING'],
  ])('%s does not found it', async (_, who, code) => {
    const founding = initPersons(ctx, { changes: roster.changes, officerKeyFiles: officers(...who) });
    await expect(founding).rejects.toMatchObject({ code });
    expect((await register()).register.persons.size).toBe(0);
  });

  test('a key that nobody proved to hold is refused', async () => {
    const borrowed = await proveKey(await installation(), emailOf('preparer'), roster.keyFile('reviewer'));
    const changes = roster.changes.map((change) =>
      change.kind === 'key' && change.email === emailOf('reviewer')
        ? { ...change, public_key: borrowed.publicKey, proof: borrowed.proof }
        : change,
    );
    const founding = initPersons(ctx, { changes, officerKeyFiles: officers('officer1', 'officer2') });
    await expect(founding).rejects.toMatchObject({ code: 'PERSON_ACT_REFUSED' });
  });

  test('two officers found it, once, with an audit event', async () => {
    const act = await initPersons(ctx, { changes: roster.changes, officerKeyFiles: officers('officer1', 'officer2') });
    expect(act.sequence).toBe(1);
    const { register: found, findings } = await register();
    expect(findings).toEqual([]);
    expect(hasRole(found, emailOf('reviewer'), 'reviewer', act.effectiveAt)).toBe(true);
    expect(hasRole(found, emailOf('reviewer'), 'approver', act.effectiveAt)).toBe(false);
    const events = await db.admin.withClient((client) =>
      queryRows(
        client,
        z.object({ sha: z.string() }),
        `select additional_data->>'actSha256' as sha from audit.audit_log_all where event_type = 'person.init'`,
      ),
    );
    expect(events).toEqual([{ sha: act.sha256 }]);
    const again = initPersons(ctx, { changes: roster.changes, officerKeyFiles: officers('officer1', 'officer2') });
    await expect(again).rejects.toMatchObject({ code: 'PERSON_ACT_REFUSED' });
  });
});

describe('changing', () => {
  const give = (who: string, role: 'legal' | 'reviewer'): PersonChange[] => [
    { kind: 'role', email: emailOf(who), role },
  ];

  test('needs two officers whom it does not concern', async () => {
    const attempts: [PersonChange[], string[], string][] = [
      [give('preparer', 'legal'), ['officer1'], 'DUTY_SEPARATION'],
      [give('preparer', 'legal'), ['officer1', 'reviewer'], 'ROLE_MISSING'],
      [give('officer1', 'reviewer'), ['officer1', 'officer2'], 'DUTY_SEPARATION'],
      [give('reviewer', 'reviewer'), ['officer1', 'officer2'], 'PERSON_ACT_REFUSED'],
      [give('stranger', 'reviewer'), ['officer1', 'officer2'], 'PERSON_UNKNOWN'],
      [[], ['officer1', 'officer2'], 'INPUT_INVALID'],
    ];
    for (const [changes, who, code] of attempts) {
      const change = changeRegister(ctx, { changes, officerKeyFiles: officers(...who) });
      await expect(change, `${who.join()} ${code}`).rejects.toMatchObject({ code });
    }
    const stranger = join(folder, 'stranger');
    await writeSshKeyPair(stranger, 'stranger');
    const foreign = changeRegister(ctx, {
      changes: give('preparer', 'legal'),
      officerKeyFiles: [...officers('officer1'), stranger],
    });
    await expect(foreign).rejects.toMatchObject({ code: 'PERSON_KEY_INVALID' });
  });

  test('what two add takes effect after 24 hours, what three add at once', async () => {
    const now = Date.now();
    const two = await changeRegister(ctx, {
      changes: give('preparer', 'legal'),
      officerKeyFiles: officers('officer1', 'officer2'),
    });
    expect(Date.parse(two.effectiveAt) - now).toBeGreaterThan(DAY_MS - 60_000);
    const three = await changeRegister(ctx, {
      changes: give('reviewer', 'legal'),
      officerKeyFiles: officers('officer1', 'officer2', 'officer3'),
    });
    const { register: found, findings } = await register();
    expect(findings).toEqual([]);
    expect(hasRole(found, emailOf('preparer'), 'legal', three.effectiveAt)).toBe(false);
    expect(hasRole(found, emailOf('preparer'), 'legal', two.effectiveAt)).toBe(true);
    expect(hasRole(found, emailOf('reviewer'), 'legal', three.effectiveAt)).toBe(true);
  });

  test('the database itself refuses an early effect with two signatures', async () => {
    const { installation_id, incarnation, sequence, issued_at } = await ctx.db.withClient(async (client) =>
      (await import('../../src/persons/store.ts')).beginAct(client),
    );
    const payload = JSON.stringify({
      format: 'auditkeep-person-act/v2',
      installation_id,
      incarnation,
      sequence,
      previous_act_sha256: (await register()).head,
      time: issued_at,
      effective_at: issued_at,
      changes: give('approver', 'legal'),
    });
    const { register: found } = await register();
    const signatures = ['officer1', 'officer2'].map((name) => ({
      email: emailOf(name),
      fingerprint: [...found.keys.values()].find((key) => key.email === emailOf(name))?.fingerprint,
      signature: '-----BEGIN SSH SIGNATURE-----',
    }));
    const early = ctx.db.withClient((client) =>
      client.query('select compliance.record_person_act($1, $2)', [payload, JSON.stringify(signatures)]),
    );
    await expect(early).rejects.toMatchObject({ code: 'AK014' });
  });

  test('a new person, a second key, the end of a key', async () => {
    const path = roster.keyFile('newcomer');
    await writeSshKeyPair(path, 'newcomer');
    await changeRegister(ctx, {
      changes: await changesFor(ctx, 'newcomer', { roles: ['reviewer'], keyFile: path }),
      officerKeyFiles: officers('officer1', 'officer2', 'officer3'),
    });
    const { register: before } = await register();
    const key = [...before.keys.values()].find((entry) => entry.email === emailOf('newcomer'));
    const end = await changeRegister(ctx, {
      changes: [
        { kind: 'key-end', email: emailOf('newcomer'), fingerprint: key?.fingerprint ?? '', reason: 'compromised' },
        { kind: 'role-end', email: emailOf('newcomer'), role: 'reviewer' },
      ],
      officerKeyFiles: officers('officer1', 'officer2'),
    });
    const { register: after, findings } = await register();
    expect(findings).toEqual([]);
    expect(after.keys.get(key?.fingerprint ?? '')).toMatchObject({ until: end.effectiveAt, endReason: 'compromised' });
    expect(hasRole(after, emailOf('newcomer'), 'reviewer', end.effectiveAt)).toBe(false);
  });

  test('of two changes at once one is made', async () => {
    const changes = (role: 'policy_owner' | 'legal'): PersonChange[] => [
      { kind: 'role', email: emailOf('everything'), role },
    ];
    // Both prepare their act before either is stored: the table is held until both wait for it.
    const results = await db.admin.withClient(async (holder) => {
      await holder.query('begin; lock table compliance.person_act in share row exclusive mode');
      const made = Promise.allSettled(
        (['policy_owner', 'legal'] as const).map((role) =>
          changeRegister(ctx, { changes: changes(role), officerKeyFiles: officers('officer1', 'officer2') }),
        ),
      );
      const waiting = `select count(*)::int as n from pg_locks where relation = 'compliance.person_act'::regclass and not granted
        and database = (select oid from pg_database where datname = current_database())`;
      const count = () => db.admin.withClient((client) => queryOne(client, z.object({ n: z.int() }), waiting));
      await expect.poll(async () => (await count()).n, { timeout: 10_000 }).toBe(2);
      await holder.query('commit');
      return made;
    });
    const told = results.flatMap((result) => (result.status === 'rejected' ? [codeOf(result.reason)] : []));
    expect(told).toEqual(['DECISION_CONFLICT']);
  });
});

describe('replaying', () => {
  test('no signature and no text of an act can change', async () => {
    const { acts, installationId } = await ctx.db.withClient(async (client) => ({
      acts: await readActs(client),
      installationId: await readInstallationId(client),
    }));
    expect(replayActs(installationId, acts).findings).toEqual([]);
    expect(replayActs('00000000-0000-4000-8000-00000000beef', acts).head).toBeNull();
    for (const [index, act] of acts.entries()) {
      const [first, second] = act.signatures;
      if (first === undefined || second === undefined) throw new Error('an act without two signatures');
      const variants = {
        text: { ...act, payload: act.payload.replace('"role":"', '"role":"x') },
        space: { ...act, payload: `${act.payload} ` },
        one: { ...act, signatures: [first] },
        doubled: { ...act, signatures: [first, { ...first, email: second.email }] },
        swapped: { ...act, signatures: [{ ...first, signature: second.signature }, second] },
      };
      for (const [name, variant] of Object.entries(variants)) {
        if (name === 'text' && variant.payload === act.payload) continue;
        const { findings } = replayActs(installationId, acts.with(index, variant));
        expect(findings[0]?.what, `${name} of act ${act.sequence}`).toMatch(`act ${act.sequence}:`);
      }
      const without = replayActs(installationId, acts.toSpliced(index, 1));
      if (index < acts.length - 1) expect(without.findings, `without ${act.sequence}`).not.toEqual([]);
    }
  });
});

describe('the roster file', () => {
  test('is read with keys at hand and with proofs', async () => {
    const proved = await proveKey(await installation(), 'b@example.org', roster.keyFile('officer2'));
    const path = join(folder, 'roster.yaml');
    const persons = [
      { email: 'a@example.org', name: 'A', roles: ['key_officer'], keys: [{ keyFile: 'officer1' }] },
      { email: 'b@example.org', name: 'B', roles: ['key_officer'], keys: [proved] },
    ];
    await writeFile(path, JSON.stringify({ persons }));
    const changes = await readRosterFile(await installation(), path);
    expect(changes.map((change) => change.kind)).toEqual(['person', 'role', 'key', 'person', 'role', 'key']);
  });

  test.each([
    ['no YAML', 'persons:\n  - email: [a', /bad.yaml is not YAML: .* at line \d+, column \d+$/],
    ['no persons', 'persons: []', /malformed at persons: /],
    ['nothing', '', /malformed at its top: /],
    [
      'an unknown role',
      'persons: [{email: a@x.org, name: A, roles: [king], keys: [{keyFile: a}]}]',
      /malformed at persons.0.roles.0: /,
    ],
    [
      'upper case',
      'persons: [{email: A@x.org, name: A, roles: [legal], keys: [{keyFile: a}]}]',
      /malformed at persons.0.email: /,
    ],
  ])('with %s is refused', async (_, text, message) => {
    const path = join(folder, 'bad.yaml');
    await writeFile(path, text);
    await expect(readRosterFile(await installation(), path)).rejects.toMatchObject({ code: 'INPUT_INVALID' });
    await expect(readRosterFile(await installation(), path)).rejects.toThrow(message);
    await expect(readRosterFile(await installation(), join(folder, 'absent.yaml'))).rejects.toMatchObject({
      code: 'INPUT_FILE',
    });
  });
});

function codeOf(error: unknown): string | null {
  return error instanceof AuditkeepError ? error.code : null;
}
