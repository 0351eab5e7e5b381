/** Finds a report to compare: by its id in the database, or in a file that holds a bundle or a model. */
import { readFile, stat } from 'node:fs/promises';
import type { Context } from '../../context.ts';
import { AuditkeepError } from '../../errors.ts';
import { readReport } from '../model/read.ts';
import { MAX_BUNDLE_BYTES, unpackBundle } from '../parts/bundle-format.ts';
import { type ComparableReport, parseComparable } from './comparable.ts';

/** Whether what was given is an id or the first digits of one; anything else is a path. */
export function isReportId(given: string): boolean {
  return /^[0-9a-f][0-9a-f-]{3,35}$/i.test(given.trim());
}

/** A report of the database, checked against its row. @throws as readReport */
export async function readStoredReport(ctx: Pick<Context, 'db' | 'keys'>, id: string): Promise<ComparableReport> {
  return parseComparable((await readReport(ctx, id)).bytes, `report ${id}`);
}

/**
 * The report in a bundle or model.json. What the file says is compared as it is: whether it holds is for `report verify`.
 * @throws INPUT_FILE, INPUT_INVALID, BUNDLE_INVALID
 */
export async function readReportFile(path: string): Promise<ComparableReport> {
  const bytes = await readWhole(path);
  if (bytes.subarray(0, 2).toString('latin1') !== 'PK') return parseComparable(bytes, path);
  return parseComparable(unpackBundle(bytes).get('model.json') ?? Buffer.alloc(0), path);
}

async function readWhole(path: string): Promise<Buffer> {
  try {
    const { size } = await stat(path);
    if (size <= MAX_BUNDLE_BYTES) return await readFile(path);
  } catch (cause) {
    throw new AuditkeepError('INPUT_FILE', {
      message: `${path} is no id of a report, and no file that can be read`,
      hint: 'give ids from `auditkeep report list`, or paths of bundles or models',
      cause,
    });
  }
  throw new AuditkeepError('INPUT_INVALID', {
    message: `${path} is too large for a bundle`,
    hint: 'check that it is the file that was sent',
  });
}
