import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { canonicalJson } from '../../src/canonical-json.ts';
import { verifyBundle } from '../../src/reports/bundle/verify-bundle.ts';
import { parseModel } from '../../src/reports/model/read.ts';
import { checkEvidence } from '../../src/reports/parts/bundle-evidence.ts';
import { sha256Of, unpackBundle } from '../../src/reports/parts/bundle-format.ts';
import { checkTemplateSql } from '../../src/reports/parts/bundle-templates.ts';
import { TEMPLATES_FOLDER } from '../../src/reports/template/template.ts';
import { useDatabase } from '../support/database.ts';
import { approveBundle, partText, repackBundle } from './approved-bundle.ts';

const EXCEPTIONS_PART = 'evidence/ac-07/exceptions.csv';

const db = useDatabase();
let zip: Buffer;

beforeAll(async () => {
  ({ zip } = await approveBundle(db));
});

const textOf = (name: string) => partText(zip, name);
const repack = (change: (parts: Map<string, Uint8Array>) => void) => repackBundle(zip, change);

describe('what the model names by hash', () => {
  test('an evidence file that is missing, another one, or one too many is found', async () => {
    expect(textOf(EXCEPTIONS_PART).split('\r\n')).toHaveLength(4);
    const missing = repack((parts) => parts.delete(EXCEPTIONS_PART));
    expect((await verifyBundle(missing, null)).findings).toEqual([{ part: EXCEPTIONS_PART, what: 'is missing' }]);
    const other = repack((parts) => parts.set(EXCEPTIONS_PART, Buffer.from(`${textOf(EXCEPTIONS_PART)}"P-1"\r\n`)));
    expect((await verifyBundle(other, null)).findings).toEqual([
      { part: EXCEPTIONS_PART, what: 'does not have the hash of the model' },
    ]);
    for (const part of ['evidence/ac-01/exceptions.csv', 'evidence/ac-07/more.csv']) {
      const extra = repack((parts) => parts.set(part, Buffer.from('')));
      expect((await verifyBundle(extra, null)).findings).toContainEqual({ part, what: 'is no part of a bundle' });
    }
  });

  test('a model that says of its exceptions what their file does not is found, whoever signed it', () => {
    const parts = unpackBundle(zip);
    const model = parseModel(Buffer.from(textOf('model.json')));
    const findingsOf = (change: (exceptions: Exceptions) => Exceptions) => {
      const controls = model.controls.map((control) =>
        control.id === 'ac-07' ? { ...control, exceptions: change(control.exceptions) } : control,
      );
      const bytes = Buffer.from(canonicalJson({ ...model, controls }));
      return checkEvidence(new Map([...parts, ['model.json', bytes]]), sha256Of(bytes)).findings;
    };
    type Exceptions = (typeof model.controls)[number]['exceptions'];
    const evidence = model.controls.find(({ id }) => id === 'ac-07')?.exceptions.evidence ?? null;
    if (evidence === null) throw new Error('AC-07 has no evidence');
    expect(findingsOf((same) => same)).toEqual([]);
    const sampled = model.controls.map((control) => {
      const { sample } = control.ipe;
      if (control.id !== 'ac-07' || sample === null) return control;
      return { ...control, ipe: { ...control.ipe, sample: { ...sample, keys: sample.keys.slice(1) } } };
    });
    const bytes = Buffer.from(canonicalJson({ ...model, controls: sampled }));
    expect(checkEvidence(new Map([...parts, ['model.json', bytes]]), sha256Of(bytes)).findings).toEqual([
      { part: 'model.json', what: 'says of the sample of ac-07 what their file does not' },
    ]);
    for (const change of [
      (all: Exceptions) => ({ ...all, count: 3 }),
      (all: Exceptions) => ({ ...all, rows: [...all.rows].reverse() }),
      (all: Exceptions) => ({ ...all, columns: all.columns.slice(1) }),
      (all: Exceptions) => ({ ...all, evidence: null }),
      (all: Exceptions) => ({ ...all, evidence: { ...evidence, bytes: evidence.bytes + 1 } }),
      (all: Exceptions) => ({ ...all, count: 3, evidence: { ...evidence, rows: 3 } }),
      (all: Exceptions) => ({ ...all, evidence: { ...evidence, columns: ['x'] } }),
    ]) {
      expect(findingsOf(change)).toEqual([
        { part: 'model.json', what: 'says of the exceptions of ac-07 what their file does not' },
      ]);
    }
  });

  test('a template that is missing, another one, or asks something else than the model says is found', async () => {
    const part = 'templates/control-ac-02.yaml';
    const find = async (change: (parts: Map<string, Uint8Array>) => void) =>
      (await verifyBundle(repack(change), null)).findings;
    expect(await find((parts) => parts.delete(part))).toContainEqual({ part, what: 'is missing' });
    const other = Buffer.from(textOf('templates/control-ac-01.yaml'));
    const what = 'does not have the hash of the model';
    expect(await find((parts) => parts.set(part, other))).toContainEqual({ part, what });
    const changed = Buffer.from(
      textOf('model.json').replace(/"populationSqlSha256":"[0-9a-f]{64}"/, `"populationSqlSha256":"${'0'.repeat(64)}"`),
    );
    const parts = new Map(unpackBundle(zip)).set('model.json', changed);
    expect(checkTemplateSql(unpackBundle(zip))).toEqual([]);
    expect(checkTemplateSql(parts)).toEqual([
      { part: 'model.json', what: 'says of the SQL of ac-01 what its template does not' },
    ]);
    parts.set(part, Buffer.from('no: template'));
    expect(checkTemplateSql(parts)).toHaveLength(2);
    expect(textOf('templates/framework-sox.yaml')).toContain('id: sox');
    expect(textOf(part)).toBe(await readFile(join(TEMPLATES_FOLDER, 'controls', 'ac-02.yaml'), 'utf8'));
  });
});
