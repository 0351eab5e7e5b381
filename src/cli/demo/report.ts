/** One report of each framework, and one of them all the way: submit, review, approve, distribute, open. */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import type { Context } from '../../context.ts';
import { distributeReport, openBundle } from '../../reports/bundle/distribute.ts';
import { listReports, readReport } from '../../reports/model/read.ts';
import { renderPdf } from '../../reports/render/pdf.ts';
import { approveReport, reviewReport, submitReport } from '../../reports/workflow/workflow.ts';
import { type DemoPerson, type DemoPersons, demoPersons } from './persons.ts';
import { runStep, type Stage } from './stage.ts';

const FRAMEWORKS = ['gdpr', 'sox', 'hipaa'] as const;

export interface DemoReport {
  readonly framework: string;
  readonly id: string;
  readonly hash: string;
  readonly status: string;
  readonly pdf: string;
}

/** What became of the report that went all the way; null when the database has other persons. */
export interface Approved {
  readonly id: string;
  readonly bundle: string;
  readonly opened: string;
  readonly identity: string;
}

/** Generates the three reports through the worker and writes their PDFs. */
export async function makeReports(stage: Stage, period: string): Promise<DemoReport[]> {
  const reports: DemoReport[] = [];
  for (const framework of FRAMEWORKS) {
    await runStep(stage, 'generate-report', { framework, period });
    const newest = (await listReports(stage.ctx)).find((row) => row.framework === framework);
    if (newest === undefined) throw new Error(`no ${framework} report after its job`);
    const { row, model } = await readReport(stage.ctx, newest.id);
    const pdf = join(stage.out, `${framework}-${period}.pdf`);
    await writeFile(pdf, await renderPdf(model, null), { mode: 0o600 });
    reports.push({ framework, id: row.id, hash: row.hash, status: row.status, pdf });
  }
  return reports;
}

/** Takes a draft through its whole life. Every decision is signed with its person's SSH key. */
export async function approveAndDistribute(stage: Stage, report: DemoReport): Promise<Approved | null> {
  const persons = await demoPersons(stage.ctx);
  if (persons === null) {
    stage.say('  this database has its own register of persons: the reports stay drafts');
    return null;
  }
  await decide(stage, report, persons);
  return distribute(stage, report, persons.preparer);
}

async function decide(stage: Stage, report: DemoReport, persons: DemoPersons): Promise<void> {
  const input = { reportId: report.id };
  await submitReport(as(stage.ctx, persons.preparer), input);
  stage.say(`  submitted by ${persons.preparer.email}`);
  await reviewReport(as(stage.ctx, persons.reviewer), { ...input, comment: 'Checked against the evidence.' });
  stage.say(`  reviewed by ${persons.reviewer.email}`);
  const { status } = await approveReport(as(stage.ctx, persons.approver), input);
  stage.say(`  approved by ${persons.approver.email}: status ${status}`);
}

async function distribute(stage: Stage, report: DemoReport, by: DemoPerson): Promise<Approved> {
  const identity = join(stage.out, 'recipient-age-identity.txt');
  const recipient = await recipientOf(identity);
  const sent = await distributeReport(as(stage.ctx, by), {
    reportId: report.id,
    recipient: 'external auditor (demo)',
    ageRecipient: recipient,
    purpose: 'demonstration',
    outDir: stage.out,
  });
  stage.say(`  encrypted for ${recipient.slice(0, 16)}...: ${sent.path}`);
  const opened = join(stage.out, `opened-${report.framework}`);
  await rm(opened, { recursive: true, force: true });
  await mkdir(opened, { recursive: true });
  await openBundle({ file: sent.path, identityFile: identity, signersFile: null, outDir: opened });
  stage.say(`  opened again and checked: ${opened}`);
  return { id: report.id, bundle: sent.path, opened, identity };
}

/** The recipient of an earlier demo, so that its bundles stay readable, or a new one. */
async function recipientOf(identityFile: string): Promise<string> {
  const earlier = await readFile(identityFile, 'utf8').catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw error;
  });
  const secret = earlier?.split('\n').find((line) => line.startsWith('AGE-SECRET-KEY-1'));
  if (secret !== undefined) return identityToRecipient(secret);
  const made = await generateX25519Identity();
  const recipient = await identityToRecipient(made);
  await writeFile(identityFile, `# the demo's recipient; public key: ${recipient}\n${made}\n`, { mode: 0o600 });
  return recipient;
}

function as(ctx: Context, person: DemoPerson): Context {
  return { ...ctx, actor: { kind: 'person', email: person.email, keyFile: person.keyFile } };
}
