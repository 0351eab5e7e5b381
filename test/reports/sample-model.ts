/** A report model with every status and a table over several pages, the same at every run. */
import { buildModel } from '../../src/reports/model/build-model.ts';
import {
  AGE_BOUNDS,
  type ControlResult,
  type EvidenceModel,
  type SampleModel,
} from '../../src/reports/model/control-model.ts';
import { type ReportModel, sha256Hex } from '../../src/reports/model/model.ts';
import { makePseudonymizer } from '../../src/reports/model/pseudonym.ts';
import { judgeControl } from '../../src/reports/model/status.ts';
import { type ControlTemplate, loadTemplates, selectFramework } from '../../src/reports/template/template.ts';
import { parseInstant } from '../../src/time/clock.ts';
import { parseReportPeriod } from '../../src/time/report-period.ts';

const REPORT_ID = '3f0c8a52-6d1e-4b7a-9c55-0e2f1a7b9d10';
const pseudonymize = makePseudonymizer(Buffer.alloc(32, 7), REPORT_ID);

const FIGURES: Readonly<Record<string, { population: number; exceptions: number; independent: number }>> = {
  'pr-01': { population: 41_208, exceptions: 3_412, independent: 41_208 },
  'pr-07': { population: 0, exceptions: 0, independent: 0 },
  'lg-03': { population: 61, exceptions: 1, independent: 61 },
  'ac-02': { population: 37, exceptions: 4, independent: 37 },
  'lg-01': { population: 1_204_118, exceptions: 0, independent: 1_204_118 },
  'lg-05': { population: 0, exceptions: 0, independent: 0 },
  'ac-08': { population: 88_020, exceptions: 0, independent: 88_054 },
};

/** Builds the sample of a framework of the shipped templates. */
export async function sampleModel(frameworkId = 'gdpr'): Promise<ReportModel> {
  const { framework, controls } = selectFramework(await loadTemplates(), frameworkId);
  const now = parseInstant('2026-04-07T08:15:00Z');
  if (now === null) throw new Error('the sample has a wrong time');
  return buildModel({
    report: { id: REPORT_ID, version: 1 },
    framework,
    period: parseReportPeriod('2026-Q1', { now }),
    generated: { at: '2026-04-07T08:15:00.000Z', by: 'worker', engineVersion: '0.1.0', nodeVersion: 'v24.21.0' },
    source: {
      database: 'ledger',
      serverVersion: '18.1',
      schemaVersion: '0071_facts_counts',
      role: 'auditkeep_report',
      snapshot: '912:912:',
      readAt: '2026-04-07T08:15:00.000Z',
      chainSize: 1_204_118,
      chainHead: sha256Hex('head'),
      unsealedEvents: 12,
    },
    controls: controls.map((template) => ({ template, result: resultOf(template) })),
    identities: { count: 3_416, root: sha256Hex('identities') },
  });
}

function resultOf(template: ControlTemplate): ControlResult {
  if (template.id === 'op-01') return { kind: 'failed', reason: 'sql_failed', sqlState: '22012' };
  const { population, exceptions, independent } = FIGURES[template.id] ?? {
    population: 250,
    exceptions: 0,
    independent: 250,
  };
  const figures = { population, distinctKeys: population, exceptions, independent, waived: 0, missing: 0, stale: 0 };
  const rows = Array.from({ length: Math.min(100, exceptions) }, (_, index) => rowOf(template, index));
  return {
    kind: 'evaluated',
    judgement: judgeControl(figures, template.population.whenEmpty),
    population,
    distinctKeys: population,
    independent,
    missing: 0,
    stale: 0,
    exceptions: {
      count: exceptions,
      sha256: fileHash(template, exceptions),
      rows,
      waived: 0,
      evidence: fileOf(template, exceptions),
      totals: totalsOf(template, exceptions),
      ageing: ageingOf(template, exceptions),
    },
    sample: sampleOf(template, population),
    waivers: [],
  };
}

const fileHash = (template: ControlTemplate, rows: number) => sha256Hex(`${template.id} ${rows}`);

function fileOf(template: ControlTemplate, rows: number): EvidenceModel | null {
  if (rows === 0) return null;
  const columns = template.exceptions.columns.map(({ name }) => name);
  const path = `evidence/${template.id}/exceptions.csv`;
  return { path, rows, columns, bytes: rows * 60, sha256: fileHash(template, rows) };
}

function totalsOf(template: ControlTemplate, rows: number) {
  const numbers = template.exceptions.columns.filter(({ kind }) => kind === 'integer');
  return rows === 0 ? [] : numbers.map(({ name }) => ({ name, sum: String(rows * 137) }));
}

function ageingOf(template: ControlTemplate, rows: number) {
  const column = template.exceptions.columns.find(({ kind }) => kind === 'instant')?.name;
  if (rows === 0 || column === undefined) return null;
  const [young, older] = [Math.ceil(rows / 2), Math.floor(rows / 4)];
  return { column, boundsDays: AGE_BOUNDS, counts: [young, older, rows - young - older, 0], unknown: 0 };
}

function sampleOf(template: ControlTemplate, population: number): SampleModel {
  const { keyKind = 'pseudonym', key } = template.population;
  const all = Array.from({ length: Math.min(25, population) }, (_, index) => `${key} ${index}`);
  const keys = all.map((text) => (keyKind === 'pseudonym' ? pseudonymize(text) : text)).sort();
  const file = { rows: keys.length, columns: [key], bytes: keys.length * 22, sha256: sha256Hex(keys.join()) };
  const evidence = keys.length === 0 ? null : { path: `evidence/${template.id}/sample.csv`, ...file };
  const reread = {
    at: '2026-04-07T08:15:09.000Z',
    missing: keys.slice(0, template.id === 'pr-01' ? 1 : 0),
  };
  return { seed: sha256Hex('seed'), size: 25, keyKind, keys, evidence, reread };
}

function rowOf(template: ControlTemplate, index: number): (string | null)[] {
  return template.exceptions.columns.map((column) => {
    if (column.kind === 'pseudonym') return pseudonymize(`${column.name} ${index}`);
    if (column.kind === 'integer') return String(1 + index * 137);
    if (column.kind === 'instant')
      return index % 7 === 3 ? null : `2026-02-${String(1 + (index % 28)).padStart(2, '0')}T09:30:00Z`;
    return index % 5 === 4 ? 'a longer finding that has to wrap in its column' : 'running session';
  });
}
