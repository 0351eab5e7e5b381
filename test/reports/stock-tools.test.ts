/**
 * An approved bundle in the hands of an auditor who has nothing of ours: every tool of docs/guide/auditor.md, on the whole bundle and
 * on a damaged one. `npm test -- test/reports/stock-tools.test.ts` is the one command that shows them all. The schemas of OSCAL are
 * in oscal.test.ts.
 */
import { spawnSync } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { generateIdentity, identityToRecipient } from 'age-encryption';
import { beforeAll, describe, expect, test } from 'vitest';
import { distributeReport } from '../../src/reports/bundle/distribute.ts';
import { sha256Of, unpackBundle } from '../../src/reports/parts/bundle-format.ts';
import { useDatabase } from '../support/database.ts';
import { type ApprovedBundle, approveBundle } from './approved-bundle.ts';

const db = useDatabase();
let made: ApprovedBundle;
/** The bundle, unpacked; `damaged` beside it has one byte of final.pdf changed. */
let cwd: string;

beforeAll(async () => {
  made = await approveBundle(db);
  cwd = join(made.folder, 'stock');
  await writeFile(join(made.folder, 'report.zip'), made.zip);
  if (has('unzip', '-v')) expect(run('unzip', '-q', '../report.zip').status).toBe(0);
});

function run(tool: string, ...options: string[]) {
  spawnSync('mkdir', ['-p', cwd]);
  return spawnSync(tool, options, { cwd, encoding: 'utf8', maxBuffer: 1 << 26 });
}

function has(tool: string, ...options: string[]): boolean {
  return spawnSync(tool, options).error === undefined;
}

const partOf = (name: string) => Buffer.from(unpackBundle(made.zip).get(name) ?? '');

test.skipIf(!has('age', '--version'))('age -d opens the file that was sent (age must be installed)', async () => {
  const { ctx, roster, folder, reportId, zip } = made;
  const identity = await generateIdentity();
  await writeFile(join(folder, 'identity.txt'), `${identity}\n`, { mode: 0o600 });
  const sent = await distributeReport(roster.as(ctx, 'approver'), {
    reportId,
    recipient: 'auditor@example.com',
    ageRecipient: await identityToRecipient(identity),
    purpose: 'annual audit',
    outDir: join(folder, 'sent'),
  });
  const { status, stdout } = spawnSync('age', ['-d', '-i', join(folder, 'identity.txt'), sent.path], {
    maxBuffer: 1 << 26,
  });
  expect(status).toBe(0);
  expect(sha256Of(stdout)).toBe(sha256Of(zip));
});

describe.skipIf(!has('unzip', '-v'))('the unpacked bundle (unzip must be installed)', () => {
  test.skipIf(!has('sha256sum', '--version'))('passes sha256sum -c, which names a part that was changed', async () => {
    expect(run('sha256sum', '-c', '--strict', 'digest.txt').status).toBe(0);
    const model = await readFile(join(cwd, 'model.json'));
    await writeFile(join(cwd, 'model.json'), model.toString('utf8').replace('pass', 'fail'));
    const { status, stdout } = run('sha256sum', '-c', '--strict', 'digest.txt');
    expect(status).toBe(1);
    expect(stdout).toContain('model.json: FAILED');
    await writeFile(join(cwd, 'model.json'), model);
  });

  test.skipIf(!has('ssh-keygen', '-?'))(
    'has signatures that ssh-keygen verifies by the lines of README.txt',
    async () => {
      const readme = await readFile(join(cwd, 'README.txt'), 'utf8');
      const commands = readme.match(/ssh-keygen[^\n]*\\\n[^\n]*/g) ?? [];
      // Five decisions and the two signatures of the founding act.
      expect(commands).toHaveLength(7);
      for (const command of commands) expect(run('sh', '-c', command).stdout).toContain('Good "');
      const approval = join(cwd, 'decisions', '05-approve.json');
      const text = await readFile(approval, 'utf8');
      await writeFile(approval, text.replace('1', '2'));
      expect(run('sh', '-c', commands[4] ?? '').status).not.toBe(0);
      await writeFile(approval, text);
    },
  );

  test.skipIf(!has('qpdf', '--version'))('has PDFs that qpdf finds sound, sealed or not', () => {
    for (const name of ['review.pdf', 'final.pdf']) {
      const { status, stdout, stderr } = run('qpdf', '--check', name);
      expect(status, `${stdout}${stderr}`).toBe(0);
    }
  });

  test.skipIf(!has('pdfsig', '-v'))(
    'bears one seal over all of final.pdf, as pdfsig says, and none once a byte is changed',
    async () => {
      const { stdout } = run('pdfsig', '-nocert', 'final.pdf');
      expect(stdout).toContain('Signature Validation: Signature is Valid.');
      expect(stdout).toContain('Total document signed');
      expect(stdout.match(/^Signature #/gm)).toHaveLength(1);
      const changed = partOf('final.pdf');
      changed[200] = (changed[200] ?? 0) ^ 1;
      await writeFile(join(cwd, 'changed.pdf'), changed);
      expect(run('pdfsig', '-nocert', 'changed.pdf').stdout).not.toContain('Signature is Valid');
      expect(run('pdfsig', '-nocert', 'review.pdf').stdout).not.toContain('Signature #');
    },
  );

  test.skipIf(!has('pdfdetach', '-v'))('gives model.json back from final.pdf, byte for byte', async () => {
    expect(run('pdfdetach', '-save', '1', '-o', 'embedded.json', 'final.pdf').status).toBe(0);
    expect((await readFile(join(cwd, 'embedded.json'))).equals(partOf('model.json'))).toBe(true);
  });

  test.skipIf(!has('pdffonts', '-v'))('brings every font of final.pdf in the file', () => {
    const fonts = run('pdffonts', 'final.pdf').stdout.trim().split('\n').slice(2);
    expect(fonts.length).toBeGreaterThan(1);
    for (const font of fonts) expect(font).toMatch(/\s+yes yes yes\s+\d+\s+0$/);
  });

  test.skipIf(!has('openssl', 'version'))(
    'has a certificate whose fingerprint openssl shows as report.json names it',
    () => {
      const { stdout } = run('openssl', 'x509', '-in', 'seal-certificate.pem', '-noout', '-fingerprint', '-sha256');
      const fingerprint = stdout.replace(/^.*=/, '').replaceAll(':', '').trim().toLowerCase();
      expect(partOf('report.json').toString('utf8')).toContain(`"certificateSha256":"${fingerprint}"`);
    },
  );
});
