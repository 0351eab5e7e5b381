/** The installation on one screen. */
import { type Overview, readOverview } from '../jobs/overview.ts';
import { countOf } from '../plural.ts';
import { secondsOf } from '../time/clock.ts';
import { anchorText } from './anchor-text.ts';
import { type AnyCommand, defineCommand } from './command.ts';

const status = defineCommand({
  path: ['status'],
  summary: 'the installation on one screen: schema, horizon, chain, jobs, reports',
  examples: [
    ['auditkeep status', 'what needs attention'],
    ['auditkeep status --json', 'the same for scripts'],
  ],
  options: (yargs) => yargs,
  async run(session) {
    const overview = await readOverview(await session.context());
    return { data: overview, text: describe(overview) };
  },
});

/** `status`. */
export const statusCommands: readonly AnyCommand[] = [status];

function describe({
  schema,
  horizon,
  chain,
  checkpoint,
  anchor,
  lastVerification,
  runs,
  queue,
  reports,
  locks,
}: Overview): string {
  const rows: [string, string][] = [
    ['schema', schema],
    [
      'horizon',
      horizon === null
        ? 'no partitions'
        : `${countOf(horizon.daysLeft, 'day')} ahead in ${[horizon.table, horizon.category].filter((part) => part !== '').join(' ')}, the shortest`,
    ],
    [
      'chain',
      `${countOf(chain.events, 'event')} sealed, ${chain.unsealed} waiting${Number(chain.events) === 0 ? '' : `, sealed ${chain.sealLagSeconds} s ago`}`,
    ],
    [
      'checkpoint',
      checkpoint === null ? 'none signed' : `at ${checkpoint.size}, ${countOf(checkpoint.unsigned, 'event')} after it`,
    ],
    ['anchored', anchorText(anchor)],
    [
      'verified',
      lastVerification === null
        ? 'never'
        : `${secondsOf(lastVerification.startedAt)} ${lastVerification.outcome ?? 'running'}`,
    ],
    [
      'queue',
      `${queue.waiting} waiting, ${queue.running} running, ${queue.dead} dead${queue.dead > 0 ? ' (auditkeep job dead)' : ''}`,
    ],
    ['reports', reports.length === 0 ? 'none' : reports.map(({ status, count }) => `${count} ${status}`).join(', ')],
    ...locks.map((held): [string, string] => [
      'lock held',
      `${held.lock} by pid ${held.pid} (${held.login}, ${held.application})`,
    ]),
    ...runs.map((run): [string, string] => [
      `  ${run.job}`,
      `${secondsOf(run.startedAt)} ${run.outcome ?? 'running'} ${run.errorCode ?? ''} ${run.summary ?? ''}`.trimEnd(),
    ]),
  ];
  return rows.map(([name, value]) => `${name.padEnd(20)} ${value.trimEnd()}`).join('\n');
}
