/** `auditkeep partition plan | apply` */

import { countOf } from '../plural.ts';
import { applyPartitions, planPartitions } from '../retention/partition.ts';
import { type AnyCommand, defineCommand } from './command.ts';
import { dryRunOption, NOTHING_CHANGED } from './dry-run.ts';
import { planUnitJson, planUnitLine } from './plan-output.ts';

export const partitionCommands: readonly AnyCommand[] = [
  defineCommand({
    path: ['partition', 'plan'],
    summary: 'show the partitions that are missing up to each table’s horizon',
    examples: [
      ['auditkeep partition plan', 'what tonight’s run would make'],
      ['auditkeep partition plan --json', '{ planHash, units }'],
    ],
    options: (yargs) => yargs,
    async run(session) {
      const plan = await planPartitions(await session.context());
      const text = plan.units.length === 0 ? 'nothing is missing' : plan.units.map(planUnitLine).join('\n');
      return { data: { planHash: plan.planHash, units: plan.units.map(planUnitJson) }, text };
    },
  }),
  defineCommand({
    path: ['partition', 'apply'],
    summary: 'make the partitions that are missing; writers go on meanwhile',
    examples: [
      ['auditkeep partition apply', 'make them now instead of tonight'],
      ['auditkeep partition apply --dry-run', 'only show the plan'],
    ],
    options: (yargs) => yargs.options({ 'dry-run': dryRunOption }),
    async run(session, args) {
      const ctx = await session.context();
      if (args['dry-run']) {
        const plan = await planPartitions(ctx);
        return {
          data: { planHash: plan.planHash, units: plan.units.map(planUnitJson), created: 0, adopted: 0 },
          text: `${plan.units.map(planUnitLine).join('\n')}\n${NOTHING_CHANGED}`.trimStart(),
        };
      }
      const applied = await applyPartitions(ctx);
      return {
        data: {
          planHash: applied.planHash,
          units: applied.units.map(planUnitJson),
          created: applied.created,
          adopted: applied.adopted,
        },
        text: `${countOf(applied.created, 'partition')} created, ${applied.adopted} adopted`,
      };
    },
  }),
];
