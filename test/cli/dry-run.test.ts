/**
 * `--dry-run` where something changes: the same checks, nothing changed. Every command is either in the journey below,
 * which runs it dry, compares every row and file, and then runs it in earnest; or says why nothing changes. And what
 * scripts rely on: with `--json --quiet` every command prints one JSON document and nothing else, also when it fails.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { COMMANDS, main } from '../../src/cli/main.ts';
import { installQueues } from '../../src/jobs/install.ts';
import { JOBS } from '../../src/jobs/registry.ts';
import { writeSshKeyPair } from '../../src/keys/ssh-key.ts';
import { proveKey } from '../../src/persons/change.ts';
import { readInstallationId } from '../../src/persons/store.ts';
import { insertTransactions, makeChain } from '../privacy/ethereum.ts';
import { testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { ELSEWHERE, NOTHING_CHANGES } from './dry-run-reasons.ts';
import { readState } from './state.ts';

const db = useDatabase();
let folder = '';
let reportId = '';
let waiverId = '';
let deadJob = '';
let queuedJob = '';
let age = '';

async function auditkeep(...argv: readonly string[]) {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const exit = await main([...argv, '--config', join(folder, 'auditkeep.yaml')], { stdout, stderr });
  stdout.end();
  stderr.end();
  return { exit, stdout: await text(stdout), stderr: await text(stderr) };
}

const idIn = (json: string) => z.object({ id: z.string() }).parse(JSON.parse(json)).id;
const state = () => readState(db.admin, folder);
const at = (name: string) => join(folder, name);
const emailOf = (name: string) => `${name}@example.org`;
const signedBy = (name: string) => ['--as', emailOf(name), '--key', at(name)];
const officers = () => ['--officer', at('one'), at('two'), at('three')];
const roster = (people: Readonly<Record<string, readonly string[]>>) =>
  JSON.stringify({
    persons: Object.entries(people).map(([name, roles]) => {
      return { email: emailOf(name), name: `Test ${name}`, roles, keys: [{ keyFile: at(name) }] };
    }),
  });

const inAMonth = new Date(Date.now() + 30 * 86_400_000).toISOString();
const ATTESTED = [
  ...['--framework', 'sox', '--requirement', 'itgc-change-3', '--from', '2025-01-01', '--to', '2025-12-31'],
  ...['--outcome', 'met', '--statement', 'reviewed'],
];

const EVENT = {
  event_type: 'x.y',
  event_category: 'system',
  event_action: 'X',
  event_timestamp: '2025-05-01T00:00:00Z',
};
const TRAIL = {
  ...{
    eventVersion: '1.08',
    eventTime: '2025-05-01T10:00:00Z',
    eventSource: 's3.amazonaws.com',
    eventName: 'GetObject',
  },
  ...{ eventID: '5b1c3f70-35d8-4f3a-8a52-6d3c7f3f2b11', eventType: 'AwsApiCall', awsRegion: 'us-east-1' },
};

beforeAll(async () => {
  await db.as('auditkeep_owner').withClient((client) => installQueues(client, JOBS));
  const ctx = await testContext(db);
  folder = ctx.config.home;
  await writeFile(at('auditkeep.yaml'), JSON.stringify({ home: '.', logLevel: 'silent', databaseUrl: db.url() }));
  await db.admin.withClient((client) => insertTransactions(ctx, client, makeChain(10)));
  for (const name of ['one', 'two', 'three', 'preparer', 'reviewer', 'approver', 'records', 'new', 'second']) {
    await writeSshKeyPair(at(name), name);
  }
  const officer = ['key_officer'];
  const reviewer = ['reviewer', 'policy_owner'];
  const people = { one: officer, two: officer, three: officer, preparer: ['preparer'], reviewer };
  await writeFile(
    at('roster.yaml'),
    roster({ ...people, approver: ['approver'], records: ['records_manager', 'legal', 'policy_owner'] }),
  );
  await writeFile(at('new.yaml'), roster({ new: ['legal'] }));
  const installationId = await db.engine.withClient(readInstallationId);
  await writeFile(at('second.json'), JSON.stringify(await proveKey(installationId, emailOf('new'), at('second'))));
  await writeFile(at('events.ndjson'), `${JSON.stringify({ ...EVENT, external_id: 'e1', source: 'test' })}\n`);
  await writeFile(at('trail.json'), JSON.stringify({ Records: [TRAIL] }));
  await writeFile(at('transactions.csv'), TRANSACTIONS);
  await writeFile(at('backups.csv'), 'system,started_at,outcome\ns,2026-01-01T00:00:00Z,success\n');
  age = await identityToRecipient(await generateX25519Identity());
});

const TRANSACTIONS = [
  'hash,from_address,to_address,value,gas,gas_price,block_number,block_timestamp,nonce,transaction_index,receipt_status,input',
  `0x${'a1'.repeat(32)},0x${'b2'.repeat(20)},0x${'c3'.repeat(20)},1000,21000,5,77,2025-05-01T00:00:00Z,0,0,1,0x`,
  '',
].join('\n');

interface Step {
  readonly command: string;
  readonly argv: () => readonly string[];
  /** Why the command is not run in earnest after its dry run. */
  readonly notInEarnest?: string;
}

const step = (command: string, ...more: readonly (string | (() => string | readonly string[]))[]): Step => ({
  command,
  argv: () => [...command.split(' '), ...more.flatMap((part) => (typeof part === 'function' ? part() : part))],
});
const withoutEarnest = (made: Step, notInEarnest: string): Step => ({ ...made, notInEarnest });
const decision = (verb: string, who: string, ...more: readonly string[]) =>
  step(
    `report ${verb}`,
    () => reportId,
    ...more,
    () => signedBy(who),
  );
const reason = ['--reason', 'a test'] as const;
const RANGE = ['--table', 'audit_log', '--from', '2025-11-01', '--to', '2025-12-01'];

const JOURNEY: readonly Step[] = [
  withoutEarnest(step('migrate'), 'nothing is pending'),
  withoutEarnest(
    step('demo', '--apply', '--out', () => at('demo')),
    'it takes a minute; and here it refuses',
  ),
  step('person init', () => at('roster.yaml'), officers),
  step('person add', () => at('new.yaml'), officers),
  step('person role', '--email', emailOf('new'), '--give', 'reviewer', officers),
  step('person key', '--email', emailOf('new'), '--add', () => at('second.json'), officers),
  step('import ndjson', () => at('events.ndjson')),
  step('import register', 'backup_run', () => at('backups.csv')),
  step('import cloudtrail', () => at('trail.json')),
  step('import ethereum', () => at('transactions.csv')),
  step('chain seal'),
  step('chain checkpoint'),
  step('chain export', '--out', () => at('bundle')),
  step('report generate', '--framework', 'sox', '--period', '2025', '--as', emailOf('preparer'), '--out', () =>
    at('out'),
  ),
  decision('submit', 'preparer'),
  decision('reject', 'reviewer', '--comment', 'no'),
  decision('submit', 'preparer'),
  decision('review', 'reviewer'),
  decision('recall', 'reviewer'),
  decision('review', 'reviewer'),
  decision('approve', 'approver'),
  step(
    'report bundle',
    () => reportId,
    '--out',
    () => at('out'),
  ),
  step(
    'report distribute',
    () => reportId,
    '--to',
    'x',
    '--purpose',
    'y',
    '--age',
    () => age,
    '--out',
    () => at('sent'),
    () => signedBy('approver'),
  ),
  decision('archive', 'records', '--reason', 'distributed'),
  step('waiver add', '--control', 'ac-12', '--until', inAMonth, ...reason, () => signedBy('records')),
  step(
    'waiver approve',
    () => waiverId,
    () => signedBy('reviewer'),
  ),
  step('attest add', ...ATTESTED, () => signedBy('preparer')),
  step(
    'subject export',
    'nobody@example.org',
    '--out',
    () => at('person'),
    () => signedBy('records'),
  ),
  step('anonymize run', '--apply'),
  withoutEarnest(step('policy apply'), 'it is the policy in force'),
  withoutEarnest(step('partition apply'), 'the database has every partition up to its horizon'),
  step('chain seal'),
  step('archive run', '--table', 'audit_log', '--before', '2026-01-01'),
  step('archive restore', '--table', 'audit_log', '--from', '2020-01-01', '--to', '2026-01-01', ...reason),
  step('hold place', '--matter', 'M-1', ...reason, '--custodian', 'c', () => signedBy('records')),
  step('schedule set', 'archive', ...reason, '--cron', '1 2 * * *'),
  step('schedule pause', 'archive', ...reason),
  step('schedule resume', 'archive', ...reason),
  step('schedule run', 'generate-report'),
  step('worker', '--once', '--queues', 'generate-report'),
  step('job retry', () => deadJob),
  step('witness init', '--name', 'w.example/1', '--key', () => at('witness.key')),
];

/** Exit codes of the steps in earnest where they are not 0. */
const EXITS: Readonly<Record<string, number>> = {
  // Its input is missing, so the job is dead: what `job retry` needs.
  worker: 1,
};

describe('--dry-run', () => {
  test.each(JOURNEY)(
    'of $command changes nothing, and the command itself does',
    async ({ command, argv, notInEarnest }) => {
      const before = await state();
      const dry = await auditkeep(...argv(), '--dry-run');
      if (command === 'demo') {
        expect(dry.stderr).toContain('DEMO_REFUSED');
      } else {
        expect({ exit: dry.exit, stderr: dry.stderr }).toEqual({ exit: 0, stderr: '' });
        expect(dry.stdout).toMatch(/Nothing was changed\.\n$/);
      }
      expect(await state()).toEqual(before);
      if (notInEarnest !== undefined) return;
      const done = await auditkeep(...argv(), '--json', '--quiet');
      expect({ exit: done.exit, stderr: done.stderr }, done.stdout).toEqual({ exit: EXITS[command] ?? 0, stderr: '' });
      expect(JSON.parse(done.stdout)).toBeTypeOf('object');
      expect(await state()).not.toEqual(before);
      if (command === 'report generate') reportId = idIn(done.stdout);
      if (command === 'waiver add') waiverId = idIn(done.stdout);
      if (command === 'schedule run') queuedJob = idIn(done.stdout);
      if (command === 'worker') {
        const dead = z.object({ jobs: z.array(z.object({ id: z.string() })) });
        deadJob = dead.parse(JSON.parse((await auditkeep('job', 'dead', '--json')).stdout)).jobs[0]?.id ?? '';
      }
    },
  );

  test.each(['db up', 'db down'])('of %s makes no folder', async (command) => {
    const home = at('embedded');
    const config = at('embedded.yaml');
    await mkdir(home, { recursive: true });
    await writeFile(config, JSON.stringify({ home }));
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    const before = await state();
    expect(await main([...command.split(' '), '--dry-run', '--config', config], { stdout, stderr })).toBe(0);
    stdout.end();
    expect(await text(stdout)).toMatch(/Nothing was changed\.\n$/);
    expect(await state()).toEqual(before);
  });

  test.each([
    [2, ['schedule', 'set', 'archive', ...reason, '--cron', 'never']],
    [2, ['schedule', 'pause', 'no-such-job', ...reason]],
    [2, ['schedule', 'run', 'no-such-job']],
    [2, ['job', 'retry', '1b4e28ba-2fa1-41d2-883f-0016d3cca427']],
    [2, ['anonymize', 'run', '--before', '2100-01-01']],
    [2, ['import', 'ndjson', '/nonexistent/x']],
    [2, ['report', 'generate', '--framework', 'sox', '--period', '2100', '--as', 'preparer@example.org']],
    [2, ['report', 'bundle', 'ffffffff']],
    [2, ['chain', 'export', '--out', 'INSIDE_A_FILE']],
    [2, ['witness', 'init', '--name', 'with space', '--key', '/tmp/x']],
    [4, ['person', 'init', 'ROSTER', '--officer', 'ONE', 'TWO']],
    [4, ['person', 'role', '--email', 'new@example.org', '--give', 'approver', '--officer', 'ONE']],
    [4, ['person', 'acknowledge', '--act', '999', '--reason', 'x', '--officer', 'ONE', 'TWO']],
    [4, ['report', 'approve', 'REPORT', '--as', 'reviewer@example.org', '--key', 'REVIEWER']],
    [4, ['report', 'submit', 'REPORT', '--as', 'preparer@example.org', '--key', 'ONE']],
    [2, ['report', 'submit', 'REPORT', '--as', 'preparer@example.org', '--key', '/nonexistent/key']],
    [2, ['hold', 'release', 'ffff', ...reason, '--as', 'records@example.org', '--key', 'ONE']],
    [4, ['purge', 'request', '--as', 'records@example.org', '--key', 'ONE']],
    [2, ['archive', 'restore', '--approve', 'ffff', '--as', 'records@example.org', '--key', 'ONE']],
    [4, ['archive', 'restore', '--attach', ...RANGE, ...reason, '--as', 'records@example.org', '--key', 'ONE']],
    [2, ['archive', 'restore', ...RANGE]],
    [2, ['purge', 'approve', 'ffff', '--as', 'records@example.org', '--key', 'ONE']],
    [2, ['purge', 'run', 'ffff', '--apply']],
    [2, ['policy', 'approve', '99', '--as', 'one@example.org', '--key', 'ONE']],
    [2, ['worker', '--queues', 'no-such-queue']],
    [2, ['migrate', '--to', 'no-such-migration']],
  ])('ends with %s, as the command itself, for %j', async (exit, argv) => {
    const files: Record<string, string> = { ROSTER: at('roster.yaml'), ONE: at('one'), TWO: at('two') };
    files['INSIDE_A_FILE'] = join(at('roster.yaml'), 'bundle');
    const given = argv.map((part) => ({ ...files, REVIEWER: at('reviewer'), REPORT: reportId })[part] ?? part);
    const before = await state();
    const dry = await auditkeep(...given, '--dry-run');
    expect({ exit: dry.exit, stdout: dry.stdout }, dry.stderr).toEqual({ exit, stdout: '' });
    expect(dry.stderr).toMatch(/^error [A-Z_]+: [^\n]+\n$/);
    const code = dry.stderr.split(':')[0] ?? '';
    expect((await auditkeep(...given)).stderr).toContain(code);
    expect(await state()).toEqual(before);
  });
});

/** How the other commands end here, where there is nothing to change or to find. */
const READING: readonly (readonly [exit: number, step: Step])[] = [
  [2, step('db status')],
  [2, step('db url')],
  [0, step('migrate status')],
  [0, step('key list')],
  [0, step('anonymize plan')],
  [0, step('anonymize risk')],
  [0, step('schedule list')],
  [0, step('job list', '--all')],
  [0, step('job show', () => queuedJob)],
  [0, step('job dead')],
  [0, step('status')],
  [0, step('partition plan')],
  [0, step('archive plan')],
  [0, step('archive list')],
  [0, step('policy show')],
  [0, step('policy diff')],
  [0, step('hold list')],
  [2, step('hold show', 'ffff')],
  [0, step('purge plan')],
  [0, step('purge list')],
  [2, step('purge certificate', 'ffff')],
  [0, step('chain status')],
  [2, step('chain prove', '1b4e28ba-2fa1-41d2-883f-0016d3cca427')],
  [0, step('chain verify')],
  [0, step('report list')],
  [0, step('report show', () => reportId)],
  [2, step('report open', '/nonexistent/x', '--out', () => at('opened'))],
  [2, step('report verify', '/nonexistent/x')],
  [
    0,
    step(
      'report diff',
      () => reportId,
      () => reportId,
    ),
  ],
  [0, step('waiver list')],
  [0, step('attest list')],
  [0, step('decision list')],
  [2, step('decision show', 'ffff')],
  [0, step('decision verify')],
  [0, step('person list')],
  [0, step('person prove', '--email', emailOf('one'), '--key', () => at('one'))],
  [0, step('template list')],
  [0, step('template validate')],
  [0, step('migrate')],
  [0, step('partition apply')],
  [0, step('policy apply')],
  [2, step('policy approve', '99', () => signedBy('one'))],
  [2, step('hold release', 'ffff', ...reason, () => signedBy('records'))],
  [4, step('purge request', ...reason, () => signedBy('records'))],
  [2, step('purge approve', 'ffff', () => signedBy('records'))],
  [2, step('purge run', 'ffff', '--apply')],
  [0, step('purge replay')],
  [4, step('chain incarnation')],
  [4, step('person acknowledge', '--act', '999', ...reason, officers)],
  [4, step('demo', '--apply', '--out', () => at('demo'))],
];
/** The rest, and where it is run with --json. */
const ELSEWHERE_RUN = {
  'db up': 'test/db/embedded.test.ts',
  'db down': 'test/db/embedded.test.ts',
  'template test': 'test/reports/fixtures.test.ts',
  'template sign': 'test/reports/generate-command.test.ts',
  'witness serve': 'test/witness/serve.test.ts: it ends with a signal',
};

const ERROR = z.object({ code: z.string(), message: z.string(), hint: z.string(), details: z.looseObject({}) });

describe('--json --quiet', () => {
  const reading = READING.map(([exit, made]) => ({ exit, ...made }));
  test.each(reading)('$command ends with $exit and prints one document', async ({ exit, argv }) => {
    const done = await auditkeep(...argv(), '--json', '--quiet');
    expect({ exit: done.exit, stderr: done.stderr }, done.stdout).toEqual({ exit, stderr: '' });
    const document: unknown = JSON.parse(done.stdout);
    const isError = exit !== 0;
    expect(ERROR.safeParse(document).success).toBe(isError);
    // What is printed for people goes to stdout, and an error to stderr.
    const plain = await auditkeep(...argv(), '--quiet');
    expect({ exit: plain.exit, error: plain.stderr !== '' }).toEqual({ exit, error: isError });
    expect(plain.stdout === '').toBe(isError);
  });

  test('is tried for every command, or there is a reason', () => {
    const run = [
      ...JOURNEY.filter(({ notInEarnest }) => notInEarnest === undefined),
      ...READING.map(([, made]) => made),
    ];
    const tried = new Set([...run.map(({ command }) => command), ...Object.keys(ELSEWHERE_RUN)]);
    expect(COMMANDS.map(({ path }) => path.join(' ')).filter((name) => !tried.has(name))).toEqual([]);
  });
});

test('every command has --dry-run and a try of it, or a reason', async () => {
  const tried = new Set([...JOURNEY.map(({ command }) => command), ...Object.keys(ELSEWHERE), 'db up', 'db down']);
  for (const { path } of COMMANDS) {
    const name = path.join(' ');
    const hasOption = (await auditkeep(...path, '--help')).stdout.includes('--dry-run');
    expect({ name, hasOption, tried: tried.has(name) }).toEqual({
      name,
      hasOption: NOTHING_CHANGES[name] === undefined,
      tried: NOTHING_CHANGES[name] === undefined,
    });
  }
});
