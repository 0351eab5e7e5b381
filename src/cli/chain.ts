/** `auditkeep chain status | seal | verify | checkpoint` */
import { type Finding, VERIFY_LEVELS, type Verification } from '../audit/links/finding.ts';
import { planCheckpoint, signCheckpoint } from '../audit/publish/sign.ts';
import { type ChainStatus, readChainStatus } from '../audit/publish/status.ts';
import { sealChain } from '../audit/seal/seal.ts';
import { planSweep, sweepChain } from '../audit/seal/sweep.ts';
import type { LastRun } from '../audit/signer/last-runs.ts';
import { hasSignerTraces } from '../audit/signer/signer-store.ts';
import { verifyChain } from '../audit/verify/verify.ts';
import type { WitnessStatus } from '../audit/witness/anchor.ts';
import type { Context } from '../context.ts';
import { EXIT } from '../errors.ts';
import { countOf } from '../plural.ts';
import { anchorText } from './anchor-text.ts';
import { type AnyCommand, type CommandResult, defineCommand } from './command.ts';
import { dryRunOption, NOTHING_CHANGED } from './dry-run.ts';

/** What an installation reads that has sealed but never signed. */
const UNSIGNED = 'no checkpoint was signed yet: run `auditkeep chain checkpoint`';
/** Findings printed for people; `--json` has all of them. */
const SHOWN_FINDINGS = 50;

export const chainCommands: readonly AnyCommand[] = [
  defineCommand({
    path: ['chain', 'status'],
    summary: 'show how long the audit chain is, what waits to be sealed and what was signed',
    examples: [['auditkeep chain status --json', 'for a monitor']],
    options: (yargs) => yargs,
    async run(session) {
      const status = await readChainStatus(await session.context());
      return { data: status, text: statusText(status) };
    },
  }),
  defineCommand({
    path: ['chain', 'seal'],
    summary: 'link every committed event into the chain now',
    examples: [
      ['auditkeep chain seal', 'the worker does this each minute'],
      ['auditkeep chain seal --sweep', 'once, after a dump was restored: transaction ids began anew'],
    ],
    options: (yargs) =>
      yargs.options({
        'dry-run': dryRunOption,
        sweep: { type: 'boolean', default: false, describe: 'link what a restored dump left unlinked' },
      }),
    async run(session, args) {
      const ctx = await session.context();
      if (args.sweep) return sweep(ctx, args['dry-run']);
      if (args['dry-run']) {
        const { unsealed, size } = await readChainStatus(ctx);
        const after = size + unsealed;
        const text = `${countOf(unsealed, 'event')} would be sealed, ${after} in the chain then\n${NOTHING_CHANGED}`;
        return { data: { sealed: unsealed, size: after, complete: true }, text };
      }
      const { sealed, size, complete } = await sealChain(ctx);
      const text = `${countOf(sealed, 'event')} sealed, ${size} in the chain${complete ? '' : '; another sealer is at work'}`;
      return { data: { sealed, size: Number(size), complete }, text };
    },
  }),
  defineCommand({
    path: ['chain', 'verify'],
    summary: 'recompute the chain and name every event that was tampered with; exit code 3 on a finding',
    examples: [
      ['auditkeep chain verify', 'everything, with words'],
      ['auditkeep chain verify --level incremental', 'what was signed since the last verification'],
      ['auditkeep chain verify --level full --json', 'for scripts'],
    ],
    options: (yargs) =>
      yargs.options({
        level: { choices: VERIFY_LEVELS, default: 'full' as const, describe: 'how much is verified' },
        fresh: { type: 'boolean', default: false, describe: 'full: read again what an interrupted run has read' },
      }),
    async run(session, args) {
      const ctx = await session.context();
      const result = await verifyChain(ctx, { level: args.level, fresh: args.fresh });
      const signed = await hasSignerTraces(ctx.config.home);
      const exitCode = result.intact ? EXIT.done : EXIT.findings;
      return { data: result, text: verificationText(result, signed), exitCode };
    },
  }),
  defineCommand({
    path: ['chain', 'checkpoint'],
    summary: 'sign the head of the chain, after proving that it grew out of what was signed before',
    examples: [['auditkeep chain checkpoint > head.txt', 'a signed note that any C2SP tool reads']],
    options: (yargs) => yargs.options({ 'dry-run': dryRunOption }),
    async run(session, args) {
      const ctx = await session.context();
      if (args['dry-run']) {
        const { size, fresh } = await planCheckpoint(ctx);
        const text = fresh
          ? `a head of ${countOf(size, 'event')} would be signed`
          : `nothing new to sign at ${countOf(size, 'event')}`;
        return { data: { size: Number(size), fresh, note: null }, text: `${text}\n${NOTHING_CHANGED}` };
      }
      const { note, size, fresh } = await signCheckpoint(ctx);
      return { data: { size: Number(size), fresh, note }, text: note ?? 'the chain is empty: nothing to sign' };
    },
  }),
];

async function sweep(ctx: Context, dryRun: boolean): Promise<CommandResult> {
  if (!dryRun) {
    const { swept, size } = await sweepChain(ctx);
    return { data: { swept, size: Number(size) }, text: `${countOf(swept, 'event')} swept, ${size} in the chain` };
  }
  const { waiting, refused, size, wentBack } = await planSweep(ctx);
  const text = wentBack
    ? `${countOf(waiting, 'unlinked event')} would be swept into the chain of ${size}; ${refused} stay out, chain verify names them`
    : 'transaction ids have not gone back: nothing has to be swept';
  return { data: { swept: waiting, refused, size: Number(size), wentBack }, text: `${text}\n${NOTHING_CHANGED}` };
}

function statusText(status: ChainStatus): string {
  const at = status.signedAt === null ? '' : ` at ${status.signedAt}`;
  const signed = status.signedSize === null ? 'nothing signed yet' : `signed up to ${status.signedSize}${at}`;
  const lag = status.sealLagSeconds === 0 ? '' : `, waiting for up to ${Math.round(status.sealLagSeconds)} s`;
  return [
    `chain       ${countOf(status.size, 'event')}, incarnation ${status.incarnation}`,
    `unsealed    ${status.unsealed}${lag}${status.roundOpen ? ' (a round is under way)' : ''}`,
    `last seal   ${Math.round(status.idleSeconds)} s ago`,
    `checkpoint  ${signed}${status.unsigned === 0 ? '' : `, ${status.unsigned} not signed yet`}`,
    `key         ${status.verifierKey ?? 'none yet'}`,
    `anchored    ${anchorText(status)}`,
    ...VERIFY_LEVELS.map((level) => `verified    ${level.padEnd(12)} ${lastRunText(status.lastVerified[level])}`),
    ...status.witnesses.map((witness) => `  ${witness.name.padEnd(30)} ${witnessText(witness)}`),
  ].join('\n');
}

function lastRunText(run: LastRun | undefined): string {
  if (run === undefined) return 'never by this home';
  return `${run.at}, up to ${run.to}: ${run.findings === 0 ? 'no findings' : countOf(run.findings, 'FINDING')}`;
}

function witnessText({ outcome, detail, cosignedSize }: WitnessStatus): string {
  const last = cosignedSize === null ? 'nothing cosigned' : `cosigned ${cosignedSize}`;
  return `${outcome ?? 'never asked'}${detail === '' ? '' : `: ${detail}`} (${last})`;
}

function verificationText(result: Verification, signed: boolean): string {
  const { checked, from, to, findings, anchored } = result;
  const anchor = anchored
    ? 'anchored by a checkpoint outside the database'
    : `NOT anchored: ${signed ? 'no checkpoint outside fits, or too few witnesses have cosigned one' : UNSIGNED}`;
  const lines = [
    `${countOf(checked, 'event')}, ${countOf(to - from, 'link')} verified (${result.level}): ${findings.length === 0 ? 'intact' : countOf(findings.length, 'finding')}`,
    anchor,
    ...resumedLines(result),
    ...findings.slice(0, SHOWN_FINDINGS).map(findingLine),
  ];
  if (result.pending > 0) lines.push(`not sealed yet: ${countOf(result.pending, 'event')}`);
  if (findings.length > SHOWN_FINDINGS) lines.push(`... and ${findings.length - SHOWN_FINDINGS} more (--json has all)`);
  return lines.join('\n');
}

function resumedLines({ resumed }: Verification): string[] {
  if (resumed === null) return [];
  const { units, events, startedAt, readAgain, ignored } = resumed;
  if (ignored !== null) return [`not resumed: ${ignored}`];
  const again = readAgain === 0 ? '' : `, ${readAgain} read again (changed, or kept for too long)`;
  return [`resumed: ${countOf(units, 'unit')}, ${countOf(events, 'event')} as read by the run of ${startedAt}${again}`];
}

function findingLine(found: Finding): string {
  const where = [
    found.seq === null ? null : `seq ${found.seq}`,
    found.eventId === null ? null : `event ${found.eventId}`,
    found.partition,
    found.expected === null ? null : `expected ${found.expected}`,
    found.actual === null ? null : `found ${found.actual}`,
    found.checkpointTo === null ? null : `checkpoint ${found.checkpointFrom ?? 0} to ${found.checkpointTo}`,
  ];
  return `  ${found.class.padEnd(22)}${where.filter((part) => part !== null).join(', ')}`;
}
