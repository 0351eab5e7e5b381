/**
 * Declarative templates: controls (what is asserted, over which rows) and frameworks (which requirement rests on which
 * controls), parsed and cross-checked. Data only: no template carries logic beyond its SQL (control-sql.ts).
 */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { z } from 'zod';
import { AuditkeepError } from '../../errors.ts';
import { FREQUENCIES } from '../../time/report-period.ts';
import { yamlProblem } from '../../yaml-problem.ts';
import { parseControlSql } from './control-sql.ts';

const identifier = z.string().regex(/^[a-z][a-z0-9_]*$/, 'a lower-case name');
const sentence = z.string().trim().min(1);

const parameterSchema = z
  .strictObject({
    type: z.enum(['integer']),
    default: z.int(),
    min: z.int(),
    max: z.int(),
    unit: sentence,
    meaning: sentence,
  })
  .refine((p) => p.min <= p.default && p.default <= p.max, 'min <= default <= max');

const columnSchema = z
  .strictObject({
    name: identifier,
    label: sentence,
    /** pseudonym: a person or an id that leads to one, never printed as it is. instant: shown in UTC, whole seconds. */
    kind: z.enum(['pseudonym', 'text', 'integer', 'instant']),
  })
  .refine(({ name, kind }) => kind === 'pseudonym' || !/_(id|key)$/.test(name), 'an _id or _key is a pseudonym');

/** What a population without rows stands for. It never stands for a pass. */
const EMPTY_MEANINGS = ['no_occurrences', 'not_applicable', 'insufficient_data'] as const;

/** One row, one column `n`. */
const countSchema = z.strictObject({ meaning: sentence, sql: sentence });

const controlSchema = z.strictObject({
  id: z.string().regex(/^[a-z]{2}-\d{2}$/),
  version: z.int().min(1),
  title: sentence,
  group: z.enum(['access', 'change', 'operations', 'transactions', 'logging', 'privacy']),
  /** cohort: what began in the period, followed to now. */
  mode: z.enum(['as_of', 'of_period', 'cohort']),
  severity: z.enum(['low', 'medium', 'high', 'critical']),
  assertion: sentence,
  frequency: sentence,
  remediation: sentence,
  limitations: z.array(sentence),
  parameters: z.record(identifier, parameterSchema),
  population: z.strictObject({
    meaning: sentence,
    key: identifier,
    /** How samples show the key: as it is only where it leads to no person. */
    keyKind: z.enum(['pseudonym', 'text']).optional(),
    sql: sentence,
    whenEmpty: z.enum(EMPTY_MEANINGS),
    whenEmptyMeans: sentence,
  }),
  exceptions: z.strictObject({ meaning: sentence, columns: z.array(columnSchema).min(1).max(8), sql: sentence }),
  /** One row, one column `n`: the population's size by a path that is not the control's own. */
  completeness: countSchema,
  /** How many sources do not reach back to what is judged; more than none is insufficient data. */
  prerequisite: countSchema.optional(),
  /** How many sources ended too early to tell; more than none is stale. */
  freshness: countSchema.optional(),
});

const requirementSchema = z.strictObject({
  id: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9.-]*$/),
  citation: sentence,
  title: sentence,
  text: sentence,
  /** How far the controls answer the requirement: printed as it is, also where the answer is "not at all". */
  coverage: z.enum(['automated', 'partial', 'manual']),
  note: sentence,
  controls: z.array(z.string()),
});

const dayCount = z.int().min(1).max(366);

const workflowSchema = z.strictObject({
  /** How often reports are made by schedule. */
  frequencies: z.array(z.enum(FREQUENCIES)),
  /** How many different persons have to approve; one unless given. */
  approvers: z.int().min(1).max(9).optional(),
  /** Until how many days after a version was generated each step is due. */
  deadlines: z
    .strictObject({ submit: dayCount, review: dayCount, approve: dayCount })
    .refine(({ submit, review, approve }) => submit <= review && review <= approve, 'submit <= review <= approve'),
});

const frameworkSchema = z.strictObject({
  id: z.string().regex(/^[a-z0-9]+(-[a-z0-9]+)*$/),
  version: z.int().min(1),
  name: sentence,
  title: sentence,
  citation: sentence,
  introduction: sentence,
  /** Other values of the parameters of a control than its own, within its bounds: a law's own times. */
  parameters: z.record(z.string(), z.record(identifier, z.int())).optional(),
  workflow: workflowSchema.optional(),
  requirements: z.array(requirementSchema).min(1),
});

const textSchema = z.record(z.string(), z.string());

/** The file that a template came from: its text, and the SHA-256 of that. */
interface TemplateFile {
  readonly sha256: string;
  readonly source: string;
}
export type ControlTemplate = Readonly<z.infer<typeof controlSchema>> & TemplateFile;
export type FrameworkTemplate = Readonly<z.infer<typeof frameworkSchema>> & TemplateFile;
export type EmptyMeaning = (typeof EMPTY_MEANINGS)[number];
export type ColumnKind = z.infer<typeof columnSchema>['kind'];

/** Every template of a folder, cross-checked; sorted by id. */
export interface TemplateSet {
  readonly controls: ReadonlyMap<string, ControlTemplate>;
  readonly frameworks: ReadonlyMap<string, FrameworkTemplate>;
}

/** The folder of the templates that come with the product. */
export const TEMPLATES_FOLDER = fileURLToPath(new URL('../../../templates', import.meta.url));

/**
 * Reads and checks all templates of a folder: shape, SQL form, parameters, references, controls no framework uses.
 * @throws TEMPLATE_INVALID, TEMPLATE_SQL naming the file
 */
export async function loadTemplates(folder: string = TEMPLATES_FOLDER): Promise<TemplateSet> {
  const controls = await loadFolder(`${folder}/controls`, controlSchema);
  const frameworks = await loadFolder(`${folder}/frameworks`, frameworkSchema);
  for (const control of controls.values()) checkControl(control);
  checkReferences(controls, frameworks);
  return { controls, frameworks };
}

/** One framework and its controls, by id. @throws TEMPLATE_INVALID */
export function selectFramework(
  set: TemplateSet,
  id: string,
): { readonly framework: FrameworkTemplate; readonly controls: readonly ControlTemplate[] } {
  const framework = set.frameworks.get(id.toLowerCase());
  if (framework === undefined) {
    const known = [...set.frameworks.keys()].join(', ');
    throw invalid(`there is no framework '${id}'`, `give one of: ${known}`);
  }
  const ids = new Set(framework.requirements.flatMap((requirement) => requirement.controls));
  const controls = [...ids]
    .sort()
    .map((control) => set.controls.get(control))
    .filter((control) => control !== undefined)
    .map((control) => withParameters(control, framework));
  return { framework, controls };
}

/** A control with the values that a framework gives its parameters. @throws TEMPLATE_INVALID out of bounds or unknown */
function withParameters(control: ControlTemplate, framework: FrameworkTemplate): ControlTemplate {
  const given = framework.parameters?.[control.id] ?? {};
  const parameters = { ...control.parameters };
  for (const [name, value] of Object.entries(given)) {
    const own = parameters[name];
    if (own === undefined || value < own.min || value > own.max) {
      throw invalid(
        `${framework.id} gives ${control.id} the parameter ${name} = ${value}`,
        own === undefined ? 'name one of its parameters' : `between ${own.min} and ${own.max}`,
      );
    }
    parameters[name] = { ...own, default: value };
  }
  return { ...control, parameters };
}

/** Reads and parses one text pack (`text/en/report.yaml`). @throws TEMPLATE_INVALID */
export async function loadTexts(locale: 'en', folder: string = TEMPLATES_FOLDER): Promise<z.infer<typeof textSchema>> {
  return (await parseTemplateFile(`${folder}/text/${locale}/report.yaml`, textSchema)).value;
}

async function loadFolder<T extends { readonly id: string }>(
  folder: string,
  schema: z.ZodType<T>,
): Promise<Map<string, T & TemplateFile>> {
  const files = await listTemplateFiles(folder);
  const loaded = new Map<string, T & TemplateFile>();
  for (const file of files) {
    const { value, ...origin } = await parseTemplateFile(`${folder}/${file}`, schema);
    if (`${value.id}.yaml` !== file) throw invalid(`${file} holds the id '${value.id}'`, 'name the file after the id');
    loaded.set(value.id, { ...value, ...origin });
  }
  return loaded;
}

/** The templates of a folder by name; what is none would be left out unseen. @throws TEMPLATE_INVALID naming a stray file */
export async function listTemplateFiles(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch((cause: unknown) => {
    throw invalid(`the folder ${folder} cannot be read`, 'give a folder with controls/ and frameworks/ in it', cause);
  });
  const files = names.filter((name) => !name.startsWith('.')).sort();
  const stray = files.find((name) => !name.endsWith('.yaml'));
  if (stray !== undefined)
    throw invalid(`${folder}/${stray} is no template`, 'name templates .yaml, and remove others');
  return files;
}

/** Reads and parses one file of a templates folder. @throws TEMPLATE_INVALID */
export async function parseTemplateFile<T>(
  path: string,
  schema: z.ZodType<T>,
): Promise<TemplateFile & { readonly value: T }> {
  const bytes = await readFile(path).catch((cause: unknown) => {
    throw invalid(`${path} cannot be read`, 'check the templates folder', cause);
  });
  const source = bytes.toString('utf8');
  // Its hash is of the bytes, and its text is what is kept.
  if (!Buffer.from(source, 'utf8').equals(bytes)) throw invalid(`${path} is not UTF-8`, 'save it as UTF-8');
  let document: unknown;
  try {
    document = parse(source, { schema: 'core', maxAliasCount: 0 });
  } catch (cause) {
    throw invalid(`${path} is not YAML: ${yamlProblem(cause)}`, 'correct the file', cause);
  }
  const result = schema.safeParse(document);
  if (!result.success) {
    const issue = result.error.issues[0];
    const where = issue === undefined ? '' : `${issue.path.join('.')}: ${issue.message}`;
    throw invalid(`${path} is malformed at ${where}`, 'see templates/README.md for the shape', result.error);
  }
  return { value: result.data, source, sha256: createHash('sha256').update(bytes).digest('hex') };
}

/** The statements of a control, in the order in which they are checked and run. */
export const CONTROL_PARTS = ['population', 'exceptions', 'completeness', 'prerequisite', 'freshness'] as const;
export type ControlPart = (typeof CONTROL_PARTS)[number];

/** How many keys are sampled: a parameter that no statement uses. */
export const SAMPLE_SIZE_PARAMETER = 'sample_size';
const MOST_SAMPLED = 1000;

/** Parameters that every control has without declaring them. */
const PERIOD_PARAMETERS = ['period_start', 'period_end', 'as_of'] as const;

function checkControl(control: ControlTemplate): void {
  const known = new Set<string>([...PERIOD_PARAMETERS, ...Object.keys(control.parameters)]);
  const used = new Set<string>([SAMPLE_SIZE_PARAMETER]);
  const size = control.parameters[SAMPLE_SIZE_PARAMETER];
  if (size !== undefined && (size.min < 1 || size.max > MOST_SAMPLED)) {
    throw invalid(`${control.id} samples ${size.min} to ${size.max} keys`, `between 1 and ${MOST_SAMPLED}`);
  }
  for (const part of CONTROL_PARTS) {
    const sql = control[part]?.sql;
    if (sql === undefined) continue;
    const statement = parseControlSql(sql, `${control.id} ${part}`);
    for (const name of statement.parameters) {
      if (!known.has(name)) throw invalid(`${control.id} ${part} uses ':${name}'`, 'declare it under parameters');
      used.add(name);
    }
  }
  const idle = Object.keys(control.parameters).find((name) => !used.has(name));
  if (idle !== undefined) throw invalid(`${control.id} never uses its parameter '${idle}'`, 'remove it or use it');
}

function checkReferences(
  controls: ReadonlyMap<string, ControlTemplate>,
  frameworks: ReadonlyMap<string, FrameworkTemplate>,
): void {
  const used = new Set<string>();
  for (const framework of frameworks.values()) {
    const ids = framework.requirements.map((requirement) => requirement.id);
    const doubled = ids.find((id, index) => ids.indexOf(id) !== index);
    if (doubled !== undefined) throw invalid(`${framework.id} has the requirement '${doubled}' twice`, 'rename one');
    for (const [id, given] of Object.entries(framework.parameters ?? {})) {
      const control = controls.get(id);
      if (control === undefined) throw invalid(`${framework.id} gives parameters to '${id}'`, 'name a control');
      withParameters(control, { ...framework, parameters: { [id]: given } });
    }
    for (const requirement of framework.requirements) {
      for (const id of requirement.controls) {
        if (!controls.has(id)) throw invalid(`${framework.id} ${requirement.id} names control '${id}'`, 'add it');
        used.add(id);
      }
      const twice = requirement.controls.find((id, index) => requirement.controls.indexOf(id) !== index);
      if (twice !== undefined)
        throw invalid(`${framework.id} ${requirement.id} names '${twice}' twice`, 'name it once');
      if ((requirement.coverage === 'manual') !== (requirement.controls.length === 0)) {
        throw invalid(
          `${framework.id} ${requirement.id} is ${requirement.coverage} with ${requirement.controls.length} controls`,
          'manual means no control, the others at least one',
        );
      }
    }
  }
  const unused = [...controls.keys()].find((id) => !used.has(id));
  if (unused !== undefined) throw invalid(`no framework uses control '${unused}'`, 'reference it or remove its file');
}

function invalid(message: string, hint: string, cause?: unknown): AuditkeepError {
  return new AuditkeepError('TEMPLATE_INVALID', { message, hint, cause });
}
