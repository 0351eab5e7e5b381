/** `auditkeep hold place | release | list | show` */
import type { Argv } from 'yargs';
import { AuditkeepError, EXIT } from '../errors.ts';
import type { HoldInput } from '../retention/hold.ts';
import { type Hold, listHolds, placeHold, releaseHold, showHold } from '../retention/hold-place.ts';
import { FAMILIES } from '../retention/policy.ts';
import type { UtcInstant } from '../time/clock.ts';
import { type AnyCommand, defineCommand } from './command.ts';
import { dryRunOption, withDryRun } from './dry-run.ts';
import { parseDay } from './plan-output.ts';

function scopeOptions(yargs: Argv) {
  return yargs.options({
    table: { choices: FAMILIES, describe: 'only this table; all when left out' },
    from: { type: 'string', describe: 'rows from this UTC day or instant on' },
    to: { type: 'string', describe: 'rows before this UTC day or instant' },
    user: { type: 'string', describe: 'id or e-mail address of an account' },
    'resource-type': { type: 'string', describe: 'kind of resource (in data_access_log: the table)' },
    'resource-id': { type: 'string', describe: 'its id' },
    id: { type: 'string', array: true, describe: 'id of a row; give it again for more' },
  });
}

export const holdCommands: readonly AnyCommand[] = [
  defineCommand({
    path: ['hold', 'place'],
    summary: 'place a legal hold: nothing in its scope is destroyed until two legal persons release it',
    examples: [
      [
        'auditkeep hold place --table audit_log --from 2024-01-01 --to 2024-07-01 --matter M-17 --reason "litigation" --custodian "General Counsel" --as l@example.org --key l_ed25519',
        'half a year of events',
      ],
      [
        'auditkeep hold place --user jo@example.org --matter M-18 --reason "inquiry" --custodian HR --as l@example.org --key l_ed25519',
        'everything of one person; what cannot be matched is held too',
      ],
    ],
    options: (yargs) =>
      scopeOptions(yargs).options({
        matter: { type: 'string', demandOption: true, describe: 'the matter it is for' },
        reason: { type: 'string', demandOption: true, describe: 'why' },
        custodian: { type: 'string', demandOption: true, describe: 'who answers for it' },
        'beyond-destroyed': {
          type: 'boolean',
          default: false,
          describe: 'place it although a part of its scope is destroyed already',
        },
        'dry-run': dryRunOption,
      }),
    async run(session, args) {
      const input: HoldInput = {
        ...{ table: args.table, from: dayOf('from', args.from), to: dayOf('to', args.to), user: args.user },
        ...{ resourceType: args['resource-type'], resourceId: args['resource-id'], ids: args.id },
        ...{ matter: args.matter, reason: args.reason, custodian: args.custodian },
        beyondDestroyed: args['beyond-destroyed'],
      };
      const dryRun = args['dry-run'];
      const placed = await placeHold(await session.context({ dryRun }), input);
      const text = [
        `hold ${placed.holdId} ${dryRun ? 'would be' : 'is'} placed`,
        ...placed.units.map((unit) => `  holds ${unit}`),
      ];
      return { data: placed, text: withDryRun(text.join('\n'), dryRun) };
    },
  }),
  defineCommand({
    path: ['hold', 'release'],
    positionals: '<hold>',
    summary: 'request the release of a hold, or approve it as the second legal person',
    examples: [
      ['auditkeep hold release 1b4e28ba --reason "settled" --as l@example.org --key l_ed25519', 'twice, by two'],
    ],
    options: (yargs) =>
      yargs
        .positional('hold', { type: 'string', demandOption: true })
        .options({ reason: { type: 'string', default: '', describe: 'why; of the request' }, 'dry-run': dryRunOption }),
    async run(session, { hold: holdId, reason, 'dry-run': dryRun }) {
      const hold = await releaseHold(await session.context({ dryRun }), { holdId, reason });
      return { data: hold, text: withDryRun(holdLine(hold), dryRun) };
    },
  }),
  defineCommand({
    path: ['hold', 'list'],
    summary: 'legal holds with their state',
    examples: [['auditkeep hold list', 'ends with 3 when a signature does not hold']],
    options: (yargs) => yargs,
    async run(session) {
      const holds = await listHolds(await session.context());
      const unsigned = holds.some((hold) => hold.findings.length > 0);
      return {
        data: { holds },
        text: holds.length === 0 ? 'nothing is on hold' : holds.map(holdLine).join('\n'),
        exitCode: unsigned ? EXIT.findings : EXIT.done,
      };
    },
  }),
  defineCommand({
    path: ['hold', 'show'],
    positionals: '<hold>',
    summary: 'one hold: what was signed, and the units that it reaches now',
    examples: [['auditkeep hold show 1b4e28ba', 'by its id or the beginning of it']],
    options: (yargs) => yargs.positional('hold', { type: 'string', demandOption: true }),
    async run(session, { hold: id }) {
      const hold = await showHold(await session.context(), id);
      return {
        data: hold,
        text: [holdLine(hold), hold.document, ...hold.units.map((unit) => `  holds ${unit}`)].join('\n'),
      };
    },
  }),
];

function holdLine(hold: Hold): string {
  const findings = hold.findings.map((finding) => `\n  finding: ${finding}`).join('');
  return `${hold.hold_id}  ${stateText(hold)}  ${hold.table_name ?? 'all tables'}  ${hold.matter} (${hold.custodian}): ${hold.reason}${findings}`;
}

function stateText({ state, placed_at, released_at }: Hold): string {
  switch (state) {
    case 'draft':
      return 'draft: nobody signed it, it holds nothing';
    case 'held':
      return `held since ${placed_at}`;
    case 'release requested':
      return `held since ${placed_at}, release requested`;
    case 'released':
      return `released since ${released_at}`;
  }
}

function dayOf(name: string, text: string | undefined): UtcInstant | undefined {
  if (text === undefined) return undefined;
  const instant = parseDay(text);
  if (instant !== null) return instant;
  throw new AuditkeepError('INPUT_INVALID', {
    message: `'${text}' is neither a day nor an instant`,
    hint: `give --${name} as 2024-01-01 or 2024-01-01T00:00:00Z`,
  });
}
