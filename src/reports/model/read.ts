/** Reads reports back: their rows, and the model that a row's envelope holds. */
import { z } from 'zod';
import type { Context } from '../../context.ts';
import { AuditkeepError } from '../../errors.ts';
import type { CellContext } from '../../keys/keyring.ts';
import { type EvidenceModel, exceptionsPath, samplePath } from './control-model.ts';
import { identitiesModelSchema } from './identity.ts';
import { MODEL_FORMAT, type ReportModel, sha256Hex } from './model.ts';
import { findReportRows, listReportRows, type ReportRow, readReportEnvelope } from './store.ts';

export interface ReadReport {
  readonly row: ReportRow;
  readonly model: ReportModel;
  /** The model's canonical bytes; their SHA-256 is row.hash. */
  readonly bytes: Buffer;
}

/** The place of a report's model; the envelope opens nowhere else. */
export function reportCell(id: string): CellContext {
  return { table: 'audit.compliance_reports', column: 'report_data_encrypted', rowId: id, dataClass: 'confidential' };
}

/** All reports, newest first. */
export function listReports(ctx: Pick<Context, 'db'>): Promise<ReportRow[]> {
  return ctx.db.withClient(listReportRows);
}

/**
 * The row of a report, by its id or the first digits of it.
 * @throws REPORT_NOT_FOUND when none or several fit
 */
export async function findReport(ctx: Pick<Context, 'db'>, id: string): Promise<ReportRow> {
  const prefix = id.trim().toLowerCase();
  const rows = /^[0-9a-f][0-9a-f-]{3,35}$/.test(prefix)
    ? await ctx.db.withClient((client) => findReportRows(client, prefix))
    : [];
  const [row, second] = rows;
  if (row !== undefined && second === undefined) return row;
  throw new AuditkeepError('REPORT_NOT_FOUND', {
    message: second === undefined ? `no report has the id ${id}` : `several reports have ids that begin with ${id}`,
    hint: 'list the reports with `auditkeep report list`',
  });
}

/**
 * A report with its model, decrypted and checked against its hash.
 * @throws REPORT_NOT_FOUND, REPORT_TAMPERED, and those of Keyring.open
 */
export async function readReport(ctx: Pick<Context, 'db' | 'keys'>, id: string): Promise<ReadReport> {
  const row = await findReport(ctx, id);
  const envelope = await ctx.db.withClient((client) => readReportEnvelope(client, row.id));
  const bytes = Buffer.from(await ctx.keys.open(reportCell(row.id), envelope ?? ''));
  if (sha256Hex(bytes) !== row.hash) {
    throw new AuditkeepError('REPORT_TAMPERED', {
      message: `the model of report ${row.id} does not have the hash of its row`,
      hint: 'the row was changed outside the product: keep it and find out by whom',
      details: { id: row.id },
    });
  }
  const model = parseModel(bytes);
  const [differs] = differencesOf(model, statementOf(row));
  if (differs !== undefined) {
    throw new AuditkeepError('REPORT_TAMPERED', {
      message: `the row of report ${row.id} states another ${differs} than its model`,
      hint: 'the row was written outside the product: keep it and find out by whom',
      details: { id: row.id },
    });
  }
  return { row, model, bytes };
}

/** What rows, signed texts and bundles state about a model besides its hash. */
export interface ModelStatement {
  readonly id: string;
  readonly version: number;
  readonly framework: string;
  readonly interim: boolean;
  readonly period: readonly [startDate: string, endDate: string, startAt: string, endAt: string, zone: string];
  readonly generatedBy: string;
  readonly engineVersion: string;
  readonly approvers: number;
}

/** The fields, by name, in which a model says something else than is stated about it. */
export function differencesOf(model: ReportModel, stated: Partial<ModelStatement>): string[] {
  const said = {
    id: model.report.id,
    version: model.report.version,
    framework: model.framework.id,
    interim: model.period.interim,
    period: periodText(model.period),
    generatedBy: model.generated.by,
    engineVersion: model.generated.engineVersion,
    approvers: model.framework.approvers,
  };
  const claimed = { ...stated, ...(stated.period === undefined ? {} : { period: stated.period.join(' ') }) };
  return Object.entries(claimed).flatMap(([name, value]) => (Reflect.get(said, name) === value ? [] : [name]));
}

function periodText({ startDate, endDate, startAt, endAt, zone }: ReportModel['period']): string {
  return [startDate, endDate, startAt, endAt, zone].join(' ');
}

function statementOf(row: ReportRow): ModelStatement {
  const { id, version, framework, interim, generatedBy, engineVersion, approvers } = row;
  const period = [row.periodStart, row.periodEnd, row.periodStartAt, row.periodEndAt, row.periodZone] as const;
  return { id, version, framework, interim, generatedBy, engineVersion, approvers, period };
}

const countSchema = z.int().nonnegative();
const evidenceSchema = z.looseObject({
  path: z.string(),
  rows: countSchema,
  columns: z.array(z.string()),
  bytes: countSchema,
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
});
const exceptionsSchema = z.looseObject({
  count: countSchema.nullable(),
  columns: z.array(z.looseObject({ name: z.string(), kind: z.string() })),
  rows: z.array(z.array(z.string().nullable())),
  evidence: evidenceSchema.nullable(),
});
const sampleSchema = z.looseObject({
  keyKind: z.enum(['pseudonym', 'text']),
  keys: z.array(z.string()),
  evidence: evidenceSchema.nullable(),
});
/** What is compared with files before somebody has looked at the model: their names have to be those of its controls. */
const modelSchema = z.looseObject({
  format: z.literal(MODEL_FORMAT),
  identities: identitiesModelSchema,
  trend: z.array(z.looseObject({ reportId: z.string(), reportHash: z.string(), status: z.string() })),
  controls: z.array(
    z
      .looseObject({
        id: z.string().regex(/^[a-z]{2}-\d{2}$/),
        exceptions: exceptionsSchema,
        ipe: z.looseObject({ sample: sampleSchema.nullable() }),
      })
      .refine(({ id, exceptions: { evidence } }) => evidence === null || evidence.path === exceptionsPath(id))
      .refine(({ id, ipe: { sample } }) => sample?.evidence == null || sample.evidence.path === samplePath(id)),
  ),
});

/** Reads a model from its canonical bytes, whose hash the caller has checked. @throws INPUT_INVALID */
export function parseModel(bytes: Buffer): ReportModel {
  const value: unknown = JSON.parse(bytes.toString('utf8'));
  if (modelSchema.safeParse(value).success) return value as ReportModel;
  throw new AuditkeepError('INPUT_INVALID', {
    message: `the file is not a report model of format ${MODEL_FORMAT}`,
    hint: 'open it with the release that made it',
  });
}

/** The files beside a model, in the order of its controls. */
export function evidenceOf(model: ReportModel): EvidenceModel[] {
  return model.controls.flatMap(({ exceptions, ipe }) =>
    [exceptions.evidence, ipe.sample?.evidence ?? null].filter((file) => file !== null),
  );
}
