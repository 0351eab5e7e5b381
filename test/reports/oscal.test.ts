/** OSCAL: valid under the published schemas, self-contained, deterministic, and never rosier than the model. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import formats from 'ajv-formats';
import { describe, expect, it, test } from 'vitest';
import { freezeModel, type ReportModel, sha256Hex } from '../../src/reports/model/model.ts';
import { renderAssessmentResults } from '../../src/reports/render/oscal/assessment-results.ts';
import { renderPlanOfAction } from '../../src/reports/render/oscal/plan-of-action.ts';
import { sampleModel } from './sample-model.ts';

const SCHEMAS = join(import.meta.dirname, '../../../shared/data/oscal-schemas');
const hasSchemas = existsSync(SCHEMAS);
if (!hasSchemas) console.warn('skipped: ../shared/data/oscal-schemas is absent, so there is nothing to validate with');

/** What the OSCAL schema of a document finds wrong. */
async function problemsOf(document: 'assessment-results' | 'poam', bytes: Buffer): Promise<string[]> {
  const ajv = new Ajv({ strict: false, allErrors: true });
  formats.default(ajv);
  const schema = await readFile(join(SCHEMAS, `oscal_${document}_schema.json`), 'utf8');
  const validate = ajv.compile(JSON.parse(schema) as object);
  validate(JSON.parse(bytes.toString('utf8')));
  return (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message ?? ''}`);
}

/** Signed statements, texts that would be markup, and names that are no tokens. */
async function oddModel(): Promise<ReportModel> {
  const model = await sampleModel('hipaa');
  const attestation = {
    id: '1f0c8a52-6d1e-4b7a-9c55-0e2f1a7b9d11',
    sha256: sha256Hex('attestation'),
    outcome: 'not-met',
    statement: '<b>looked</b> at *all*\n{{ insert: param, x }} [x](y)',
    by: "o'brien@example.org",
    at: '2026-04-02T08:00:00.000Z',
    periodStart: '2026-01-01',
    periodEnd: '2026-03-31',
  } as const;
  const waiver = {
    id: '2f0c8a52-6d1e-4b7a-9c55-0e2f1a7b9d12',
    sha256: sha256Hex('waiver'),
    approvalSha256: sha256Hex('approval'),
    reason: 'tokens are ordered',
    expiresAt: '2026-12-31T00:00:00.000Z',
    signers: ['p1@example.org', 'p2@example.org'],
    scope: [{ column: 'account', value: 'P-0000000000000000' }],
    covered: 2,
  };
  return {
    ...model,
    source: { ...model.source, database: ' a\tdatabase ', chainHead: null },
    generated: { ...model.generated, by: 'engine@auditkeep.invalid' },
    requirements: model.requirements.map((entry, index) => {
      if (index === 0) return { ...entry, status: 'fail', attestation };
      return index === 1 ? { ...entry, id: '164.99', status: 'manual_pending', controls: [] } : entry;
    }),
    controls: model.controls.map((control, index) => {
      const exceptions = { ...control.exceptions, count: 2, waived: 2 };
      if (index === 0) return { ...control, status: 'pass_with_waiver', exceptions, waivers: [waiver] };
      return index === 1 ? { ...control, status: 'stale', limitations: [], checks: [] } : control;
    }),
  };
}

/** Nothing failed, nothing open. */
async function soundModel(): Promise<ReportModel> {
  const model = await sampleModel('sox');
  return {
    ...model,
    requirements: model.requirements.map((entry) => ({ ...entry, status: 'pass' })),
    controls: model.controls.map((control) => ({ ...control, status: 'pass' })),
  };
}

interface Node {
  readonly key: string;
  readonly value: unknown;
}

/** Every value with its key, whatever the depth. */
function nodesOf(value: unknown, key = ''): Node[] {
  const own = [{ key, value }];
  if (Array.isArray(value)) return [...own, ...value.flatMap((item) => nodesOf(item, key))];
  if (typeof value !== 'object' || value === null) return own;
  return [...own, ...Object.entries(value).flatMap(([name, item]) => nodesOf(item, name))];
}

const documentOf = (bytes: Buffer | null): unknown => JSON.parse(bytes?.toString('utf8') ?? 'null');
const textsAt = (nodes: readonly Node[], wanted: RegExp) =>
  nodes.flatMap(({ key, value }) => (wanted.test(key) && typeof value === 'string' ? [value] : []));

describe.skipIf(!hasSchemas)('under the schemas of OSCAL 1.2.1 (../shared/data/oscal-schemas)', () => {
  it.each(['gdpr', 'sox', 'hipaa', 'iso-27001'])('both documents of %s are valid', async (framework) => {
    const model = await sampleModel(framework);
    expect(await problemsOf('assessment-results', renderAssessmentResults(model))).toEqual([]);
    const plan = renderPlanOfAction(model);
    if (plan === null) throw new Error('the sample has failed controls');
    expect(await problemsOf('poam', plan)).toEqual([]);
  });

  it('so are those of odd texts, waivers, attestations and a service', async () => {
    const model = await oddModel();
    expect(await problemsOf('assessment-results', renderAssessmentResults(model))).toEqual([]);
    expect(await problemsOf('poam', renderPlanOfAction(model) ?? Buffer.from('{}'))).toEqual([]);
  });

  it('sees what does not hold', async () => {
    const wrong = Buffer.from(
      renderAssessmentResults(await soundModel())
        .toString('utf8')
        .replace('"TEST"', '""'),
    );
    expect(await problemsOf('assessment-results', wrong)).not.toEqual([]);
    expect(await problemsOf('poam', renderAssessmentResults(await soundModel()))).not.toEqual([]);
  });
});

test('a plan without items is none', async () => {
  expect(renderPlanOfAction(await soundModel())).toBeNull();
});

test('the same model gives the same bytes, another one others, with ids of the report alone', async () => {
  const model = await sampleModel();
  for (const render of [renderAssessmentResults, renderPlanOfAction]) {
    expect(render(await sampleModel())).toEqual(render(model));
    const later = { ...model, source: { ...model.source, unsealedEvents: 13 } };
    expect(render(later)).not.toEqual(render(model));
    const ids = (of: ReportModel) => textsAt(nodesOf(documentOf(render(of))), /^uuid$/);
    expect(ids(later)).toEqual(ids(model));
    const other = ids({ ...model, report: { id: '4f0c8a52-6d1e-4b7a-9c55-0e2f1a7b9d13', version: 2 } });
    expect(other.filter((id) => ids(model).includes(id))).toEqual([]);
  }
});

test('every id is there once and every reference leads to one', async () => {
  const model = await oddModel();
  for (const bytes of [renderAssessmentResults(model), renderPlanOfAction(model)]) {
    const nodes = nodesOf(documentOf(bytes));
    const ids = textsAt(nodes, /^uuid$/);
    expect(ids.length).toBeGreaterThan(20);
    expect(new Set(ids).size).toBe(ids.length);
    const references = [
      ...textsAt(nodes, /-uuids?$/),
      ...textsAt(nodes, /^href$/).flatMap((href) => (href.startsWith('#') ? [href.slice(1)] : [])),
    ];
    expect(references.length).toBeGreaterThan(50);
    expect(references.filter((id) => !ids.includes(id))).toEqual([]);
    const objectives = textsAt(nodes, /^(?:target-id|objective-id)$/);
    if (bytes?.includes('"assessment-results"') === true) {
      expect(objectives.filter((id) => !textsAt(nodes, /^id$/).includes(id))).toEqual([]);
    }
  }
});

interface Finding {
  readonly target: { readonly status: { readonly state: string } };
  readonly props: readonly { readonly name: string; readonly value: string }[];
}

test('only a pass is satisfied, and the exact status, figures and hash are there', async () => {
  const model = await oddModel();
  const nodes = nodesOf(documentOf(renderAssessmentResults(model)));
  const findings = nodes.find(({ key, value }) => key === 'findings' && Array.isArray(value))?.value as Finding[];
  const found = findings.map(({ target, props }) => [props[0]?.value, props[1]?.value, target.status.state]);
  expect(found).toEqual(
    model.requirements.map(({ id, status }) => [id, status, status === 'pass' ? 'satisfied' : 'not-satisfied']),
  );
  const text = renderAssessmentResults(model).toString('utf8');
  expect(text).toContain(freezeModel(model).hash);
  for (const { ipe, waivers } of model.controls) {
    for (const hash of [ipe.resultSha256 ?? '', ipe.populationSqlSha256, ...waivers.map((waiver) => waiver.sha256)]) {
      expect(text).toContain(hash);
    }
  }
  expect(text).toContain('"status":"deviation-approved"');
  expect(text).not.toMatch(/[^\\]<b>/);
});

test('a small report reads as its golden files', async () => {
  const model = await oddModel();
  const few = { ...model, requirements: model.requirements.slice(0, 2), controls: model.controls.slice(0, 2) };
  for (const [name, bytes] of [
    ['assessment-results', renderAssessmentResults(few)],
    ['poam', renderPlanOfAction(few)],
  ] as const) {
    // A golden file outlives the templates.
    const page = `${JSON.stringify(documentOf(bytes), null, 1)}\n`.replaceAll(/[0-9a-f]{64}/g, 'SHA256');
    await expect(page).toMatchFileSnapshot(`../golden/reports/oscal-${name}.json`);
  }
});
