/** Makes a report: period, evaluation, model, review PDF, and a draft row that holds the encrypted model. */
import { randomUUID } from 'node:crypto';
import { recordEvent } from '../../audit/record/record.ts';
import type { Context } from '../../context.ts';
import { inTransaction } from '../../db/transaction.ts';
import { translateRefusals } from '../../persons/refusal.ts';
import { SERVICE_PERSON } from '../../persons/roles.ts';
import { isoOf, type UtcInstant } from '../../time/clock.ts';
import { parseReportPeriod, type ReportPeriod } from '../../time/report-period.ts';
import { type EvaluateInput, evaluateControls } from '../evaluate/evaluate.ts';
import { parseSeed, randomSeed } from '../evaluate/sample.ts';
import { readActiveWaivers, readAttestations } from '../evaluate/statements.ts';
import { type EvidenceFiles, openEvidenceFiles } from '../evidence/evidence-file.ts';
import { keepTemplates } from '../evidence/store-files.ts';
import { collectIdentities } from '../identity/identity-collector.ts';
import { sealIdentities } from '../identity/seal-identities.ts';
import { buildModel } from '../model/build-model.ts';
import { readEngineVersion } from '../model/engine-version.ts';
import { freezeModel, type ReportModel, sha256Hex } from '../model/model.ts';
import { makePseudonymizer } from '../model/pseudonym.ts';
import { findReport, reportCell } from '../model/read.ts';
import type { Opinion } from '../model/status.ts';
import { insertReport } from '../model/store.ts';
import { renderPdf } from '../render/pdf.ts';
import { selectFramework } from '../template/template.ts';
import { notifyGenerated } from '../workflow/notification.ts';
import { loadSignedTemplates } from './template-signature.ts';
import { readTrend } from './trend.ts';

type GenerateContext = Pick<Context, 'db' | 'reportDb' | 'clock' | 'keys' | 'actor' | 'progress' | 'config'>;

export interface GenerateInput {
  /** `gdpr`, `sox` or `hipaa`, or another framework of the templates folder. */
  readonly framework: string;
  /** `2026-Q2`, `FY2026`, `2026`, `2026-05`, `last-full-month`, or `2026-01-01..2026-03-31`. */
  readonly period: string;
  /** Allows a period that still runs or ended within the last day; such a report cannot be approved. */
  readonly interim?: boolean;
  /** The id of the report that this one is a new version of, or its first digits. */
  readonly supersedes?: string | null;
  /** Hex seed of the samples, as an auditor gives it; random unless given. */
  readonly sampleSeed?: string | null;
  /** Another templates folder than the product's own; a policy owner has signed it. */
  readonly templatesFolder?: string | undefined;
}

export interface GeneratedReport {
  readonly id: string;
  readonly version: number;
  readonly hash: string;
  readonly pdfSha256: string;
  readonly opinion: Opinion;
  readonly model: ReportModel;
}

/**
 * Generates a report as a draft. Durable when it returns: the row with the encrypted model, H, P0, its evidence files,
 * who its pseudonyms are, and the audit event, in one transaction. PDF and JSON are made again from the model at any time
 * (read.ts, render/).
 * @throws INPUT_INVALID for a malformed seed, REPORT_PERIOD, REPORT_TIMEOUT, REPORT_TOO_LARGE, REPORT_SPOOL, TEMPLATE_INVALID,
 *   TEMPLATE_SQL, TEMPLATE_UNSIGNED, PERSON_UNKNOWN,
 *   REPORT_NOT_FOUND, REPORT_SUPERSEDED, REPORT_TRANSITION
 */
export async function generateReport(ctx: GenerateContext, input: GenerateInput): Promise<GeneratedReport> {
  const evidence = openEvidenceFiles();
  try {
    return await generate(ctx, input, evidence);
  } finally {
    await evidence.close();
  }
}

async function generate(ctx: GenerateContext, input: GenerateInput, evidence: EvidenceFiles): Promise<GeneratedReport> {
  const startedAt = ctx.clock.now();
  const { fiscalYearStart } = ctx.config.reports;
  const period = parseReportPeriod(input.period, { now: startedAt, interim: input.interim ?? false, fiscalYearStart });
  const sampleSeed = input.sampleSeed == null ? randomSeed() : parseSeed(input.sampleSeed);
  const selected = selectFramework(await loadSignedTemplates(ctx, input.templatesFolder), input.framework);
  const id = randomUUID();
  const previous = input.supersedes == null ? null : await findReport(ctx, input.supersedes);
  const supersedes = previous?.id ?? null;
  // In the model, so needed before the row; the database numbers versions itself, and readers compare the two.
  const version = (previous?.version ?? 0) + 1;
  const waivers = await readActiveWaivers(ctx);
  const attestations = await readAttestations(ctx, { framework: selected.framework.id, ...period });
  const { controls } = selected;
  const evaluation = await evaluateNaming(ctx, id, { controls, period, waivers, evidence, sampleSeed });
  const engineVersion = await readEngineVersion();
  const model = buildModel({
    report: { id, version },
    framework: selected.framework,
    period,
    generated: {
      at: isoOf(startedAt),
      by: ctx.actor.kind === 'person' ? ctx.actor.email.toLowerCase() : SERVICE_PERSON,
      engineVersion,
      nodeVersion: process.version,
    },
    source: evaluation.source,
    controls: evaluation.results,
    identities: evaluation.identities,
    attestations,
    trend: await readTrend(ctx, selected.framework.id, period),
  });
  const { bytes, hash } = freezeModel(model);
  const pdfSha256 = sha256Hex(await renderPdf(model, null));
  const templates = [selected.framework, ...controls].map(({ source }) => source);
  await store(ctx, { model, bytes, hash, pdfSha256, period, startedAt, supersedes, evidence, templates });
  return { id, version, hash, pdfSha256, opinion: model.opinion, model };
}

/** Evaluates controls, and keeps who the pseudonyms are that they made. */
async function evaluateNaming(
  ctx: GenerateContext,
  id: string,
  input: Omit<EvaluateInput, 'pseudonymize' | 'settle'> & { readonly evidence: EvidenceFiles },
) {
  const { key } = await ctx.keys.secret('report-pseudonym');
  const collector = collectIdentities(makePseudonymizer(key, id));
  try {
    const { pseudonymize, settle } = collector;
    const evaluation = await evaluateControls(ctx, { ...input, pseudonymize, settle });
    const report = { id, period: input.period };
    return { ...evaluation, identities: await sealIdentities(ctx, report, collector, input.evidence) };
  } finally {
    await collector.close();
  }
}

interface Draft {
  readonly model: ReportModel;
  readonly bytes: Buffer;
  readonly hash: string;
  readonly pdfSha256: string;
  readonly period: ReportPeriod;
  readonly startedAt: UtcInstant;
  readonly supersedes: string | null;
  readonly evidence: EvidenceFiles;
  /** The texts of the framework and its controls. */
  readonly templates: readonly string[];
}

async function store(ctx: GenerateContext, draft: Draft): Promise<void> {
  const { model, period } = draft;
  const { id } = model.report;
  const cell = reportCell(id);
  const seal = await ctx.keys.sealer(cell.dataClass);
  const files = await draft.evidence.sealed(ctx.keys, id);
  await translateRefusals(() =>
    inTransaction(ctx.db, async (client) => {
      await insertReport(client, {
        id,
        framework: model.framework.id,
        period,
        envelope: seal(cell, draft.bytes),
        hash: draft.hash,
        pdfSha256: draft.pdfSha256,
        generatedBy: ctx.actor.kind === 'person' ? ctx.actor.email : null,
        generatedAt: isoOf(draft.startedAt),
        durationMs: Math.max(0, ctx.clock.now() - draft.startedAt),
        engineVersion: model.generated.engineVersion,
        supersedes: draft.supersedes,
        approvers: model.framework.approvers,
      });
      await files.store(client);
      await keepTemplates(client, draft.templates);
      await recordEvent(ctx, client, {
        type: 'report.generated',
        category: 'admin',
        action: 'GENERATE',
        resourceType: 'compliance_report',
        resourceId: id,
        details: {
          framework: model.framework.id,
          periodStart: period.startDate,
          periodEnd: period.endDate,
          version: model.report.version,
          reportHash: draft.hash,
          reviewPdfSha256: draft.pdfSha256,
          opinion: model.opinion,
          statusCounts: model.statusCounts,
        },
      });
      await notifyGenerated(client, draft.startedAt, model);
    }),
  );
}
