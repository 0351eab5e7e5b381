/** `auditkeep anonymize plan | run | risk` */
import { EXIT } from '../errors.ts';
import { countOf } from '../plural.ts';
import {
  type AnonymizePlan,
  type AnonymizeResult,
  anonymizeTransactions,
  planAnonymization,
} from '../privacy/anonymize.ts';
import { measureRisk, percent, type RiskReport } from '../privacy/risk.ts';
import { type AnyCommand, type CommandResult, defineCommand } from './command.ts';
import { dryRunOption, NOTHING_CHANGED } from './dry-run.ts';

const beforeOption = {
  type: 'string',
  describe: 'process transactions of earlier UTC days than this; default: two years ago',
} as const;

export const anonymizeCommands: readonly AnyCommand[] = [
  defineCommand({
    path: ['anonymize', 'plan'],
    summary: 'show which transactions are due for anonymization and what stands in the way',
    examples: [
      ['auditkeep anonymize plan', 'what tonight’s run would do'],
      ['auditkeep anonymize plan --before 2024-01-01 --json', 'for another date, as JSON'],
    ],
    options: (yargs) => yargs.options({ before: beforeOption }),
    async run(session, args) {
      const plan = await planAnonymization(await session.context(), { before: args.before ?? null });
      return planResult(plan, plan, planText(plan));
    },
  }),
  defineCommand({
    path: ['anonymize', 'run'],
    summary: 'anonymize the transactions that are due; without --apply only show the plan',
    examples: [
      ['auditkeep anonymize run', 'show the plan'],
      ['auditkeep anonymize run --apply', 'carry it out: it cannot be undone'],
    ],
    options: (yargs) =>
      yargs.options({
        before: beforeOption,
        apply: { type: 'boolean', default: false, describe: 'change the data; it cannot be undone' },
        'dry-run': dryRunOption,
      }),
    async run(session, args) {
      const ctx = await session.context();
      const input = { before: args.before ?? null };
      if (!args.apply || args['dry-run']) {
        const plan = await planAnonymization(ctx, input);
        const end = args['dry-run'] ? NOTHING_CHANGED : 'Nothing was changed; --apply carries it out.';
        return planResult(plan, { ...plan, applied: false }, `${planText(plan)}\n${end}`);
      }
      const result = await anonymizeTransactions(ctx, input);
      const clean = Object.keys(result.unreadable).length === 0 && result.risk.thresholdsMet;
      return {
        data: { ...result, applied: true },
        text: resultText(result),
        exitCode: clean ? EXIT.done : EXIT.findings,
      };
    },
  }),
  defineCommand({
    path: ['anonymize', 'risk'],
    summary: 'measure how many anonymized transactions an attacker with the public chain can link',
    examples: [
      ['auditkeep anonymize risk', 'the figures and whether they meet the thresholds'],
      ['auditkeep anonymize risk --json', '{ rows, k, uniquelyLinked, thresholdsMet, ... }'],
    ],
    options: (yargs) => yargs,
    async run(session) {
      const risk = await measureRisk(await session.context());
      return { data: risk, text: riskText(risk), exitCode: risk.thresholdsMet ? EXIT.done : EXIT.findings };
    },
  }),
];

/** Exit code 4 for blockers, by whichever command they are shown. */
function planResult({ blockers }: AnonymizePlan, data: object, text: string): CommandResult {
  return { data, text, exitCode: blockers.length > 0 ? EXIT.refused : EXIT.done };
}

function planText(plan: AnonymizePlan): string {
  const day = plan.before.slice(0, 10);
  return [
    `Due: ${countOf(plan.due, 'transaction')} before ${day}; younger: ${plan.young}.`,
    `Anonymous: ${plan.anonymized}; pseudonymized only: ${plan.pseudonymized}.`,
    'Each due row loses its hash, addresses, amount, gas, block, contract and user; keyed pseudonyms, the amount’s',
    'order of magnitude and the day stay, and less than that where rows would be too rare.',
    ...plan.blockers.map((blocker) => `blocked: ${blocker}`),
  ].join('\n');
}

function resultText(result: AnonymizeResult): string {
  const unreadable = Object.entries(result.unreadable).map(
    ([code, count]) => `${countOf(count, 'row')} left as before: ${code}`,
  );
  return [
    `${countOf(result.pseudonymized, 'transaction')} processed, ${result.anonymized} now called anonymous.`,
    ...unreadable,
    riskText(result.risk),
  ].join('\n');
}

function riskText(risk: RiskReport): string {
  if (risk.rows === 0) return 'No transaction has been processed yet.';
  return [
    `Linked with certainty by an attacker with the public chain: ${risk.uniquelyLinked} of ${risk.rows} (${percent(risk.uniquelyLinkedShare)}).`,
    `Smallest class k = ${risk.k}; ${countOf(risk.belowK, 'row is', 'rows are')} in classes below ${risk.thresholds.k} and only pseudonymized.`,
    risk.thresholdsMet ? 'The thresholds are met.' : `The thresholds are not met: ${risk.reasons.join('; ')}.`,
  ].join('\n');
}
