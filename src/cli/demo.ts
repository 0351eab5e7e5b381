/** `auditkeep demo`: everything the product is for, on real rows, through a real worker, on a fresh machine. */
import { access, mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type App, openAdminDatabase, openApp, resolveDatabaseUrl } from '../app.ts';
import { readEmbeddedState } from '../db/embedded.ts';
import { AuditkeepError } from '../errors.ts';
import { installQueues } from '../jobs/install.ts';
import { JOBS } from '../jobs/registry.ts';
import { startWorker } from '../jobs/worker.ts';
import { countOf } from '../plural.ts';
import { measureExposure } from '../privacy/exposure.ts';
import { measureRisk } from '../privacy/risk.ts';
import { migrate } from '../schema/migrate.ts';
import { checkWritableFolder } from '../writable-folder.ts';
import { type AnyCommand, type CommandResult, defineCommand, type Session } from './command.ts';
import { claimDatabase, requireConsent } from './demo/guard.ts';
import { chooseQuarter, loadRecords } from './demo/load.ts';
import { approveAndDistribute, makeReports } from './demo/report.ts';
import { runStep, type Stage } from './demo/stage.ts';
import { type DemoResult, riskText, summaryText } from './demo/summary.ts';
import { tamperWithCopy } from './demo/tamper.ts';
import { dryRunOption, NOTHING_CHANGED } from './dry-run.ts';
import { toJsonText } from './output.ts';

const demo = defineCommand({
  path: ['demo'],
  summary: 'run the main job end to end: import, partitions, chain, archive, anonymization, signed reports, tampering',
  examples: [
    ['auditkeep demo', 'on an embedded PostgreSQL, with 50,000 made-up events'],
    ['auditkeep demo --data DIR --out out', 'with the folders cloudtrail and ethereum of DIR'],
  ],
  options: (yargs) =>
    yargs.options({
      data: { type: 'string', requiresArg: true, describe: 'folder with the folders cloudtrail and ethereum' },
      out: { type: 'string', requiresArg: true, default: 'out', describe: 'folder for PDFs, bundle and summary.json' },
      apply: { type: 'boolean', default: false, describe: 'allow it on a server of your own' },
      'dry-run': dryRunOption,
    }),
  async run(session, args) {
    requireConsent(session.config.databaseUrl !== null, args.apply);
    const data = args.data === undefined ? null : resolve(args.data);
    if (data !== null) await requireFolder(data);
    const out = resolve(args.out);
    if (args['dry-run']) return tryDemo(session, out);
    await mkdir(out, { recursive: true });
    const result = await runDemo(session, { data, out });
    await writeFile(join(out, 'summary.json'), `${toJsonText(result)}\n`);
    return { data: result, text: summaryText(result, session.config), isProse: true };
  },
});

/** The one command of the demo. */
export const demoCommands: readonly AnyCommand[] = [demo];

/** The demo's refusals, without starting a server that does not run. */
async function tryDemo(session: Session, out: string): Promise<CommandResult> {
  await checkWritableFolder(out);
  const { databaseUrl, home } = session.config;
  const database = databaseUrl === null ? (await readEmbeddedState(home)).state : 'configured';
  if (database === 'running' || database === 'configured') await tryClaim(session);
  const where = databaseUrl === null ? `the embedded PostgreSQL in ${home}` : 'the configured database';
  const text = `the demo would run on ${where} and leave its files in ${out}\n${NOTHING_CHANGED}`;
  return { data: { database, home, out }, text };
}

async function tryClaim(session: Session): Promise<void> {
  try {
    await claimDatabase(await session.context({ dryRun: true }));
  } catch (error) {
    // A database without our schema holds nothing of ours: the demo would migrate it.
    if (!(error instanceof AuditkeepError && error.code === 'SCHEMA_MISSING')) throw error;
  }
}

async function runDemo(session: Session, { data, out }: { data: string | null; out: string }): Promise<DemoResult> {
  session.say('1/8 database');
  const url = await resolveDatabaseUrl(session.config);
  await migrateDatabase(session);
  const app = await openApp(session.config, { progress: session.progress });
  let done: Omit<DemoResult, 'tampered' | 'out'>;
  try {
    done = await onStage(app, session, { data, out });
  } finally {
    // A database can only be copied while nobody is connected to it.
    await app.close();
  }
  session.say('8/8 tampering with a copy');
  const tampered = await tamperWithCopy(app.context, url, (line) => session.say(line));
  return { ...done, tampered, out };
}

async function migrateDatabase(session: Session): Promise<void> {
  const admin = await openAdminDatabase(session.config);
  try {
    const applied = await migrate(admin, { afterAsOwner: installQueues });
    session.say(
      applied.length === 0 ? '  the schema is up to date' : `  ${countOf(applied.length, 'migration')} applied`,
    );
  } finally {
    await admin.end();
  }
}

async function onStage(app: App, session: Session, { data, out }: { data: string | null; out: string }) {
  const workerQueue = await app.openWorkerQueue();
  const worker = await startWorker(app.context, workerQueue, { jobs: JOBS, schedules: false });
  try {
    const stage: Stage = { app, ctx: app.context, queue: await app.queue(), out, say: (line) => session.say(line) };
    return await playSteps(stage, data);
  } finally {
    await worker.stop();
  }
}

async function playSteps(stage: Stage, data: string | null) {
  await claimDatabase(stage.ctx);
  stage.say('2/8 import');
  const imports = await loadRecords(stage, data);
  stage.say('3/8 partitions, audit chain and checkpoint');
  await runStep(stage, 'create-partitions');
  await runStep(stage, 'seal-chain');
  stage.say('4/8 archive what is over two years old');
  const archive = await runStep(stage, 'archive');
  await runStep(stage, 'seal-chain');
  stage.say('5/8 anonymize old transactions');
  const before = await measureExposure(stage.ctx);
  const anonymize = await runStep(stage, 'anonymize');
  const after = await measureRisk(stage.ctx);
  stage.say(riskText(before, after));
  stage.say('6/8 verify the chain in full');
  await runStep(stage, 'seal-chain');
  const verify = await runStep(stage, 'verify-chain');
  stage.say('7/8 reports');
  const period = await chooseQuarter(stage.ctx);
  const reports = await makeReports(stage, period);
  const [first] = reports;
  const approved = first === undefined ? null : await approveAndDistribute(stage, first);
  await runStep(stage, 'seal-chain');
  return { imports, archive, anonymize, risk: { before, after }, verify, period, reports, approved };
}

async function requireFolder(path: string): Promise<void> {
  try {
    await access(path);
  } catch (cause) {
    throw new AuditkeepError('INPUT_FILE', {
      message: `the data folder ${path} cannot be read`,
      hint: 'check --data, or leave it out for made-up records',
      cause,
    });
  }
}
