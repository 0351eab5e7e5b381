/** Acts that were backdated, that nobody signed, or that say one thing twice; and how the register goes on after them. */
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { canonicalJson } from '../../src/canonical-json.ts';
import { execute, queryOne } from '../../src/db/query.ts';
import { readSshKeyFile } from '../../src/keys/ssh-key.ts';
import { NAMESPACES, signSshsig } from '../../src/keys/sshsig.ts';
import { emailSchema, type PersonAct, type PersonChange } from '../../src/persons/act.ts';
import { changeRegister } from '../../src/persons/change.ts';
import { readRegister } from '../../src/persons/read-register.ts';
import { hasRole, replayActs, type StoredAct } from '../../src/persons/register.ts';
import { beginAct, readActs } from '../../src/persons/store.ts';
import { approveReport, readDecisions, reviewReport, submitReport } from '../../src/reports/workflow/workflow.ts';
import { emailOf, foundRegister, type Roster } from '../persons/roster.ts';
import { insertDraft } from '../reports/draft.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();
let ctx: TestContext;
let roster: Roster;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'auditkeep-acts-'));
  ctx = await testContext(db);
  roster = await foundRegister(ctx, folder);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const register = () => ctx.db.withClient(readRegister);
const hashOf = (text: string) => createHash('sha256').update(text).digest('hex');
const fingerprintOf = async (who: string) => (await readSshKeyFile(roster.keyFile(who))).publicKey.fingerprint;

async function sign(payload: string, who: readonly string[]): Promise<StoredAct['signatures']> {
  return Promise.all(
    who.map(async (name) => {
      const key = await readSshKeyFile(roster.keyFile(name));
      const signature = await signSshsig(key, NAMESPACES.person, Buffer.from(payload));
      return { email: emailOf(name), fingerprint: key.publicKey.fingerprint, signature };
    }),
  );
}

describe('replaying signed acts', () => {
  const T = Date.UTC(2027, 0, 1);
  const at = (hours: number) => new Date(T + hours * 3_600_000).toISOString();
  const legal: PersonChange[] = [{ kind: 'role', email: emailOf('preparer'), role: 'legal' }];
  const end: PersonChange[] = [{ kind: 'role-end', email: emailOf('preparer'), role: 'preparer' }];

  /** An act after the stored ones and `before`, properly signed. */
  async function actAfter(before: readonly StoredAct[], change: Partial<PersonAct>, who = ['officer1', 'officer2']) {
    const { installationId } = await register();
    const previous = before.at(-1)?.payload ?? '';
    const act = {
      format: 'auditkeep-person-act/v2',
      installation_id: installationId,
      incarnation: 1,
      sequence: before.length + 1,
      previous_act_sha256: hashOf(previous),
      time: at(0),
      effective_at: at(24),
      changes: legal,
      ...change,
    };
    const payload = canonicalJson(act);
    return { sequence: act.sequence, payload, signatures: await sign(payload, who) };
  }

  test.each<[string, Partial<PersonAct>, string | null]>([
    ['an addition after a day', {}, null],
    ['an addition that takes effect early', { effective_at: at(23) }, 'an addition in it takes effect within 24 hours'],
    ['an act that takes effect before it was made', { effective_at: at(-1) }, 'it takes effect before it was made'],
    ['an ending at once', { changes: end, effective_at: at(0) }, null],
    ['an ending that takes effect late', { changes: end }, 'an ending in it takes effect late'],
    [
      'an act dated before the founding one',
      { time: '2020-01-01T00:00:00.000Z', effective_at: '2020-01-02T00:00:00.000Z' },
      'it is dated before the act that it follows',
    ],
  ])('%s', async (_, change, what) => {
    const { installationId } = await register();
    const [founding] = await ctx.db.withClient(readActs);
    if (founding === undefined) throw new Error('no founding act');
    const { findings } = replayActs(installationId, [founding, await actAfter([founding], change)]);
    expect(findings).toEqual(what === null ? [] : [{ kind: 'act-void', what: `act 2: ${what}`, acknowledged: false }]);
  });

  test('an act of an earlier incarnation than the one before it is void', async () => {
    const { installationId } = await register();
    const acts = (await ctx.db.withClient(readActs)).slice(0, 1);
    acts.push(await actAfter(acts, { incarnation: 2 }));
    const other: PersonChange[] = [{ kind: 'role', email: emailOf('reviewer'), role: 'legal' }];
    acts.push(await actAfter(acts, { incarnation: 1, changes: other }));
    expect(replayActs(installationId, acts).findings.map(({ what }) => what)).toEqual([
      'act 3: it belongs to an earlier incarnation',
    ]);
  });

  test('officers whose keys were ended add nobody by dating an act back', async () => {
    const { installationId } = await register();
    const acts = (await ctx.db.withClient(readActs)).slice(0, 1);
    const ended: PersonChange = {
      kind: 'key-end',
      email: emailOf('officer1'),
      fingerprint: await fingerprintOf('officer1'),
      reason: 'compromised',
    };
    const times = { time: at(10), effective_at: at(10) };
    acts.push(await actAfter(acts, { changes: [ended], ...times }, ['officer2', 'officer3']));
    acts.push(await actAfter(acts, { time: at(1), effective_at: at(30) }, ['officer1', 'officer2']));
    const replayed = replayActs(installationId, acts);
    expect(replayed.findings.map(({ what }) => what)).toEqual(['act 3: it is dated before the act that it follows']);
    expect(hasRole(replayed.register, emailOf('preparer'), 'legal', at(1000))).toBe(false);
  });
});

describe('the database', () => {
  /** An act as the engine's login can send it without any officer. */
  async function sendJunk(changes: readonly PersonChange[], change: Record<string, unknown> = {}): Promise<void> {
    const { issued_at, ...place } = await ctx.db.withClient(beginAct);
    const { head } = await register();
    const act = {
      format: 'auditkeep-person-act/v2',
      ...place,
      previous_act_sha256: head,
      time: issued_at,
      effective_at: issued_at,
      changes,
      ...change,
    };
    const signatures = await Promise.all(
      ['officer1', 'officer2', 'officer3'].map(async (name) => ({
        email: emailOf(name),
        fingerprint: await fingerprintOf(name),
        signature: '-----BEGIN SSH SIGNATURE-----junk',
      })),
    );
    await db.engine.withClient((client) =>
      execute(client, 'select compliance.record_person_act($1::text, $2::jsonb)', [
        canonicalJson(act),
        JSON.stringify(signatures),
      ]),
    );
  }

  const dated = (minutes: number) => new Date(Date.now() + minutes * 60_000).toISOString();
  test.each([
    ['long ago', -16, 'AK007'],
    ['in the future', 5, 'AK007'],
  ])('refuses an act dated %s', async (_, minutes, code) => {
    const role: PersonChange[] = [{ kind: 'role', email: emailOf('preparer'), role: 'legal' }];
    const sent = sendJunk(role, { time: dated(minutes), effective_at: dated(minutes) });
    await expect(sent).rejects.toMatchObject({ code });
  });

  test.each<[string, number | null, number, PersonChange['kind']]>([
    ['that takes effect before it was made', null, -2, 'role'],
    ['that ends something late', null, 60, 'role-end'],
    ['that is dated before the one it follows', -14, -14, 'role-end'],
  ])('refuses an act %s', async (_, made, effective, kind) => {
    const role = { email: emailOf('preparer'), role: kind === 'role' ? 'legal' : 'preparer' } as const;
    const change = kind === 'role' ? ({ kind, ...role } as const) : ({ kind: 'role-end', ...role } as const);
    const time = made === null ? {} : { time: dated(made) };
    const sent = sendJunk([change], { ...time, effective_at: dated(effective) });
    await expect(sent).rejects.toMatchObject({ code: 'AK014' });
  });

  test('an act that nobody signed ends nobody’s authority for good', async () => {
    const report = await insertDraft(ctx);
    const officers = ['officer1', 'officer2', 'officer3'];
    await submitReport(roster.as(ctx, 'preparer'), { reportId: report });
    await sendJunk([{ kind: 'role-end', email: emailOf('approver'), role: 'approver' }]);
    const poisoned = await register();
    expect(poisoned.findings).toEqual([
      { kind: 'act-void', what: 'act 2: a signature does not verify', acknowledged: false },
    ]);
    expect(hasRole(poisoned.register, emailOf('approver'), 'approver', new Date().toISOString())).toBe(true);
    expect((await readDecisions(ctx, report)).valid).toBe(true);
    await reviewReport(roster.as(ctx, 'reviewer'), { reportId: report });
    await expect(approveReport(roster.as(ctx, 'approver'), { reportId: report })).rejects.toMatchObject({
      code: 'ROLE_MISSING',
    });

    // The officers' next act follows the last that holds; with it the void one drops out of the database's own checks.
    const changed = await changeRegister(ctx, {
      changes: [{ kind: 'role', email: emailOf('preparer'), role: 'legal' }],
      officerKeyFiles: officers.map(roster.keyFile),
    });
    expect(changed.sequence).toBe(3);
    expect((await register()).findings).toHaveLength(1);
    await approveReport(roster.as(ctx, 'approver'), { reportId: report });
    expect((await readDecisions(ctx, report)).valid).toBe(true);
  });

  test('a key that was ended is not ended again, with a code of its own', async () => {
    const end = async () =>
      changeRegister(ctx, {
        changes: [
          {
            kind: 'key-end',
            email: emailOf('everything'),
            fingerprint: await fingerprintOf('everything'),
            reason: 'left',
          },
        ],
        officerKeyFiles: ['officer1', 'officer2'].map(roster.keyFile),
      });
    await end();
    await expect(end()).rejects.toMatchObject({ code: 'PERSON_ACT_REFUSED' });
    const fingerprint = await fingerprintOf('everything');
    const again = sendJunk([{ kind: 'key-end', email: emailOf('everything'), fingerprint, reason: 'left' }]);
    await expect(again).rejects.toMatchObject({ code: 'AK014' });
  });

  test('stores no address that is a pattern, whoever asks', async () => {
    const stored = db
      .as('auditkeep_owner')
      .withClient((client) =>
        execute(client, `insert into compliance.person (email, name, kind) values ('*@example.org', 'x', 'service')`),
      );
    await expect(stored).rejects.toMatchObject({ code: '23514' });
  });

  test('an installation keeps its id in every incarnation', async () => {
    const shape = z.object({ ids: z.bigint() });
    const { ids } = await db.admin.withClient(async (client) => {
      await execute(client, 'begin');
      await execute(client, 'insert into compliance.installation (incarnation) values (2)');
      const row = await queryOne(
        client,
        shape,
        'select count(distinct installation_id) as ids from compliance.installation',
      );
      await execute(client, 'rollback');
      return row;
    });
    expect(ids).toBe(1n);
  });
});

test.each([
  '*@example.org',
  '#x@y',
  '!x@y',
  'a"b@c',
  'a|b@c',
  'a,b@c',
  'café@x.org',
  'cafe\u0301@x.org',
  'a?@x.org',
  'a b@c',
])('an address such as %s is not registered', (email) => {
  expect(emailSchema.safeParse(email).success).toBe(false);
});
