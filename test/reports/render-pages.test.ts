/** Pages as stock tools see them: their words, where they stand, and the objects that PDF/A-3a asks for. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inflateSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freezeModel, type ReportModel } from '../../src/reports/model/model.ts';
import { CONTROL_STATUSES } from '../../src/reports/model/status.ts';
import { type DecisionEntry, renderPdf } from '../../src/reports/render/pdf.ts';
import { openTexts } from '../../src/reports/template/texts.ts';
import { sampleModel } from './sample-model.ts';

const DECISION: DecisionEntry = {
  meaning: 'Reviewed',
  name: 'Zoë Žižka',
  email: 'reviewer@example.org',
  role: 'reviewer',
  version: 2,
  at: '2026-04-09T10:00:00.000Z',
  keyFingerprint: `SHA256:${'q'.repeat(43)}`,
  comment: 'Checked.\n[ac-02] Two are service accounts.',
  sha256: 'ef'.repeat(32),
};
const UNUSUAL = 'Ελλάδα 東京 \u202Ereversed';

let folder = '';
let file = '';
let pdf: Buffer = Buffer.alloc(0);
let model: ReportModel;

beforeAll(async () => {
  model = withStatements(await sampleModel('gdpr'));
  pdf = await renderPdf(model, [DECISION]);
  folder = mkdtempSync(join(tmpdir(), 'auditkeep-pages-'));
  file = join(folder, 'report.pdf');
  writeFileSync(file, pdf);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A waiver, an attestation, an earlier report, and a cell that no page can hold. */
function withStatements(sample: ReportModel): ReportModel {
  const signed = { id: 'a', sha256: '12'.repeat(32) };
  const period = { periodStart: '2026-01-01', periodEnd: '2026-03-31' };
  const by = { by: 'zoe@example.org', at: '2026-04-02T10:00:00.000Z' };
  const attestation = { ...signed, ...by, ...period, outcome: 'met', statement: 'Training was held.' } as const;
  const waiver = { approvalSha256: '34'.repeat(32), reason: UNUSUAL, expiresAt: '2026-12-31T00:00:00.000Z' };
  const scope = [{ column: 'account', value: 'P-1' }];
  const waivers = [{ ...signed, ...waiver, signers: ['ana@example.org', 'bo@example.org'], scope, covered: 2 }];
  const earlier = { reportId: '9a0c8a52', reportHash: 'ab'.repeat(32), status: 'approved' };
  const dates = { startDate: '2025-10-01', endDate: '2025-12-31' };
  return {
    ...sample,
    trend: [{ ...earlier, ...dates, statusCounts: sample.statusCounts }],
    requirements: sample.requirements.map((one) => (one.coverage === 'manual' ? { ...one, attestation } : one)),
    controls: sample.controls.map((control) => {
      if (control.id !== 'ac-02') return control;
      const [first = [], ...rest] = control.exceptions.rows;
      const long = first.map((cell, index) => (index === 1 ? `${'on and on '.repeat(400)}THE-END` : cell));
      return { ...control, waivers, exceptions: { ...control.exceptions, waived: 2, rows: [long, ...rest] } };
    }),
  };
}

function toolText(...options: string[]): string {
  return execFileSync('pdftotext', [...options, file, '-'], { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
}

describe('the pages', () => {
  it('say what was decided, by whom, as what, when, and about which control', () => {
    const last = toolText('-layout').trim().split('\f').at(-1) ?? '';
    const lines = last.split('\n').map((line) => line.trim().replace(/ {2,}/g, '  '));
    expect(lines.filter((line) => line !== '').slice(2, 11)).toEqual([
      '1. Reviewed',
      'By  Zoë Žižka <reviewer@example.org>',
      'As  reviewer',
      'At  2026-04-09T10:00:00.000Z',
      'Version  2',
      `Key  ${DECISION.keyFingerprint}`,
      `Decision SHA-256  ${DECISION.sha256}`,
      'Comment  Checked.',
      'Comment on AC-02  Two are service accounts.',
    ]);
    expect(last).toContain('Page D-1');
  });

  it('print every status, statement, file and sample, and cut nothing', async () => {
    const texts = await openTexts('en');
    const text = toolText('-raw');
    const flat = text.replace(/\s+/g, ' ');
    for (const status of CONTROL_STATUSES) expect(flat).toContain(texts(`status.${status}`));
    for (const words of [
      'Training was held.',
      'zoe@example.org',
      'ana@example.org',
      'THE-END',
      '2025-10-01 to 2025-12-31',
    ]) {
      expect(flat).toContain(words);
    }
    expect(flat).toContain('Ελλάδα [U+6771][U+4EAC] [U+202E]reversed');
    expect(flat).toContain('First 100 of 3,412 exceptions, all in evidence/pr-01/exceptions.csv');
    const files = model.controls.flatMap(({ exceptions, ipe }) => [exceptions.evidence, ipe.sample?.evidence]);
    for (const evidence of files) if (evidence != null) expect(flat).toContain(evidence.sha256);
    const unseen = model.controls.flatMap(({ ipe }) => ipe.sample?.keys ?? []).filter((key) => !flat.includes(key));
    expect(unseen).toEqual([]);
  });

  it('repeat the header over a row that goes on', () => {
    const pages = toolText('-raw').split('\f');
    const continued = pages.filter((page) => page.includes('on and on'));
    expect(continued.length).toBeGreaterThan(1);
    expect(continued.filter((page) => !page.includes('Account status'))).toEqual([]);
  });

  it('keep every word inside the margins', () => {
    const words = [
      ...toolText('-bbox').matchAll(/xMin="([\d.]+)" yMin="([\d.]+)" xMax="([\d.]+)" yMax="([\d.]+)">(.*?)</g),
    ];
    expect(words.length).toBeGreaterThan(5000);
    const outside = words.filter(([, x, y, right, bottom]) => {
      return Number(x) < 55 || Number(right) > 540.5 || Number(y) < 36 || Number(bottom) > 820;
    });
    expect(outside.map(([, , , , , word]) => word)).toEqual([]);
  });

  it('are a tagged PDF/A-3a with all marks in the structure or artifacts', () => {
    const source = pdf.toString('latin1');
    for (const wanted of [
      '/GTS_PDFA1',
      '/DestOutputProfile',
      '<pdfaid:conformance>A<',
      '/Scope /Column',
      '/Scope /Row',
    ]) {
      expect(source).toContain(wanted);
    }
    expect(source.match(/\/Scope \//g)).toHaveLength(source.match(/\/S \/TH\n/g)?.length ?? 0);
    expect(source.match(/\/S \/Figure\n/g)).toHaveLength(3);
    expect(source.match(/\/Alt \(Stacked bars of /g)).toHaveLength(3);
    expect(source).not.toContain('/Type /ExtGState');
    const pages = contentsOf(source);
    expect(pages).toHaveLength(Number(/\/Type \/Pages\n\/Count (\d+)/.exec(source)?.[1]));
    expect(pages.map(unmarked)).toEqual(pages.map(() => 0));
  });

  it('carry the model byte for byte', () => {
    const saved = join(folder, 'model.json');
    execFileSync('pdfdetach', ['-save', '1', '-o', saved, file]);
    expect(readFileSync(saved).equals(freezeModel(model).bytes)).toBe(true);
  });

  it('are the same bytes in another process', () => {
    const stored = join(folder, 'stored.json');
    writeFileSync(stored, freezeModel(model).bytes);
    const renderer = new URL('../../src/reports/render/pdf.ts', import.meta.url).href;
    const script = `import { readFileSync } from 'node:fs'; import { createHash } from 'node:crypto';
      const { renderPdf } = await import(${JSON.stringify(renderer)});
      const bytes = await renderPdf(JSON.parse(readFileSync(${JSON.stringify(stored)}, 'utf8')), null);
      process.stdout.write(createHash('sha256').update(bytes).digest('hex'));`;
    const run = () => execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    const first = run();
    expect(first).toMatch(/^[0-9a-f]{64}$/);
    expect(run()).toBe(first);
  });
});

/** The content streams of the pages. */
function contentsOf(source: string): string[] {
  return [...source.matchAll(/stream\n/g)].flatMap(({ index }) => {
    const start = index + 'stream\n'.length;
    if (source.slice(index - 3, index) === 'end') return [];
    try {
      const end = source.indexOf('\nendstream', start);
      const content = inflateSync(Buffer.from(source.slice(start, end), 'latin1')).toString('latin1');
      return content.startsWith('1 0 0 -1 0 841.89 cm') ? [content] : [];
    } catch {
      return []; // not compressed
    }
  });
}

/** How many painting operators are outside marked content. */
function unmarked(content: string): number {
  let depth = 0;
  let outside = 0;
  for (const line of content.split('\n')) {
    if (/ (BDC|BMC)$/.test(line)) depth += 1;
    else if (line === 'EMC') depth -= 1;
    else if (depth === 0 && /(^|\s)(f|S|B|TJ|Tj)$/.test(line)) outside += 1;
  }
  return outside + Math.abs(depth);
}
