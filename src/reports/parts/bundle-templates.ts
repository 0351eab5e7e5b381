/**
 * The templates of a report as parts of its bundle: the signed model has their hashes, and those of the SQL in them. They are kept
 * by hash in the database (migration 0221), since the folder that they came from may change.
 */
import { parse } from 'yaml';
import { z } from 'zod';
import type { Context } from '../../context.ts';
import { AuditkeepError } from '../../errors.ts';
import { readTemplateTexts } from '../evidence/store-files.ts';
import { type ControlModel, controlTemplatePath, frameworkTemplatePath } from '../model/control-model.ts';
import { type ReportModel, sha256Hex } from '../model/model.ts';
import { parseModel } from '../model/read.ts';
import { type BundleFinding, type BundleParts, sha256Of } from './bundle-format.ts';

interface NamedTemplate {
  readonly part: string;
  readonly sha256: string;
}

function namedTemplates({ framework, controls }: ReportModel): NamedTemplate[] {
  return [
    { part: frameworkTemplatePath(framework.id), sha256: framework.templateSha256 },
    ...controls.map(({ id, ipe }) => ({ part: controlTemplatePath(id), sha256: ipe.templateSha256 })),
  ];
}

/** The templates of a report by their parts. @throws BUNDLE_INVALID when one is not kept any more, or was changed */
export async function templateFiles(ctx: Pick<Context, 'db'>, model: ReportModel): Promise<Map<string, Uint8Array>> {
  const named = namedTemplates(model);
  const hashes = named.map(({ sha256 }) => sha256);
  const texts = await ctx.db.withClient((client) => readTemplateTexts(client, hashes));
  const files = new Map<string, Uint8Array>();
  for (const { part, sha256 } of named) {
    const text = texts.get(sha256);
    if (text === undefined || sha256Of(text) !== sha256) {
      throw new AuditkeepError('BUNDLE_INVALID', {
        message: `the template that the report names for ${part} is not kept in the database`,
        hint: 'generate the report anew, or find out by whom it was removed',
      });
    }
    files.set(part, Buffer.from(text, 'utf8'));
  }
  return files;
}

/**
 * Compares the hashes of the templates with those in the model.
 * @param reportHash the signed hash: of a model that has another one nothing is known
 * @returns the parts that the model names, and what is wrong with them
 */
export function checkTemplateParts(
  parts: BundleParts,
  reportHash: string | undefined,
): { readonly parts: readonly string[]; readonly findings: readonly BundleFinding[] } {
  const bytes = parts.get('model.json');
  if (bytes === undefined || sha256Of(bytes) !== reportHash) return { parts: [], findings: [] };
  try {
    const named = namedTemplates(parseModel(Buffer.from(bytes)));
    return { parts: named.map(({ part }) => part), findings: named.flatMap((template) => checkHash(parts, template)) };
  } catch {
    return { parts: [], findings: [{ part: 'model.json', what: 'is not the model of a report' }] };
  }
}

function checkHash(parts: BundleParts, { part, sha256 }: NamedTemplate): BundleFinding[] {
  const bytes = parts.get(part);
  if (bytes === undefined) return [{ part, what: 'is missing' }];
  return sha256Of(bytes) === sha256 ? [] : [{ part, what: 'does not have the hash of the model' }];
}

/** Of a bundle whose templates have their hashes: whether the SQL in them is what the model says was asked. */
export function checkTemplateSql(parts: BundleParts): BundleFinding[] {
  const { controls } = parseModel(Buffer.from(parts.get('model.json') ?? ''));
  return controls.flatMap((control) => {
    const text = Buffer.from(parts.get(controlTemplatePath(control.id)) ?? '').toString('utf8');
    if (asksAsStated(text, control)) return [];
    return [{ part: 'model.json', what: `says of the SQL of ${control.id} what its template does not` }];
  });
}

const statement = z.looseObject({ sql: z.string().trim() });
const askedSchema = z.looseObject({
  population: statement,
  exceptions: statement,
  completeness: statement,
  prerequisite: statement.optional(),
  freshness: statement.optional(),
});

/** Null for what is no template: whoever signed the model chose its hash. */
function readAsked(text: string): z.infer<typeof askedSchema> | null {
  try {
    return askedSchema.parse(parse(text, { schema: 'core', maxAliasCount: 0 }));
  } catch {
    return null;
  }
}

function asksAsStated(text: string, { ipe, checks }: ControlModel): boolean {
  const asked = readAsked(text);
  if (asked === null) return false;
  const hashOfCheck = (kind: 'prerequisite' | 'freshness') => checks.find((check) => check.kind === kind)?.sqlSha256;
  const stated: [{ readonly sql: string } | undefined, string | undefined][] = [
    [asked.population, ipe.populationSqlSha256],
    [asked.exceptions, ipe.exceptionsSqlSha256],
    [asked.completeness, ipe.completenessSqlSha256],
    [asked.prerequisite, hashOfCheck('prerequisite')],
    [asked.freshness, hashOfCheck('freshness')],
  ];
  return stated.every(([part, hash]) => (part === undefined ? undefined : sha256Hex(part.sql)) === hash);
}
