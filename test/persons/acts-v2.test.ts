/** Acts of the second format: proofs for one installation, acknowledgements; and acts of the first, which are still read. */
import { createHash, randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { canonicalJson } from '../../src/canonical-json.ts';
import { execute } from '../../src/db/query.ts';
import { readSshKeyFile } from '../../src/keys/ssh-key.ts';
import { NAMESPACES, signSshsig } from '../../src/keys/sshsig.ts';
import { acknowledgeVoid } from '../../src/persons/acknowledge.ts';
import type { PersonChange } from '../../src/persons/act.ts';
import { changeRegister, proveKey } from '../../src/persons/change.ts';
import { decisionText } from '../../src/persons/decision.ts';
import { readRegister } from '../../src/persons/read-register.ts';
import { replayActs, type StoredAct } from '../../src/persons/register.ts';
import { SERVICE_PERSON } from '../../src/persons/roles.ts';
import { beginAct } from '../../src/persons/store.ts';
import { openTwoSigners } from '../../src/persons/two-signatures.ts';
import { beginDecision, insertDecision } from '../../src/reports/workflow/store-workflow.ts';
import { readDecisions, submitReport } from '../../src/reports/workflow/workflow.ts';
import { insertDraft } from '../reports/draft.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { emailOf, foundRegister, type Roster } from './roster.ts';

const db = useDatabase();
let ctx: TestContext;
let roster: Roster;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'auditkeep-acts-v2-'));
  ctx = await testContext(db);
  roster = await foundRegister(ctx, folder);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const register = () => ctx.db.withClient(readRegister);
const officers = (...names: string[]) => names.map(roster.keyFile);
const hashOf = (text: string) => createHash('sha256').update(text).digest('hex');
const INSTALLATION = '00000000-0000-4000-8000-00000000cafe';
const OFFICERS = ['officer1', 'officer2'];
const T = '2027-01-01T00:00:00.000Z';

async function firstProof(who: string): Promise<{ publicKey: string; proof: string }> {
  const key = await readSshKeyFile(roster.keyFile(who));
  const { fingerprint, text: publicKey } = key.publicKey;
  const text = canonicalJson({ format: 'auditkeep-key-possession/v1', email: emailOf(who), fingerprint });
  return { publicKey, proof: await signSshsig(key, NAMESPACES.person, Buffer.from(text)) };
}

type Prove = (who: string) => Promise<{ publicKey: string; proof: string }>;

async function bring(who: string, prove: Prove): Promise<PersonChange[]> {
  const { publicKey, proof } = await prove(who);
  return [
    { kind: 'person', email: emailOf(who), name: who },
    { kind: 'role', email: emailOf(who), role: 'key_officer' },
    { kind: 'key', email: emailOf(who), public_key: publicKey, proof },
  ];
}

/** An act of a format after others, signed by two officers. */
async function actOf(version: 'v1' | 'v2', before: readonly StoredAct[], changes: PersonChange[]): Promise<StoredAct> {
  const payload = canonicalJson({
    format: `auditkeep-person-act/${version}`,
    installation_id: INSTALLATION,
    incarnation: 1,
    sequence: before.length + 1,
    previous_act_sha256: before.length === 0 ? null : hashOf(before.at(-1)?.payload ?? ''),
    time: T,
    effective_at: before.length === 0 ? T : '2027-01-02T00:00:00.000Z',
    changes,
  });
  const signatures = await Promise.all(
    OFFICERS.map(async (name) => {
      const key = await readSshKeyFile(roster.keyFile(name));
      const signature = await signSshsig(key, NAMESPACES.person, Buffer.from(payload));
      return { email: emailOf(name), fingerprint: key.publicKey.fingerprint, signature };
    }),
  );
  return { sequence: before.length + 1, payload, signatures };
}

async function founding(version: 'v1' | 'v2', prove: Prove): Promise<StoredAct> {
  const changes = await Promise.all(OFFICERS.map((who) => bring(who, prove)));
  return actOf(version, [], changes.flat());
}

const whatOf = (acts: readonly StoredAct[]) => replayActs(INSTALLATION, acts).findings.map(({ what }) => what);
const provedFor = (installation: string): Prove => {
  return (who) => proveKey(installation, emailOf(who), roster.keyFile(who));
};

describe('proofs of possession', () => {
  test.each<[string, 'v1' | 'v2', Prove, boolean]>([
    ['for this installation', 'v2', provedFor(INSTALLATION), true],
    ['for another installation', 'v2', provedFor(randomUUID()), false],
    ['of the first format, in an act of the second', 'v2', firstProof, false],
    ['of the first format, in an act of the first', 'v1', firstProof, true],
    ['for this installation, in an act of the first', 'v1', provedFor(INSTALLATION), false],
  ])('%s', async (_, version, prove, holds) => {
    expect(whatOf([await founding(version, prove)])).toEqual(
      holds ? [] : ['act 1: a key in it was not proved to be held'],
    );
  });

  test('the register goes from the first format to the second and never back', async () => {
    const role: PersonChange[] = [{ kind: 'role', email: emailOf('approver'), role: 'legal' }];
    const first = await founding('v1', firstProof);
    const second = await actOf('v2', [first], await bring('approver', provedFor(INSTALLATION)));
    expect(whatOf([first, second])).toEqual([]);
    expect(whatOf([first, second, await actOf('v2', [first, second], role)])).toEqual([]);
    const back = await actOf('v1', [first, second], role);
    expect(whatOf([first, second, back])).toEqual(['act 3: it is of an earlier format']);
  });

  test('nobody becomes the service person', async () => {
    const first = await founding('v2', provedFor(INSTALLATION));
    const second = await actOf('v2', [first], [{ kind: 'person', email: SERVICE_PERSON, name: 'engine' }]);
    expect(whatOf([first, second])).toEqual(['act 2: its changes contradict the register']);
  });

  test('an act of the first format acknowledges nothing', async () => {
    const first = await founding('v1', firstProof);
    const change = { kind: 'acknowledge', subject: 'decision', id: INSTALLATION, payload_sha256: hashOf('x') } as const;
    const second = await actOf('v1', [first], [{ ...change, reason: 'seen' }]);
    expect(whatOf([first, second])).toEqual(['act 2: it is of an earlier format']);
  });
});

describe('acknowledging what is void', () => {
  /** An act as the engine's login alone can store it. */
  async function sendJunkAct(
    format = 'auditkeep-person-act/v2',
    changes: readonly PersonChange[] = [{ kind: 'role', email: emailOf('preparer'), role: 'approver' }],
  ): Promise<void> {
    const { issued_at, ...place } = await ctx.db.withClient(beginAct);
    const { head, register: found } = await register();
    const payload = canonicalJson({
      format,
      ...place,
      previous_act_sha256: head,
      time: issued_at,
      effective_at: issued_at,
      changes,
    });
    const signatures = ['officer1', 'officer2', 'officer3'].map((name) => ({
      email: emailOf(name),
      fingerprint: [...found.keys.values()].find((key) => key.email === emailOf(name))?.fingerprint,
      signature: '-----BEGIN SSH SIGNATURE-----junk',
    }));
    await db.engine.withClient((client) =>
      execute(client, 'select compliance.record_person_act($1::text, $2::jsonb)', [
        payload,
        JSON.stringify(signatures),
      ]),
    );
  }

  const acknowledge = (subject: { act?: string; decision?: string }, who = OFFICERS) =>
    acknowledgeVoid(ctx, {
      act: subject.act ?? null,
      decision: subject.decision ?? null,
      reason: 'looked into, nobody signed it',
      officerKeyFiles: officers(...who),
    });

  test('the database takes no further acts of the first format', async () => {
    await expect(sendJunkAct('auditkeep-person-act/v1')).rejects.toMatchObject({ code: 'AK009' });
  });

  test('a void act stays a finding, acknowledged at once by two officers, and still counts for nothing', async () => {
    await sendJunkAct();
    expect((await register()).findings).toMatchObject([{ kind: 'act-void', acknowledged: false }]);
    const twoSigners = () =>
      db.engine.withClient((client) =>
        openTwoSigners(client, { keyFiles: officers(...OFFICERS), roles: ['key_officer'] }),
      );
    await expect(twoSigners()).rejects.toMatchObject({ code: 'REGISTER_INVALID' });
    await expect(acknowledge({ act: '2' }, ['officer1'])).rejects.toMatchObject({ code: 'DUTY_SEPARATION' });
    await expect(acknowledge({ act: '2' }, ['officer1', 'reviewer'])).rejects.toMatchObject({ code: 'ROLE_MISSING' });
    const done = await acknowledge({ act: '2' });
    const { findings, register: found } = await register();
    expect(findings).toMatchObject([{ kind: 'act-void', acknowledged: true }]);
    expect(found.roles.some((role) => role.email === emailOf('preparer') && role.role === 'approver')).toBe(false);
    expect(Date.parse(done.effectiveAt)).toBeLessThanOrEqual(Date.now());
    expect((await twoSigners()).keys).toHaveLength(2);
  });

  test.each([
    ['an act that holds', { act: '1' }, 'PERSON_ACT_REFUSED'],
    ['an act that is not there', { act: '77' }, 'PERSON_ACT_REFUSED'],
    ['nothing', {}, 'USAGE'],
    ['two things', { act: '2', decision: randomUUID() }, 'USAGE'],
  ])('%s is not acknowledged', async (_, subject, code) => {
    const before = (await register()).head;
    await expect(acknowledge(subject)).rejects.toMatchObject({ code });
    expect((await register()).head).toBe(before);
  });

  test('the database takes no acknowledgement of what it does not have', async () => {
    for (const subject of ['act', 'decision'] as const) {
      const change = { kind: 'acknowledge', subject, id: '2', payload_sha256: hashOf('other'), reason: 'x' } as const;
      await expect(sendJunkAct('auditkeep-person-act/v2', [change])).rejects.toMatchObject({ code: 'AK014' });
    }
  });

  test('the text that is acknowledged is named by its hash', async () => {
    const change = {
      kind: 'acknowledge',
      subject: 'act',
      id: '2',
      payload_sha256: hashOf('other'),
      reason: 'x',
    } as const;
    const changed = changeRegister(ctx, { changes: [change], officerKeyFiles: officers(...OFFICERS) });
    await expect(changed).rejects.toMatchObject({ code: 'PERSON_ACT_REFUSED' });
  });

  test('a void decision is acknowledged and makes nothing valid', async () => {
    const report = await insertDraft(ctx);
    const key = await readSshKeyFile(roster.keyFile('preparer'));
    const request = await db.engine.withClient((client) =>
      beginDecision(client, report, 'submit', { email: emailOf('preparer'), previous: null }),
    );
    const payload = decisionText(request, key.publicKey.fingerprint, null);
    const signature = '-----BEGIN SSH SIGNATURE-----junk';
    await db.engine.withClient((client) => insertDecision(client, { payload, signature, comment: null }));
    const read = async () => {
      const { valid, findings } = await readDecisions(ctx, report);
      const own = findings.filter((finding) => finding.decisionId !== null || finding.kind === 'status');
      return { valid, own: own.map(({ kind, void: isVoid, acknowledged }) => [kind, isVoid, acknowledged]) };
    };
    const status = ['status', false, false];
    expect(await read()).toEqual({ valid: false, own: [['signature', true, false], status] });
    await acknowledge({ decision: request.decision_id });
    expect(await read()).toEqual({ valid: false, own: [['signature', true, true], status] });
    await submitReport(roster.as(ctx, 'preparer'), { reportId: report });
    expect(await read()).toEqual({ valid: true, own: [['signature', true, true]] });
  });
});
