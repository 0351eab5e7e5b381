/** The OSCAL documents of a bundle: not signed, but made from the signed model, and made again by its reader. Pure. */

import type { ReportModel } from '../model/model.ts';
import { parseModel } from '../model/read.ts';
import { renderAssessmentResults } from '../render/oscal/assessment-results.ts';
import { renderPlanOfAction } from '../render/oscal/plan-of-action.ts';
import type { BundleFinding, BundleParts } from './bundle-format.ts';

const ASSESSMENT_RESULTS = 'oscal/assessment-results.json';
const PLAN_OF_ACTION = 'oscal/poam.json';
export const OSCAL_PARTS: readonly string[] = [ASSESSMENT_RESULTS, PLAN_OF_ACTION];

/** Assessment results, and the plan of action where anything is to be done. @throws REPORT_TOO_LARGE */
export function oscalFiles(model: ReportModel): Map<string, Uint8Array> {
  const plan = renderPlanOfAction(model);
  const files = new Map<string, Uint8Array>([[ASSESSMENT_RESULTS, renderAssessmentResults(model)]]);
  return plan === null ? files : files.set(PLAN_OF_ACTION, plan);
}

/**
 * Compares the documents with what the model, whose hash was checked, makes. The release that made the report makes the same bytes on every Node
 * version; by another one they are not compared.
 * @throws INPUT_INVALID for what is no model
 */
export function checkOscal(
  parts: BundleParts,
  release: string,
): { readonly outcome: 'reproduced' | 'not checked'; readonly findings: readonly BundleFinding[] } {
  const model = parseModel(Buffer.from(parts.get('model.json') ?? ''));
  if (model.generated.engineVersion !== release) return { outcome: 'not checked', findings: [] };
  const made = madeFrom(model);
  if (made === null) {
    const what = 'cannot be told in OSCAL by the release that made it';
    return { outcome: 'not checked', findings: [{ part: 'model.json', what }] };
  }
  const findings = OSCAL_PARTS.flatMap((part) => {
    const [bytes, expected] = [parts.get(part), made.get(part)];
    if (bytes === undefined && expected === undefined) return [];
    if (bytes === undefined) return [{ part, what: 'is missing' }];
    if (expected !== undefined && Buffer.from(expected).equals(bytes)) return [];
    return [{ part, what: 'is not what the model makes' }];
  });
  return { outcome: 'reproduced', findings };
}

/** Null for a model that was signed and is none. */
function madeFrom(model: ReportModel): Map<string, Uint8Array> | null {
  try {
    return oscalFiles(model);
  } catch {
    return null;
  }
}
