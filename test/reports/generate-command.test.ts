import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { main } from '../../src/cli/main.ts';
import { sha256Hex } from '../../src/reports/model/model.ts';
import { TEMPLATES_FOLDER } from '../../src/reports/template/template.ts';
import { foundRegister } from '../persons/roster.ts';
import { temporaryHome, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';

const generatedShape = z.object({
  id: z.string(),
  version: z.int(),
  hash: z.string(),
  pdfSha256: z.string(),
  files: z.array(z.string()),
});
/** Strict, and in this order: the contract of `report show --json`. */
const shownShape = z.strictObject({
  id: z.string(),
  version: z.int(),
  framework: z.string(),
  periodStart: z.string(),
  periodEnd: z.string(),
  status: z.string(),
  valid: z.boolean(),
  lateEvents: z.int().nullable(),
  deadline: z.strictObject({ step: z.literal('submit'), dueAt: z.iso.datetime(), state: z.literal('open') }),
  decisions: z.array(
    z.strictObject({
      version: z.int(),
      meaning: z.string(),
      person: z.string(),
      name: z.string(),
      time: z.iso.datetime(),
      comment: z.string().nullable(),
      controls: z.array(z.strictObject({ control: z.string(), comment: z.string() })),
    }),
  ),
  seal: z.null(),
  hash: z.string(),
  controls: z.array(
    z.strictObject({
      id: z.string(),
      status: z.string(),
      population: z.int().nullable(),
      exceptions: z.int().nullable(),
    }),
  ),
});
const idsShape = z.array(z.object({ id: z.string() }));

const db = useDatabase();
let folder: string;

beforeAll(async () => {
  folder = await temporaryHome();
  const config = { home: join(folder, 'home'), databaseUrl: db.url() };
  await mkdir(config.home, { mode: 0o700 });
  await writeFile(join(folder, 'auditkeep.yaml'), JSON.stringify(config));
  await foundRegister(await testContext(db), folder);
});

/** Runs a command line in this process. */
async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const streams = { stdout: new PassThrough(), stderr: new PassThrough() };
  const written = Promise.all([text(streams.stdout), text(streams.stderr)]);
  const code = await main([...args, '--config', join(folder, 'auditkeep.yaml')], streams);
  streams.stdout.end();
  streams.stderr.end();
  const [out, err] = await written;
  return { code, out, err };
}

describe('report and template commands', () => {
  const generate = ['report', 'generate'];
  const as = ['--as', 'preparer@example.org'];
  let id = '';

  it('generate a report and write its files', async () => {
    const { code, out, err } = await run(
      'report',
      'generate',
      '--framework',
      'GDPR',
      '--period',
      '2025',
      '--out',
      join(folder, 'out'),
      '--as',
      'preparer@example.org',
      '--json',
    );
    expect([code, err]).toEqual([0, '']);
    const report = generatedShape.parse(JSON.parse(out));
    id = report.id;
    const [pdf = '', json = ''] = report.files;
    expect(sha256Hex(await readFile(pdf))).toBe(report.pdfSha256);
    expect(sha256Hex(await readFile(json))).toBe(report.hash);
  });

  it('show it as the contract says', async () => {
    const shown = shownShape.parse(JSON.parse((await run('report', 'show', id.slice(0, 8), '--json')).out));
    expect(Object.keys(shown)).toEqual(Object.keys(shownShape.shape));
    expect(shown).toMatchObject({
      id,
      version: 1,
      framework: 'gdpr',
      periodStart: '2025-01-01',
      periodEnd: '2025-12-31',
      status: 'draft',
    });
    expect(shown.controls).toHaveLength(29);
    expect(shown.lateEvents).toBe(0);
    const listed = idsShape.parse(JSON.parse((await run('report', 'list', '--json')).out));
    expect(listed).toEqual([{ id }]);
    expect((await run('report', 'list')).out).toMatch(/ draft {2}submit until \d{4}-\d{2}-\d{2}$/m);
  });

  it('write it as OSCAL, into the folder that it asks for', async () => {
    const shown = await run('report', 'show', id, '--out', join(folder, 'oscal'), '--oscal');
    expect(shown).toMatchObject({ code: 0, err: '' });
    const files = await readdir(join(folder, 'oscal'));
    expect(files.map((file) => file.slice(file.indexOf('.')))).toEqual(
      expect.arrayContaining(['.json', '.pdf', '.oscal-assessment-results.json', '.oscal-poam.json']),
    );
    expect(await run('report', 'show', id, '--oscal')).toMatchObject({ code: 2 });
  });

  it('reject it control by control, which it shows', async () => {
    const sign = (who: string) => ['--as', `${who}@example.org`, '--key', join(folder, who)];
    expect(await run('report', 'submit', id, ...sign('preparer'))).toMatchObject({ code: 0 });
    const reject = ['report', 'reject', id, ...sign('reviewer')];
    expect((await run(...reject)).err).toContain('DECISION_COMMENT');
    expect((await run(...reject, '--control', 'who is it?')).err).toContain('USAGE');
    expect((await run(...reject, '--control', 'zz-99=x')).err).toContain('INPUT_INVALID');
    const both = ['--control', 'AC-02=who is it?', '--control', 'pr-01=again'];
    expect(await run(...reject, '--comment', 'Not yet.', ...both)).toMatchObject({ code: 0, err: '' });
    const shown = shownShape.parse(JSON.parse((await run('report', 'show', id, '--json')).out));
    expect(shown.decisions.map(({ meaning, person }) => `${meaning} ${person}`)).toEqual([
      'submit preparer@example.org',
      'reject reviewer@example.org',
    ]);
    expect(shown.decisions[1]).toMatchObject({
      version: 1,
      comment: 'Not yet.',
      controls: [
        { control: 'ac-02', comment: 'who is it?' },
        { control: 'pr-01', comment: 'again' },
      ],
    });
    const { out } = await run('report', 'show', id);
    expect(out).toContain('      Not yet.\n      ac-02: who is it?\n      pr-01: again\n');
  });

  it('say how many events of the period came after it was made', async () => {
    await db.admin.withClient((client) =>
      client.query(
        `insert into audit.audit_log (event_type, event_category, event_action, event_timestamp)
         values ('late', 'system', 'X', '2025-05-10 12:00+00'), ('late', 'system', 'X', '2025-12-31 23:59:59+00'),
                ('after', 'system', 'X', '2026-01-01 00:00+00')`,
      ),
    );
    const { code, out } = await run('report', 'show', id);
    expect(code).toBe(0);
    expect(out).toContain('LATE: 2 events of the period came after it was made');
    expect(JSON.parse((await run('report', 'show', id, '--json')).out)).toMatchObject({ lateEvents: 2 });
  });

  it('make a new version of it', async () => {
    const { out } = await run(
      'report',
      'generate',
      '--framework',
      'gdpr',
      '--period',
      '2025',
      '--supersedes',
      id,
      '--as',
      'preparer@example.org',
      '--json',
    );
    expect(JSON.parse(out)).toMatchObject({ version: 2 });
  });

  it.each([
    ['an unknown framework', [...generate, '--framework', 'pci', '--period', '2025', ...as], 'TEMPLATE_INVALID'],
    ['a future period', [...generate, '--framework', 'gdpr', '--period', '2999', ...as], 'REPORT_PERIOD'],
    ['nobody who generates', [...generate, '--framework', 'gdpr', '--period', '2025'], 'USAGE'],
    ['an unknown report', ['report', 'show', 'ffffffff'], 'REPORT_NOT_FOUND'],
    ['an id that is none', ['report', 'show', '%'], 'REPORT_NOT_FOUND'],
  ])('refuse %s with a code and exit 2', async (_what, args, expected) => {
    const { code, err } = await run(...args);
    expect(code).toBe(2);
    expect(err).toContain(expected);
  });

  it('sign templates of one’s own, before a report is made from them', async () => {
    const mine = join(folder, 'mine');
    await cp(TEMPLATES_FOLDER, mine, { recursive: true });
    const made = [...generate, '--framework', 'sox', '--period', '2025', ...as, '--templates', mine];
    const refused = await run(...made);
    expect([refused.code, refused.err]).toEqual([4, expect.stringContaining('TEMPLATE_UNSIGNED')]);
    const signing = ['template', 'sign', '--folder', mine, '--as', 'owner@example.org', '--key', join(folder, 'owner')];
    expect((await run(...signing, '--dry-run')).out).toContain('Nothing was changed.');
    expect((await run(...made)).code).toBe(4);
    const signed = await run(...signing, '--json');
    expect(JSON.parse(signed.out)).toMatchObject({ folder: mine, files: 34 });
    expect(await run(...made, '--dry-run')).toMatchObject({ code: 0 });
  });

  it('list and validate the templates', async () => {
    const shape = z.object({ frameworks: idsShape });
    const listed = shape.parse(JSON.parse((await run('template', 'list', '--json')).out));
    expect(listed.frameworks).toEqual([{ id: 'gdpr' }, { id: 'hipaa' }, { id: 'iso-27001' }, { id: 'sox' }]);
    expect(await run('template', 'validate')).toMatchObject({ code: 0, err: '' });
    expect((await run('template', 'validate', '--no-database', '--folder', folder)).code).toBe(2);
  });
});
