/** Reports are made from templates that a policy owner signed, and from those that come with the product. */
import { appendFile, cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readSshKeyFile } from '../../src/keys/ssh-key.ts';
import { NAMESPACES, signSshsig } from '../../src/keys/sshsig.ts';
import { changeRegister } from '../../src/persons/change.ts';
import { makeBundle } from '../../src/reports/bundle/bundle.ts';
import { verifyBundle } from '../../src/reports/bundle/verify-bundle.ts';
import { generateReport } from '../../src/reports/generate/generate.ts';
import { loadSignedTemplates, signTemplates } from '../../src/reports/generate/template-signature.ts';
import { unpackBundle } from '../../src/reports/parts/bundle-format.ts';
import { TEMPLATES_FOLDER } from '../../src/reports/template/template.ts';
import { approveReport, reviewReport, submitReport } from '../../src/reports/workflow/workflow.ts';
import { emailOf, foundRegister, type Roster } from '../persons/roster.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();
let ctx: TestContext;
let roster: Roster;
let home: string;
let folder: string;
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'auditkeep-templates-'));
  ctx = await testContext(db);
  roster = await foundRegister(ctx, home);
  folder = join(home, 'mine');
  await cp(TEMPLATES_FOLDER, folder, { recursive: true });
  const sox = await readFile(join(folder, 'frameworks/sox.yaml'), 'utf8');
  await writeFile(join(folder, 'frameworks/sox.yaml'), sox.replace('workflow:\n', 'workflow:\n  approvers: 2\n'));
});
afterAll(() => rm(home, { recursive: true, force: true }));

const sign = (who: string, dryRun = false) => signTemplates(roster.as(ctx, who), { folder, dryRun });
const load = () => loadSignedTemplates(ctx, folder);
const UNSIGNED = { code: 'TEMPLATE_UNSIGNED' };
const at = (name: string) => join(folder, name);

test('a folder that nobody signed makes no report, and one who is no policy owner cannot sign it', async () => {
  await expect(
    generateReport(ctx, { framework: 'sox', period: '2025', templatesFolder: folder }),
  ).rejects.toMatchObject(UNSIGNED);
  expect((await loadSignedTemplates(ctx)).controls.size).toBeGreaterThan(20);
  await expect(signTemplates(ctx, { folder })).rejects.toMatchObject({ code: 'USAGE' });
  await expect(sign('everything')).rejects.toMatchObject(UNSIGNED);
  const stolen = {
    ...ctx,
    actor: { kind: 'person', email: emailOf('approver'), keyFile: roster.keyFile('owner') },
  } as const;
  await expect(signTemplates(stolen, { folder })).rejects.toMatchObject(UNSIGNED);
  await sign('owner', true);
  expect((await readdir(folder)).filter((name) => name.startsWith('templates.json'))).toEqual([]);
});

test('a signed folder makes a report whose quorum and texts are those of the folder, from draft to bundle', async () => {
  const { sha256, files } = await sign('owner');
  expect(sha256).toMatch(/^[0-9a-f]{64}$/);
  expect(files).toBe((await load()).controls.size + (await load()).frameworks.size);
  const { id, model } = await generateReport(ctx, { framework: 'sox', period: '2025', templatesFolder: folder });
  expect(model.framework.approvers).toBe(2);
  await submitReport(roster.as(ctx, 'preparer'), { reportId: id });
  await reviewReport(roster.as(ctx, 'reviewer'), { reportId: id });
  expect((await approveReport(roster.as(ctx, 'approver'), { reportId: id })).status).toBe('reviewed');
  await expect(makeBundle(ctx, id)).rejects.toMatchObject({ code: 'REPORT_NOT_APPROVED' });
  expect((await approveReport(roster.as(ctx, 'everything'), { reportId: id })).status).toBe('approved');
  const { zip } = await makeBundle(ctx, id);
  const framework = Buffer.from(unpackBundle(zip).get('templates/framework-sox.yaml') ?? '').toString('utf8');
  expect(framework).toBe(await readFile(at('frameworks/sox.yaml'), 'utf8'));
  const { findings, decisions } = await verifyBundle(zip, null);
  expect(findings).toEqual([]);
  expect(decisions.map(({ to }) => to)).toEqual(['pending_review', 'reviewed', 'reviewed', 'approved']);
});

test('what changed after the signature, or was signed for something else, is refused', async () => {
  await sign('owner');
  const [list, signature] = [await readFile(at('templates.json')), await readFile(at('templates.json.sig'), 'utf8')];
  const control = await readFile(at('controls/ac-02.yaml'));
  await appendFile(at('controls/ac-02.yaml'), '# changed\n');
  await expect(load()).rejects.toMatchObject(UNSIGNED);
  await writeFile(at('controls/ac-02.yaml'), control);
  expect((await load()).controls.has('ac-02')).toBe(true);
  const key = await readSshKeyFile(roster.keyFile('owner'));
  const other = await signSshsig(key, NAMESPACES.waiver, list);
  for (const wrong of [other, 'x', '']) {
    await writeFile(at('templates.json.sig'), wrong);
    await expect(load()).rejects.toMatchObject(UNSIGNED);
  }
  await writeFile(at('templates.json.sig'), signature);
  await writeFile(at('templates.json'), '{}');
  await expect(load()).rejects.toMatchObject(UNSIGNED);
  await writeFile(at('templates.json'), list);
  await load();
});

test('the signature counts no longer than the role of whoever signed', async () => {
  await sign('owner');
  await changeRegister(ctx, {
    changes: [{ kind: 'role-end', email: emailOf('owner'), role: 'policy_owner' }],
    officerKeyFiles: ['officer1', 'officer2'].map(roster.keyFile),
  });
  await expect(load()).rejects.toMatchObject(UNSIGNED);
  await sign('owner2');
  await load();
});
