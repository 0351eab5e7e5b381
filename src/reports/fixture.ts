/**
 * Fixtures of controls: rows, and which controls change their status by them, and to what. Data only: tables, columns and
 * values. `base.yaml` holds the rows on which every control passes.
 */
import { z } from 'zod';
import { AuditkeepError } from '../errors.ts';
import { CONTROL_STATUSES } from './status.ts';
import { listTemplateFiles, parseTemplateFile, type TemplateSet } from './template.ts';

const table = z.string().regex(/^[a-z_]+\.[a-z_]+$/, 'schema.table');
const column = z.string().regex(/^[a-z0-9_]+$/, 'a column');
const span = z.string().regex(/^\d+ (seconds?|minutes?|hours?|days?|years?)$/, 'such as `3 hours`');
/** ago and in: an instant seen from now; day: the UTC day so many days before now. */
const cell = z.union([
  z.null(),
  z.boolean(),
  z.int(),
  z.string(),
  z.strictObject({ ago: span }),
  z.strictObject({ in: span }),
  z.strictObject({ day: z.int() }),
]);
const rows = z.record(table, z.array(z.record(column, cell)).min(1));

const changeSchema = z.strictObject({
  /** Tables that are emptied first. */
  empty: z.array(table).optional(),
  rows: rows.optional(),
  /** Every row of the table gets these values. */
  set: z.record(table, z.record(column, cell)).optional(),
});

const caseSchema = z.strictObject({
  ...changeSchema.shape,
  name: z.string().min(1),
  changes: z.record(z.string(), z.enum(CONTROL_STATUSES)),
});

const fileSchema = z.strictObject({ control: z.string(), cases: z.array(caseSchema).min(1) });

export type FixtureCell = z.infer<typeof cell>;
export type FixtureChange = Readonly<z.infer<typeof changeSchema>>;
export type FixtureCase = Readonly<z.infer<typeof caseSchema>> & { readonly control: string };

export interface Fixtures {
  readonly base: FixtureChange;
  readonly cases: readonly FixtureCase[];
}

/**
 * The fixtures of a templates folder: at least one case of each control makes it fail.
 * @throws TEMPLATE_INVALID naming the file
 */
export async function loadFixtures(folder: string, set: TemplateSet): Promise<Fixtures> {
  const path = `${folder}/fixtures`;
  const names = await listTemplateFiles(path);
  const { value: base } = await parseTemplateFile(`${path}/base.yaml`, changeSchema);
  const cases: FixtureCase[] = [];
  for (const name of names.filter((file) => file !== 'base.yaml')) {
    const { value: file } = await parseTemplateFile(`${path}/${name}`, fileSchema);
    if (`${file.control}.yaml` !== name) throw invalid(`${name} is of '${file.control}'`, 'name it after its control');
    for (const one of file.cases) {
      const unknown = Object.keys(one.changes).find((id) => !set.controls.has(id));
      if (unknown !== undefined) throw invalid(`${name} changes '${unknown}'`, 'name controls that exist');
      cases.push({ ...one, control: file.control });
    }
  }
  for (const id of set.controls.keys()) {
    const fails = cases.some(({ control, changes }) => control === id && changes[id] === 'fail');
    if (!fails) throw invalid(`no fixture makes control '${id}' fail`, `add one to fixtures/${id}.yaml`);
  }
  const stray = cases.find(({ control }) => !set.controls.has(control));
  if (stray !== undefined) throw invalid(`fixtures/${stray.control}.yaml is of no control`, 'remove it');
  return { base, cases };
}

function invalid(message: string, hint: string): AuditkeepError {
  return new AuditkeepError('TEMPLATE_INVALID', { message, hint });
}
