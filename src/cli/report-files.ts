/** The files of a report, in the folder that --out names. */
import { mkdir, open, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Context } from '../context.ts';
import { AuditkeepError } from '../errors.ts';
import { readEvidence } from '../reports/evidence/evidence-file.ts';
import type { ReportModel } from '../reports/model/model.ts';
import { evidenceOf } from '../reports/model/read.ts';
import { renderJson } from '../reports/render/json.ts';
import { renderAssessmentResults } from '../reports/render/oscal/assessment-results.ts';
import { renderPlanOfAction } from '../reports/render/oscal/plan-of-action.ts';
import { renderPdf } from '../reports/render/pdf.ts';

/**
 * Writes review PDF, model JSON and, where asked for, OSCAL, and below a folder of the same name the evidence files.
 * @returns the paths, in this order
 * @throws INPUT_FILE, and those of readEvidence
 */
export async function writeReportFiles(
  ctx: Pick<Context, 'db' | 'keys'>,
  folder: string,
  model: ReportModel,
  oscal: boolean,
): Promise<string[]> {
  const { framework, period, report } = model;
  const name = join(folder, `${framework.id}-${period.startDate}-${period.endDate}-${report.id.slice(0, 8)}`);
  const files = [
    { path: `${name}.pdf`, bytes: await renderPdf(model, null) },
    { path: `${name}.json`, bytes: renderJson(model) },
    ...(oscal ? oscalFiles(name, model) : []),
  ];
  const evidence = evidenceOf(model).map((file) => ({ path: join(name, file.path), file }));
  try {
    await mkdir(folder, { recursive: true });
    for (const file of files) await writeFile(file.path, file.bytes, { mode: 0o600 });
    for (const { path, file } of evidence) await writePieces(path, readEvidence(ctx, report.id, file));
  } catch (cause) {
    if (cause instanceof AuditkeepError) throw cause;
    throw new AuditkeepError('INPUT_FILE', {
      message: `the folder ${folder} cannot be written`,
      hint: 'give --out a folder that you may write; the report itself is stored',
      cause,
    });
  }
  return [...files, ...evidence].map((file) => file.path);
}

/** Under its name the file is there whole and checked, or not at all. */
async function writePieces(path: string, pieces: AsyncIterable<Uint8Array>): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const part = `${path}.part`;
  const file = await open(part, 'w', 0o600);
  try {
    for await (const piece of pieces) await file.write(piece);
    await rename(part, path);
  } catch (error) {
    await rm(part);
    throw error;
  } finally {
    await file.close();
  }
}

function oscalFiles(path: string, model: ReportModel) {
  const plan = renderPlanOfAction(model);
  return [
    { path: `${path}.oscal-assessment-results.json`, bytes: renderAssessmentResults(model) },
    ...(plan === null ? [] : [{ path: `${path}.oscal-poam.json`, bytes: plan }]),
  ];
}
