/** `auditkeep chain incarnation`: going on after the database was restored to an earlier state. */
import { beginIncarnation, planIncarnation } from '../persons/begin-incarnation.ts';
import { countOf } from '../plural.ts';
import { type AnyCommand, defineCommand } from './command.ts';
import { dryRunOption } from './dry-run.ts';

export const chainIncarnationCommands: readonly AnyCommand[] = [
  defineCommand({
    path: ['chain', 'incarnation'],
    summary: 'go on after the database was restored to an earlier state; two key officers sign',
    examples: [
      ['auditkeep chain incarnation', 'what was lost'],
      ['auditkeep chain incarnation --signer a_ed25519 --signer b_ed25519 --apply', 'go on under a new origin'],
    ],
    options: (yargs) =>
      yargs.options({
        signer: { type: 'string', array: true, default: [], describe: 'SSH key file of a key officer; give two' },
        apply: { type: 'boolean', default: false, describe: 'do it; without it only the plan is shown' },
        'dry-run': dryRunOption,
      }),
    async run(session, { signer, apply, 'dry-run': dryRun }) {
      const ctx = await session.context();
      if (apply && !dryRun) {
        const begun = await beginIncarnation(ctx, { keyFiles: signer });
        return { data: begun, text: `the chain goes on as ${begun.origin} from ${countOf(begun.size, 'link')}` };
      }
      const plan = await planIncarnation(ctx, dryRun ? { keyFiles: signer } : {});
      const resealed = plan.resealed === 0 ? '' : `, ${plan.resealed} sealed since take their places`;
      const text = `${countOf(plan.kept, 'link is', 'links are')} kept, ${plan.abandoned - plan.kept} signed ones lost${resealed}; it would go on as ${plan.origin}. Nothing changed: give --apply and two --signer`;
      return { data: plan, text };
    },
  }),
];
