/** `auditkeep report bundle | distribute | open | verify`: what leaves the house, and how it is checked there. */
import { EXIT } from '../errors.ts';
import { bundleReport } from '../reports/bundle/bundle.ts';
import { checkBundleFile, distributeReport, type OpenInput, openBundle } from '../reports/bundle/distribute.ts';
import type { BundleCheck } from '../reports/bundle/verify-bundle.ts';
import { type AnyCommand, type CommandResult, defineCommand } from './command.ts';
import { dryRunOption, withDryRun } from './dry-run.ts';

const fileOptions = {
  identity: { type: 'string', describe: 'age identity file, for an encrypted bundle' },
  signers: { type: 'string', describe: 'allowed_signers file that reached you another way' },
  'seal-certificate': {
    type: 'string',
    describe: 'certificate of the seal that reached you another way: SHA-256 or PEM file',
  },
} as const;

const variantOption = {
  choices: ['redacted', 'full'],
  default: 'redacted',
  describe: 'full also says who the pseudonyms are',
} as const;

/** `report bundle | distribute | open | verify`; the last two need no database. */
export const reportBundleCommands: readonly AnyCommand[] = [
  defineCommand({
    path: ['report', 'bundle'],
    positionals: '<id>',
    summary: 'pack an approved report with its signatures and how to check them',
    examples: [
      ['auditkeep report bundle 1b4e28ba --out out', 'writes out/report-ID.zip, with pseudonyms'],
      [
        'auditkeep report bundle 1b4e28ba --variant full --purpose "internal audit" --as you@example.org --key ~/.ssh/id_ed25519',
        'writes report-ID-full.zip, which also names the persons; logged',
      ],
    ],
    options: (yargs) =>
      yargs
        .positional('id', { type: 'string', demandOption: true })
        .option('variant', variantOption)
        .option('purpose', { type: 'string', describe: 'why a full bundle is made, for the log' })
        .option('out', { type: 'string', default: '.', describe: 'folder' })
        .option('dry-run', dryRunOption),
    async run(session, { id, variant, purpose, out, 'dry-run': dryRun }) {
      const input = { reportId: id, variant, purpose: purpose ?? null, outDir: out, dryRun };
      const bundle = await bundleReport(await session.context({ dryRun }), input);
      return { data: bundle, text: withDryRun(`${bundle.path}\nsha256 ${bundle.sha256}`, dryRun) };
    },
  }),
  defineCommand({
    path: ['report', 'distribute'],
    positionals: '<id>',
    summary: 'encrypt the bundle of an approved report for one recipient and log it',
    examples: [
      [
        'auditkeep report distribute 1b4e28ba --to auditor@example.com --age age1... --purpose "annual audit" --as you@example.org --key ~/.ssh/id_ed25519',
        'writes report-ID-NN.zip.age, which `age -d` opens',
      ],
    ],
    options: (yargs) =>
      yargs
        .positional('id', { type: 'string', demandOption: true })
        .option('to', { type: 'string', demandOption: true, describe: 'who receives it, for the log' })
        .option('age', { type: 'string', demandOption: true, describe: 'their age key, age1...' })
        .option('purpose', { type: 'string', demandOption: true, describe: 'why, for the log' })
        .option('variant', variantOption)
        .option('out', { type: 'string', default: '.', describe: 'folder' })
        .option('dry-run', dryRunOption),
    async run(session, { id, to, age, purpose, variant, out, 'dry-run': dryRun }) {
      const input = { reportId: id, recipient: to, ageRecipient: age, purpose, variant, outDir: out, dryRun };
      const done = await distributeReport(await session.context({ dryRun }), input);
      if (dryRun) {
        const text = `report ${id} (${variant}) would be encrypted for ${to} and logged`;
        return { data: { ...done, distributionId: null, path: null, sha256: null }, text: withDryRun(text, true) };
      }
      return { data: done, text: `${done.path}\nsha256 ${done.sha256}` };
    },
  }),
  defineCommand({
    path: ['report', 'open'],
    positionals: '<file>',
    summary: 'decrypt, check and unpack a bundle; needs no database',
    examples: [
      ['auditkeep report open report.zip.age --identity key.txt --out report', 'unpacks only what holds'],
      ['auditkeep report open report.zip --signers signers.txt --out report', 'against your own list of signers'],
    ],
    options: (yargs) =>
      yargs
        .positional('file', { type: 'string', demandOption: true })
        .option('out', { type: 'string', demandOption: true, describe: 'new or empty folder' })
        .options(fileOptions),
    async run(_session, { file, out, ...given }) {
      return checkResult(await openBundle({ ...inputOf(file, given), outDir: out }));
    },
  }),
  defineCommand({
    path: ['report', 'verify'],
    positionals: '<file>',
    summary: 'check a bundle offline and name every part that does not hold; needs no database',
    examples: [
      [
        'auditkeep report verify report.zip --signers signers.txt --seal-certificate 9F:86:D0...',
        'ends with 3 when something is wrong',
      ],
    ],
    options: (yargs) => yargs.positional('file', { type: 'string', demandOption: true }).options(fileOptions),
    async run(_session, { file, ...given }) {
      return checkResult(await checkBundleFile(inputOf(file, given)));
    },
  }),
];

interface GivenFiles {
  readonly identity?: string | undefined;
  readonly signers?: string | undefined;
  readonly 'seal-certificate'?: string | undefined;
}

function inputOf(file: string, given: GivenFiles): OpenInput {
  const { identity = null, signers = null, 'seal-certificate': sealCertificate = null } = given;
  return { file, identityFile: identity, signersFile: signers, sealCertificate };
}

function checkResult(check: BundleCheck): CommandResult {
  const lines = [
    `report ${check.reportId ?? 'unknown'}, sha256 of the model ${check.reportHash ?? 'unknown'}`,
    variantText(check),
    ...check.decisions.map(
      ({ time, meaning, person, keyCompromisedLater }) =>
        `  ${time}  ${meaning.padEnd(8)} ${person}${keyCompromisedLater ? ' (key reported compromised later)' : ''}`,
    ),
    ...check.findings.map(({ part, what }) => `finding: ${part} ${what}`),
    ...check.unchecked.map((sentence) => `not shown: ${sentence}`),
    VERDICTS[check.outcome],
  ];
  return { data: check, text: lines.join('\n'), exitCode: check.valid ? EXIT.done : EXIT.findings };
}

function variantText({ variant, identities }: BundleCheck): string {
  if (variant === 'redacted') return 'redacted variant: ids are pseudonyms, and whose they are is not in it';
  const { count, erased } = identities ?? { count: 0, erased: 0 };
  const gone = erased === 0 ? '' : `; of ${erased} it says that the person was erased`;
  return `full variant: says whose ${count} pseudonyms are${gone}`;
}

const VERDICTS: Readonly<Record<BundleCheck['outcome'], string>> = {
  valid:
    'valid: every part and signature holds, by keys and the certificate that you gave, and the deciders had their roles',
  incomplete:
    'INCOMPLETE: it agrees with itself; give --signers and --seal-certificate, and run the release that made it, to know the rest',
  invalid: 'INVALID',
};
