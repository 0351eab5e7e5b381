/** `auditkeep key list` */
import { readKeyList } from '../keys/list.ts';
import type { KeyListEntry } from '../keys/store.ts';
import { type AnyCommand, defineCommand } from './command.ts';

export const keyCommands: readonly AnyCommand[] = [
  defineCommand({
    path: ['key', 'list'],
    summary: 'list the keys of this database: ids, purposes, states and uses, never a key',
    examples: [
      ['auditkeep key list', 'the newest keys'],
      ['auditkeep key list --limit 1000 --json', 'more of them, as JSON'],
    ],
    options: (yargs) => yargs.options({ limit: { type: 'number', default: 100, describe: 'how many, newest first' } }),
    async run(session, args) {
      const limit = Math.max(1, Math.min(100_000, Math.trunc(args.limit)));
      const keys = await readKeyList(await session.context(), { limit });
      return { data: { keys }, text: keys.length === 0 ? 'No key yet.' : keys.map(lineOf).join('\n') };
    },
  }),
];

function lineOf(key: KeyListEntry): string {
  const what = [key.purpose ?? key.type, key.dataClass, key.epochDay].filter((part) => part !== null).join(' ');
  const wrap = key.kekGeneration === null ? '' : `  KEK generation ${key.kekGeneration}`;
  return `${key.keyId}  ${(key.status ?? '').padEnd(9)}  ${what.padEnd(32)}  ${key.usageCount} uses reserved${wrap}`;
}
