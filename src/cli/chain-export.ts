/** `auditkeep chain prove | export`: what an auditor checks without us. */
import { type ExportResult, exportChain, planExport } from '../audit/export/export.ts';
import { proveEvent } from '../audit/export/proof.ts';
import { AuditkeepError, EXIT } from '../errors.ts';
import { countOf } from '../plural.ts';
import { type AnyCommand, defineCommand } from './command.ts';
import { dryRunOption, NOTHING_CHANGED } from './dry-run.ts';

export const chainExportCommands: readonly AnyCommand[] = [
  defineCommand({
    path: ['chain', 'prove'],
    positionals: '<event>',
    summary:
      'prove that one event is in the signed log; the proof holds its entry, and no personal data without --open',
    examples: [
      ['auditkeep chain prove 1b4e28ba-2fa1-41d2-883f-0016d3cca427 > event.tlog-proof', 'verify.mjs checks it'],
      [
        'auditkeep chain prove 1b4e28ba-2fa1-41d2-883f-0016d3cca427@2026-01-31T08:00:00Z',
        'one of several with this id',
      ],
    ],
    options: (yargs) =>
      yargs
        .positional('event', { type: 'string', demandOption: true, describe: 'ID, or ID@TIMESTAMP' })
        .option('open', { type: 'boolean', default: false, describe: 'with personal data in clear, and its salts' }),
    async run(session, { event, open }) {
      const proof = await proveEvent(await session.context(), { event, open });
      return { data: proof, text: proof.proof.trimEnd() };
    },
  }),
  defineCommand({
    path: ['chain', 'export'],
    summary: 'write a bundle that verifier/verify.mjs checks without us; no personal data without --open',
    examples: [
      ['auditkeep chain export --out audit-bundle', 'everything that is signed'],
      ['auditkeep chain export --out audit-bundle --from 0 --to 512 --open --zip', 'the first 512 events, opened'],
    ],
    options: (yargs) =>
      yargs.options({
        out: { type: 'string', demandOption: true, describe: 'new or empty folder' },
        from: { type: 'string', describe: 'first seq; widened to whole tiles of 256 events' },
        to: { type: 'string', describe: 'the seq after the last' },
        open: { type: 'boolean', default: false, describe: 'with personal data in clear, and its salts' },
        zip: { type: 'boolean', default: false, describe: 'also OUT.zip' },
        'dry-run': dryRunOption,
      }),
    async run(session, { out, from, to, open, zip, 'dry-run': dryRun }) {
      const range = { ...seqOption('from', from), ...seqOption('to', to) };
      if (dryRun) {
        const plan = await planExport(await session.context({ dryRun }), { out, open, zip, ...range });
        const text = `seq ${plan.from} up to ${plan.to} of ${plan.origin} would be written to ${plan.folder}`;
        return { data: plan, text: `${text}\n${NOTHING_CHANGED}` };
      }
      const result = await exportChain(await session.context(), { out, open, zip, ...range });
      const sound = result.absent === 0 && result.altered === 0;
      return { data: result, text: exportText(result), exitCode: sound ? EXIT.done : EXIT.findings };
    },
  }),
];

function seqOption(name: 'from' | 'to', text: string | undefined): { from?: bigint; to?: bigint } {
  if (text === undefined) return {};
  if (/^(0|[1-9][0-9]{0,17})$/.test(text)) return { [name]: BigInt(text) };
  throw new AuditkeepError('INPUT_INVALID', {
    message: `--${name} is not a place in the chain`,
    hint: 'write a whole number from 0 on; auditkeep chain status shows the size',
  });
}

function exportText(result: ExportResult): string {
  const { folder, zip, origin, size, from, to, entries, absent, altered } = result;
  const lines = [
    `${zip ?? folder}`,
    `${countOf(entries, 'entry', 'entries')}, seq ${from} up to ${to}, of ${origin} as signed at ${size}`,
    'check it with: node verify.mjs BUNDLE --key KEY (auditkeep chain status shows the key)',
  ];
  if (absent + altered > 0) {
    lines.push(
      `${countOf(altered, 'event is', 'events are')} not what was sealed, ${absent} not there: run auditkeep chain verify`,
    );
  }
  return lines.join('\n');
}
