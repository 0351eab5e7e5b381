/**
 * The words of OSCAL 1.2.1 (NIST, https://pages.nist.gov/OSCAL/): what its data types allow, our own property names, and ids
 * that follow from the report. Pure.
 */
import type { JsonValue } from '../../../canonical-json.ts';
import { uuidV5 } from '../../../uuid-v5.ts';
import type { ReportModel } from '../../model/model.ts';

export const OSCAL_VERSION = '1.2.1';
/** The namespace of every property that OSCAL does not define; docs/spec/report-bundle-v1.md lists them. */
export const NAMESPACE = 'urn:auditkeep:oscal:v1';

/** JSON before what is not there was taken out: OSCAL has no null, and no empty array. */
export type Draft = string | number | boolean | null | undefined | readonly Draft[] | { readonly [key: string]: Draft };

/** Leaves out nulls, empty arrays and objects that nothing is left of. */
export function withoutGaps(draft: Draft): JsonValue {
  return prune(draft) ?? {};
}

function prune(draft: Draft): JsonValue | undefined {
  if (draft === null || draft === undefined) return undefined;
  if (typeof draft !== 'object') return draft;
  if (isList(draft)) {
    const items = draft.map(prune).filter((item) => item !== undefined);
    return items.length === 0 ? undefined : items;
  }
  const entries = Object.entries(draft).flatMap(([key, value]) => {
    const kept = prune(value);
    return kept === undefined ? [] : [[key, kept] as const];
  });
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}

function isList(draft: object): draft is readonly Draft[] {
  return Array.isArray(draft);
}

/** The id of a thing in a report: the same in both documents and at every rendering. */
export function idOf({ report }: Pick<ReportModel, 'report'>, ...names: readonly string[]): string {
  return uuidV5(Buffer.from(report.id.replaceAll('-', ''), 'hex'), names.join('\n'));
}

/** A token (NCName without colon) for a requirement: OSCAL's tokens do not begin with a digit. */
export function requirementToken(model: Pick<ReportModel, 'framework'>, requirement: string): string {
  const token = `${model.framework.id}_${requirement}`;
  return /^\p{L}/u.test(token) ? token : `_${token}`;
}

/** The objective that a requirement is as far as this report goes, defined in the document itself. */
export function objectiveToken(model: Pick<ReportModel, 'framework'>, requirement: string): string {
  return `${requirementToken(model, requirement)}_objective`;
}

/** A property of ours; nothing where there is no value, since OSCAL's strings are not empty. */
export function prop(name: string, value: string | number | boolean | null | undefined): Draft {
  const text = oneLine(String(value ?? ''));
  return text === '' ? null : { name, ns: NAMESPACE, value: text };
}

/** Without line ends and blanks around it, as OSCAL's strings are. */
export function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim();
}

/**
 * Text as OSCAL's markup, which is Markdown: what would format, link or insert is escaped, so that it reads as it was written.
 */
export function markup(text: string): string {
  return oneLine(text).replace(/[\\`*<[\]{}^~]|(?<!\w)_|_(?!\w)/g, '\\$&');
}
