/** `auditkeep report submit | review | reject | recall | approve | archive`: decisions signed with --as and --key. */

import type { Context } from '../context.ts';
import { AuditkeepError } from '../errors.ts';
import type { ControlComment } from '../reports/model/control-comment.ts';
import {
  approveReport,
  archiveReport,
  type DecisionInput,
  type DecisionMade,
  recallReport,
  rejectReport,
  reviewReport,
  submitReport,
} from '../reports/workflow/workflow.ts';
import { type AnyCommand, type CommandResult, defineCommand } from './command.ts';
import { dryRunOption, NOTHING_CHANGED } from './dry-run.ts';

const controlOption = {
  type: 'string',
  array: true,
  describe: 'ID=comment on one control of the report, signed and printed as well; may be given several times',
} as const;
const commentOption = { type: 'string', describe: 'a comment, signed with the decision and printed' } as const;

interface StepTexts {
  readonly verb: string;
  readonly summary: string;
  readonly needsComment?: boolean;
  readonly act: (ctx: Context, input: DecisionInput) => Promise<DecisionMade>;
}

const STEPS: readonly StepTexts[] = [
  { verb: 'submit', summary: 'hand a draft in for review, as its preparer', act: submitReport },
  { verb: 'review', summary: 'confirm the content of a submitted report, as a reviewer', act: reviewReport },
  {
    verb: 'reject',
    summary: 'send a report back to draft with the reason, as its reviewer or approver',
    needsComment: true,
    act: rejectReport,
  },
  { verb: 'recall', summary: 'take your own review back before approval', act: recallReport },
  { verb: 'approve', summary: 'approve a reviewed report, as an approver', act: approveReport },
];

/** The commands that move a report from status to status. */
export const reportWorkflowCommands: readonly AnyCommand[] = [
  ...STEPS.map(stepCommand),
  defineCommand({
    path: ['report', 'archive'],
    positionals: '<id>',
    summary: 'close a report with the reason, as a records manager',
    examples: [
      [
        'auditkeep report archive 1b4e28ba --reason distributed --as rm@example.org --key ~/.ssh/id_ed25519',
        'close it',
      ],
    ],
    options: (yargs) =>
      yargs
        .positional('id', { type: 'string', demandOption: true })
        .option('reason', { choices: ['distributed', 'superseded', 'withdrawn'] as const, demandOption: true })
        .option('comment', commentOption)
        .option('dry-run', dryRunOption),
    async run(session, { id, reason, comment, 'dry-run': dryRun }) {
      const ctx = await session.context({ dryRun });
      return resultOf(await archiveReport(ctx, { reportId: id, reason, comment }), dryRun);
    },
  }),
];

function stepCommand({ verb, summary, needsComment, act }: StepTexts): AnyCommand {
  const example = `auditkeep report ${verb} 1b4e28ba --as you@example.org --key ~/.ssh/id_ed25519`;
  return defineCommand({
    path: ['report', verb],
    positionals: '<id>',
    summary,
    examples: [
      [needsComment ? `${example} --comment "AC-02 lists a service account"` : example, 'signed with your SSH key'],
      ...(needsComment
        ? [[`${example} --control ac-02="who is svc-7?" --control pr-01="run it again"`, 'control by control'] as const]
        : []),
    ],
    options: (yargs) =>
      yargs
        .positional('id', { type: 'string', demandOption: true })
        .option('comment', commentOption)
        .option('control', controlOption)
        .option('dry-run', dryRunOption),
    async run(session, { id, comment, control, 'dry-run': dryRun }) {
      const controlComments = (control ?? []).map(controlCommentOf);
      const ctx = await session.context({ dryRun });
      return resultOf(await act(ctx, { reportId: id, comment, controlComments }), dryRun);
    },
  });
}

/** `ac-02=who is svc-7?` */
function controlCommentOf(text: string): ControlComment {
  const at = text.indexOf('=');
  if (at > 0) return { control: text.slice(0, at).toLowerCase(), comment: text.slice(at + 1) };
  throw new AuditkeepError('USAGE', {
    message: `${text} is no comment on a control`,
    hint: 'write --control ac-02="why"',
  });
}

/** A dry run signs too, to know that the key can; the decision that was tried is gone, so its id and hash are not told. */
function resultOf(made: DecisionMade, dryRun: boolean): CommandResult {
  if (dryRun) {
    const text = `report ${made.reportId} would be ${made.status}\n${NOTHING_CHANGED}`;
    return { data: { ...made, decisionId: null, payloadSha256: null }, text };
  }
  const waits = made.meaning === 'approve' && made.status === 'reviewed' ? ', waiting for another approver' : '';
  return {
    data: made,
    text: `report ${made.reportId} is ${made.status}${waits} (decision ${made.decisionId}, sha256 ${made.payloadSha256})`,
  };
}
