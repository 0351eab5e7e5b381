/** Bundles by somebody who wants the verifier to fall, to say intact, or to write into the auditor's terminal. */
import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { temporaryHome } from '../support/context.ts';
import { jsonVariants } from '../support/json-variants.ts';
import {
  type ErasureMade,
  type Keys,
  listAnew,
  type Made,
  makeBundle,
  makeErasure,
  makeKeys,
  writeParts,
} from './made-bundle.ts';
import { NODES, type Report, runVerifier, verifier } from './verifier.ts';

let keys: Keys;
let whole: Made;
let folder: string;
let written: Made;

beforeAll(async () => {
  keys = await makeKeys(await temporaryHome());
  whole = await makeErasure(keys);
});
beforeEach(async () => {
  folder = join(await temporaryHome(), 'made');
  written = new Map();
});

const options = () => ({ key: verifier.parseVerifierKey(keys.vkey), signers: verifier.parseSigners(keys.signers) });

/** Makes the folder hold these parts; those that it holds already are left alone. */
async function put(parts: Made): Promise<void> {
  for (const name of written.keys()) if (!parts.has(name)) await rm(join(folder, name));
  await writeParts(folder, new Map([...parts].filter(([name, bytes]) => written.get(name)?.equals(bytes) !== true)));
  written = new Map(parts);
}

async function check(parts: Made): Promise<Report> {
  await put(parts);
  return verifier.verifyBundle(folder, options());
}

/** A copy with one part changed and listed anew, as somebody who knows the format would. */
const changed = (name: string, bytes: Buffer | string) => listAnew(new Map(whole).set(name, Buffer.from(bytes)));

const textOf = (name: string) => whole.get(name)?.toString() ?? '';

it('a bundle made from nothing is intact as long as nobody touches it', async () => {
  expect(await check(whole)).toMatchObject({ verdict: 'intact', exitCode: 0, findings: [], doubts: [] });
});

describe('a record', () => {
  it.each([
    ['payload null, signatures null', () => '{"payload":"null","signatures":[null,null]}'],
    ['null', () => 'null'],
    ['a number', () => '7'],
    ['signatures of other types', (text: string) => text.replace(/"signatures":.*$/, '"signatures":[1,"x"]}')],
    ['a payload that is no text', (text: string) => text.replace(/"payload":"(?:[^"\\]|\\.)*"/, '"payload":{}')],
    ['a field twice', (text: string) => text.replace('{', '{"payload" : "x",')],
    ['a field twice, otherwise written', (text: string) => text.replace('{', '{"p\\u0061yload":"x",')],
    ['a field twice in a signature', (text: string) => text.replace('{"fing', '{"signature":"x","fing')],
    ['a field too many', (text: string) => text.replace('{', '{"more":1,')],
    ['deep nesting', (text: string) => text.replace('{', `{"more":${'['.repeat(20_000)}${']'.repeat(20_000)},`)],
  ])('with %s is a finding and hides no other', async (_, data) => {
    const made = await makeErasure(keys, { data });
    listAnew(made.set('chain/000.p/3', Buffer.alloc(96)));
    const { exitCode, findings } = await check(made);
    expect(exitCode).toBe(1);
    const kinds = findings.map((found) => `${found.class} ${found.where}`);
    expect(kinds).toEqual(expect.arrayContaining(['record-invalid records.ndjson line 1', 'rehashed chain/000.p/3']));
  });

  it('is judged by the time of its event, not by the one that its text claims', async () => {
    const until = {
      ...options(),
      signers: verifier.parseSigners(keys.signers.replaceAll(/^\S+/gm, '$& valid-before="20260301Z"')),
    };
    const judge = async (made: ErasureMade) => {
      await put(await makeErasure(keys, made));
      return verifier.verifyBundle(folder, until);
    };
    expect(await judge({ time: Date.UTC(2026, 1, 28) })).toMatchObject({ exitCode: 0 });
    expect(await judge({ time: Date.UTC(2026, 2, 2) })).toMatchObject({
      exitCode: 1,
      findings: [{ class: 'record-invalid' }, {}, {}],
    });
    const later = (text: string) => text.replace('2026-02-03', '2026-04-03');
    expect(await judge({ payload: later, time: Date.UTC(2026, 1, 28) })).toMatchObject({ exitCode: 0 });
  });

  it('of a time that no list of signers can write is signed by nobody', async () => {
    for (const year of [12_026, -5, 280_000]) {
      const made = await makeErasure(keys, { time: Date.UTC(2026, 0, 1) + (year - 2026) * 365.2425 * 86_400_000 });
      await check(made);
      const open = {
        ...options(),
        signers: verifier.parseSigners(keys.signers.replaceAll(/^\S+/gm, '$& valid-after="1970"')),
      };
      expect(verifier.verifyBundle(folder, open).exitCode, String(year)).toBe(1);
    }
  });
});

describe('an event id', () => {
  it('twice is found, whatever its halves are', async () => {
    const half = createHash('sha256').update('half').digest().subarray(0, 8);
    for (const id of [Buffer.concat([half, half]), Buffer.alloc(16), createHash('md5').update('any').digest()]) {
      const report = await check(makeBundle(keys, [{ id }, { id: Buffer.alloc(16, 9) }, { id }]));
      expect(report.findings).toMatchObject([
        { class: 'doubled', seq: 2, eventId: expect.stringContaining(id.toString('hex').slice(0, 8)) as string },
      ]);
    }
  });

  it('that only looks the same is none', async () => {
    const ids = [Buffer.alloc(16), Buffer.alloc(16, 1), Buffer.alloc(16, 2)];
    expect(
      await check(
        makeBundle(
          keys,
          ids.map((id) => ({ id })),
        ),
      ),
    ).toMatchObject({ exitCode: 0, findings: [] });
  });
});

describe('bundle.json', () => {
  it('that declares more than the parts can hold is refused before anything is allocated', async () => {
    for (const size of ['9007199254740991', '4503599627370496', '1000000000']) {
      for (const to of ['0', '256', size]) {
        const began = performance.now();
        const report = await check(listAnew(new Map(whole), { size, to }));
        expect(report.exitCode).toBe(1);
        expect(report.findings).toContainEqual(
          expect.objectContaining({ class: 'part-missing', where: 'bundle.json' }),
        );
        expect(report.findings.length).toBeLessThan(20);
        expect(performance.now() - began).toBeLessThan(2000);
      }
    }
  });

  it('cannot list the signed checkpoint away in one long name', async () => {
    const listed = Object.keys((JSON.parse(textOf('bundle.json')) as { files: object }).files).sort();
    for (const count of [2, 3, listed.length]) {
      const made = new Map(whole);
      const [head, tail] = [listed.slice(0, count), listed.slice(count)];
      for (const name of head) made.delete(name);
      made.set(head.join(), Buffer.from('anything'));
      const sha256 = (bytes: Buffer | undefined) =>
        createHash('sha256')
          .update(bytes ?? '')
          .digest('hex');
      const files = Object.fromEntries([head.join(), ...tail].map((name) => [name, sha256(made.get(name))]));
      const report = await check(listAnew(made, { files }));
      expect(report, String(count)).toMatchObject({ exitCode: 1, findings: [{ where: 'bundle.json' }] });
    }
  });
});

describe('a list', () => {
  it.each(['checkpoints.ndjson', 'erasures.ndjson', 'records.ndjson'])(
    'of very many or very long lines fills no memory: %s',
    async (name) => {
      for (const bytes of [Buffer.alloc(300_000, 10), Buffer.from(`${'['.repeat(3 << 20)}\n`), Buffer.alloc(3 << 20)]) {
        const report = await check(changed(name, bytes));
        expect(report.exitCode).toBe(1);
        expect(report.findings.map((found) => found.where.slice(0, name.length))).toContain(name);
        expect(report.findings.length).toBeLessThanOrEqual(10_000);
      }
    },
  );
});

describe('as a process', () => {
  const stack = /\n\s+at |node:internal|Error:/;
  const deep = `${'{"note":'.repeat(20_000)}0${'}'.repeat(20_000)}\n`;

  it.each(NODES)('says one verdict, no stack and no control character under %s', async (node) => {
    const name = '\u001b[32m\nINTACT\u001b[0m\u009b8m\u202e';
    const records = await makeErasure(keys, { data: () => '{"payload":"null","signatures":[null,null]}' });
    const cases: readonly [Made, string][] = [
      [listAnew(new Map(whole), { size: '9007199254740991', to: '0' }), 'declares 9007199254740991 events'],
      [records, 'record-invalid: records.ndjson line 1'],
      [changed('checkpoints.ndjson', deep), 'checkpoints.ndjson line 1: is not canonical JSON'],
      [listAnew(new Map(whole).set(`chain/${name}`, Buffer.from('x')), { origin: name }), '\\u001b[32m\\u000aINTACT'],
    ];
    for (const [made, what] of cases) {
      await put(made);
      const { code, stdout, stderr } = await runVerifier(node, folder, '--key', keys.vkey);
      expect({ code, stderr }).toEqual({ code: 1, stderr: '' });
      expect(stdout).toContain(what);
      expect(stdout).toMatch(/\nTAMPERED\n$/);
      expect(stdout).not.toMatch(stack);
      expect(stdout.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}]/u);
      expect(stdout).not.toMatch(/^INTACT/m);
    }
    const { stdout } = await runVerifier(node, folder, '--key', keys.vkey, '--json');
    expect(JSON.parse(stdout)).toMatchObject({ exitCode: 1, origin: name });
    expect(stdout.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}]/u);
  });
});

/** What was never 0, and what was named: a text that no check foresaw would be `cannot be judged`. */
async function expectRefused(parts: Made, why: string): Promise<void> {
  const report = await check(parts);
  expect(report.exitCode, why).toBe(1);
  expect(JSON.stringify(report.findings), why).not.toContain('cannot be judged');
}

describe('every value and every file', () => {
  it('is refused by name when a value is anything else: bundle.json and the lists', async () => {
    let runs = 0;
    for (const name of ['bundle.json', 'checkpoints.ndjson', 'erasures.ndjson', 'records.ndjson']) {
      for (const text of jsonVariants(textOf(name).trim())) {
        const parts = name === 'bundle.json' ? new Map(whole).set(name, Buffer.from(text)) : changed(name, `${text}\n`);
        await expectRefused(parts, `${name}: ${text.slice(0, 300)}`);
        runs += 1;
      }
    }
    expect(runs).toBeGreaterThan(300);
  });

  it('is refused by name when a value is anything else: what two persons signed', async () => {
    const texts: string[] = [];
    const keep = (text: string) => {
      texts.push(text);
      return text;
    };
    await makeErasure(keys, { data: keep, payload: keep });
    const [payload = '', data = ''] = texts;
    let runs = 0;
    for (const text of jsonVariants(data)) {
      await expectRefused(await makeErasure(keys, { data: () => text }), `data ${text.slice(0, 300)}`);
      runs += 1;
    }
    for (const text of jsonVariants(payload)) {
      await expectRefused(await makeErasure(keys, { payload: () => text }), `payload ${text.slice(0, 300)}`);
      runs += 1;
    }
    expect(runs).toBeGreaterThan(150);
  });

  it('is refused by name when a file is cut, listed anew or not', async () => {
    for (const [name, bytes] of whole) {
      for (const end of new Set([0, 1, Math.floor(bytes.length / 2), bytes.length - 1])) {
        const cut = new Map(whole).set(name, bytes.subarray(0, end));
        await expectRefused(cut, `${name} cut at ${end}`);
        // The page for people says nothing; a list may lack earlier checkpoints (section 5 of the specification).
        if (name === 'README.txt' || name === 'bundle.json' || (name === 'checkpoints.ndjson' && end === 0)) continue;
        await expectRefused(listAnew(cut), `${name} cut at ${end}, listed anew`);
      }
    }
  });
});
