/** The pages of a bundle's final.pdf are what the signed model and the signed decisions draw; its seal comes after them. */

import { parseModel } from '../model/read.ts';
import type { BundleParts } from '../parts/bundle-format.ts';
import { renderPdf } from '../render/pdf.ts';
import { unsealedPart } from '../seal/sealed-pdf.ts';
import type { ReportDecision } from '../workflow/decision-check.ts';
import { entryOf } from '../workflow/decision-entry.ts';

/**
 * Draws final.pdf again and compares what lies before the seal. Only the release and Node version that made it can; by others it is not checked.
 * undrawable: signed is not sound, and whoever signed a model that its own release cannot draw gets a finding.
 */
export async function redrawFinalPdf(
  parts: BundleParts,
  decisions: readonly ReportDecision[],
  release: string,
): Promise<'reproduced' | 'different' | 'undrawable' | 'not checked'> {
  const model = parseModel(Buffer.from(parts.get('model.json') ?? ''));
  const { engineVersion, nodeVersion } = model.generated;
  if (engineVersion !== release || nodeVersion !== process.version) return 'not checked';
  const drawn = await renderPdf(model, decisions.map(entryOf)).catch(() => null);
  if (drawn === null) return 'undrawable';
  const pages = unsealedPart(Buffer.from(parts.get('final.pdf') ?? ''));
  return pages?.equals(drawn) === true ? 'reproduced' : 'different';
}
