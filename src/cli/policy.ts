/** `auditkeep policy show | diff | apply | approve` */
import { EXIT } from '../errors.ts';
import { branchLabel, type PolicyRule } from '../retention/policy.ts';
import { applyPolicy, approvePolicy, type PolicyPlan, planPolicy, readVersions } from '../retention/policy-apply.ts';
import { checkPolicy, type PolicyProblem } from '../retention/policy-check.ts';
import { ageText, ruleDocument } from '../retention/policy-document.ts';
import { type PolicyVersion, readPolicyInForce } from '../retention/policy-store.ts';
import { type AnyCommand, type CommandResult, defineCommand } from './command.ts';
import { dryRunOption, NOTHING_CHANGED, withDryRun } from './dry-run.ts';

export const policyCommands: readonly AnyCommand[] = [
  defineCommand({
    path: ['policy', 'show'],
    summary: 'the retention policy in force, or every version with who applied it and why',
    examples: [
      ['auditkeep policy show', 'what jobs go by'],
      ['auditkeep policy show --all', 'every version'],
    ],
    options: (yargs) =>
      yargs.options({ all: { type: 'boolean', default: false, describe: 'every version, without its rules' } }),
    async run(session, { all }) {
      const ctx = await session.context();
      if (all) {
        const versions = await readVersions(ctx);
        return { data: { versions: versions.map(versionJson) }, text: versions.map(versionLine).join('\n') };
      }
      const inForce = await ctx.db.withClient(readPolicyInForce);
      const { rules, limits } = inForce.policy;
      const problems = checkPolicy(inForce.policy);
      return {
        data: { ...versionJson(inForce), limits, rules: rules.map(ruleDocument), problems },
        text: [versionLine(inForce), ...rules.map(ruleLine), ...problems.map(problemLine)].join('\n'),
      };
    },
  }),
  defineCommand({
    path: ['policy', 'diff'],
    summary: 'what the retention section of auditkeep.yaml would change, and what contradicts itself in it',
    examples: [['auditkeep policy diff', 'ends with 4 when it could not be applied']],
    options: (yargs) => yargs,
    async run(session) {
      return planResult(await planPolicy(await session.context()));
    },
  }),
  defineCommand({
    path: ['policy', 'apply'],
    summary: 'make it the policy; what shortens a period is signed, and waits for a second person and 72 hours',
    examples: [
      ['auditkeep policy apply --reason "records schedule 2026"', 'in force at once, unless it shortens'],
      ['auditkeep policy apply --as p@example.org --key p_ed25519 --reason "GDPR 5(1)(e)"', 'request a shorter period'],
      ['auditkeep policy apply --dry-run', 'only show what would change'],
    ],
    options: (yargs) =>
      yargs.options({
        reason: { type: 'string', default: 'on demand', describe: 'kept with the version' },
        'dry-run': dryRunOption,
      }),
    async run(session, args) {
      const ctx = await session.context();
      if (args['dry-run']) {
        const shown = planResult(await planPolicy(ctx));
        return { ...shown, text: `${shown.text}\n${NOTHING_CHANGED}` };
      }
      const { plan, version, outcome } = await applyPolicy(ctx, { reason: args.reason });
      const waits = outcome === 'requested' ? `; another policy owner: auditkeep policy approve ${version}` : '';
      return {
        data: { version, outcome, sha256: plan.sha256, changes: plan.changes, shortens: plan.shortens },
        text: `version ${version}: ${outcome}${waits}`,
      };
    },
  }),
  defineCommand({
    path: ['policy', 'approve'],
    positionals: '<number>',
    summary: 'sign a version that shortens, as the second policy owner; it is in force 72 hours later',
    examples: [['auditkeep policy approve 3 --as q@example.org --key q_ed25519', 'after auditkeep policy show --all']],
    options: (yargs) =>
      yargs
        .positional('number', { type: 'number', demandOption: true, describe: 'of the version' })
        .option('dry-run', dryRunOption),
    async run(session, { number: version, 'dry-run': dryRun }) {
      const approved = await approvePolicy(await session.context({ dryRun }), version);
      const text = `version ${version}: ${dryRun ? 'would be ' : ''}in force from ${approved.effectiveAt} on`;
      return { data: versionJson(approved), text: withDryRun(text, dryRun) };
    },
  }),
];

function planResult(plan: PolicyPlan): CommandResult {
  const { inForce, sha256, changes, shortens, problems } = plan;
  const text = [
    `version ${inForce.version} is in force${sha256 === inForce.sha256 ? ', and the same' : ''}`,
    ...changes.map(({ branch, field, from, to }) => `${branch}: ${field} ${from} -> ${to}`),
    ...shortens.map((what) => `needs a second policy owner and 72 hours: ${what}`),
    ...problems.map(problemLine),
  ];
  const blocked = problems.some((problem) => problem.kind !== 'overridden');
  return {
    data: { inForce: inForce.version, sha256, changes, shortens, problems },
    text: text.join('\n'),
    exitCode: blocked ? EXIT.refused : EXIT.done,
  };
}

function problemLine({ kind, branch, what }: PolicyProblem): string {
  return `${kind}: ${branch}: ${what}`;
}

function versionJson({ policy: _, ...version }: PolicyVersion) {
  return version;
}

function versionLine({ version, effectiveAt, actor, reason, sha256 }: PolicyVersion): string {
  const from = effectiveAt === null ? 'waits for a second person' : `in force from ${effectiveAt}`;
  return `version ${version}  ${from}  by ${actor}: ${reason}  ${sha256.slice(0, 12)}`;
}

function ruleLine(rule: PolicyRule): string {
  const cold = rule.cold === null ? '' : `, cold ${ageText(rule.cold)}`;
  const rows = rule.rowDays === null ? '' : `, longer by ${rule.rowDays}`;
  return `${branchLabel(rule).padEnd(28)} hot ${ageText(rule.hot)}, archive ${ageText(rule.archive)}${cold}, then ${rule.disposition}${rows}  (${rule.citation})`;
}
