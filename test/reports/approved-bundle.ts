/** An approved report and its bundle, and bundles forged from it. */
import { z } from 'zod';
import { makeBundle } from '../../src/reports/bundle/bundle.ts';
import type { VerifyOptions } from '../../src/reports/bundle/verify-bundle.ts';
import { generateReport } from '../../src/reports/generate/generate.ts';
import { packBundle, unpackBundle } from '../../src/reports/parts/bundle-format.ts';
import { approveReport, rejectReport, reviewReport, submitReport } from '../../src/reports/workflow/workflow.ts';
import { foundRegister, type Roster } from '../persons/roster.ts';
import { type TestContext, temporaryHome, testContext } from '../support/context.ts';
import type { TestDatabase } from '../support/database.ts';
import { runAll } from './control-fixtures.ts';

/** Tokens that outlived their end: exceptions of AC-07, so that there is an evidence file. */
const TWO_EXCEPTIONS = [
  `insert into security_confidential.users (id, username, email, password_hash, password_salt, account_status)
   values ('10000000-0000-4000-8000-000000000001', 'a', 'a@example.org', 'x', 'x', 'active')`,
  `insert into security_internal.jwt_tokens (user_id, token_hash, issued_at, expires_at)
   select '10000000-0000-4000-8000-000000000001', 'h' || n, '2025-01-01', '2025-01-02' from generate_series(1, 2) n`,
];

export interface ApprovedBundle {
  readonly ctx: TestContext;
  readonly roster: Roster;
  /** Removed after the file. */
  readonly folder: string;
  readonly reportId: string;
  readonly zip: Buffer;
}

/** Takes a report through five decisions, one of them a rejection, and packs it. */
export async function approveBundle(db: TestDatabase): Promise<ApprovedBundle> {
  const ctx = await testContext(db);
  const folder = await temporaryHome();
  const roster = await foundRegister(ctx, folder);
  await runAll(db.admin, TWO_EXCEPTIONS);
  const reportId = (await generateReport(ctx, { framework: 'sox', period: '2026-02' })).id;
  await submitReport(roster.as(ctx, 'preparer'), { reportId });
  await rejectReport(roster.as(ctx, 'reviewer'), { reportId, comment: 'AC-02: who is “svc-7”?' });
  await submitReport(roster.as(ctx, 'preparer'), { reportId, comment: 'a service account' });
  await reviewReport(roster.as(ctx, 'reviewer'), { reportId });
  await approveReport(roster.as(ctx, 'approver'), { reportId });
  return { ctx, roster, folder, reportId, zip: (await makeBundle(ctx, reportId)).zip };
}

export const reportShape = z.looseObject({ versions: z.array(z.looseObject({})) });
export const reportJson = z.record(z.string(), z.json());

/** One template of a control stands for all: they are many and alike. */
export const isAnotherTemplate = (name: string) => /^templates\/control-(?!ac-02)/.test(name);

/** The text of a part. */
export function partText(zip: Buffer, name: string): string {
  return Buffer.from(unpackBundle(zip).get(name) ?? '').toString('utf8');
}

/** What a reader knows who was told the certificate of this bundle's seal. */
export function knownSeal(zip: Buffer): VerifyOptions {
  const shape = z.object({ seal: z.object({ certificateSha256: z.string() }) });
  return { sealCertificate: shape.parse(JSON.parse(partText(zip, 'report.json'))).seal.certificateSha256 };
}

/** A bundle with some parts changed, packed again as an insider with our code would. */
export function repackBundle(zip: Buffer, change: (parts: Map<string, Uint8Array>) => void): Buffer {
  const parts = new Map(unpackBundle(zip));
  parts.delete('manifest.json');
  parts.delete('digest.txt');
  change(parts);
  const shape = z.object({
    reportId: z.string(),
    version: z.number(),
    installationId: z.string(),
    versions: z.array(z.object({ reportHash: z.string() })),
  });
  const { reportId, version, installationId, versions } = shape.parse(JSON.parse(partText(zip, 'report.json')));
  return packBundle({ reportId, version, reportHash: versions[0]?.reportHash ?? '', installationId }, parts);
}
