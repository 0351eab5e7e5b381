/** The embedded PostgreSQL: up, down, status, url. */
import type { Config } from '../config.ts';
import { type EmbeddedState, readEmbeddedState, startEmbedded, stopEmbedded } from '../db/embedded.ts';
import { AuditkeepError } from '../errors.ts';
import { type AnyCommand, type CommandResult, defineCommand } from './command.ts';
import { dryRunOption, NOTHING_CHANGED } from './dry-run.ts';

const up = defineCommand({
  path: ['db', 'up'],
  summary: 'start the embedded PostgreSQL, creating it first if need be',
  examples: [['auditkeep db up', 'start it, or find the one that runs']],
  options: (yargs) => yargs.options({ 'dry-run': dryRunOption }),
  async run(session, args) {
    requireEmbedded(session.config);
    if (args['dry-run']) return tried(session.config, START_WORDS);
    const server = await startEmbedded(session.config.home);
    session.say('The embedded server is for trying out, tests and small single-node use.');
    return {
      data: { state: 'running', port: server.port, pid: server.pid, home: session.config.home },
      text: `running on 127.0.0.1:${server.port} (pid ${server.pid}) in ${session.config.home}/pg`,
    };
  },
});

const down = defineCommand({
  path: ['db', 'down'],
  summary: 'stop the embedded PostgreSQL; its data stays',
  examples: [['auditkeep db down', 'end connections and stop']],
  options: (yargs) => yargs.options({ 'dry-run': dryRunOption }),
  async run(session, args) {
    requireEmbedded(session.config);
    if (args['dry-run']) return tried(session.config, STOP_WORDS);
    const stopped = await stopEmbedded(session.config.home);
    return { data: { stopped }, text: stopped ? 'stopped' : 'was not running' };
  },
});

const status = defineCommand({
  path: ['db', 'status'],
  summary: 'whether the embedded PostgreSQL runs, and where',
  examples: [['auditkeep db status --json', 'for scripts']],
  options: (yargs) => yargs,
  async run(session) {
    requireEmbedded(session.config);
    const state = await readEmbeddedState(session.config.home);
    return { data: withoutPassword(state), text: describeState(state) };
  },
});

const url = defineCommand({
  path: ['db', 'url'],
  summary: 'print a superuser connection string of the running embedded PostgreSQL, password included',
  examples: [['psql "$(auditkeep db url)"', 'look inside with psql']],
  options: (yargs) => yargs,
  async run(session) {
    requireEmbedded(session.config);
    const state = await readEmbeddedState(session.config.home);
    if (state.state !== 'running') {
      throw new AuditkeepError('DB_UNREACHABLE', {
        message: 'the embedded PostgreSQL does not run',
        hint: 'start it with: auditkeep db up',
      });
    }
    return { data: { url: state.url }, text: state.url };
  },
});

/** Every command about the embedded server. */
export const dbCommands: readonly AnyCommand[] = [up, down, status, url];

function requireEmbedded(config: Config): void {
  if (config.databaseUrl === null) return;
  throw new AuditkeepError('USAGE', {
    message: 'a server of your own is configured, so there is no embedded one',
    hint: 'unset DATABASE_URL and the libpq variables to use the embedded PostgreSQL',
  });
}

type StateWords = Readonly<Record<EmbeddedState['state'], string>>;
const START_WORDS: StateWords = {
  running: 'runs already',
  stopped: 'would be started',
  absent: 'would be made and started',
};
const STOP_WORDS: StateWords = { running: 'would be stopped', stopped: 'does not run', absent: 'does not run' };

async function tried(config: Config, words: StateWords): Promise<CommandResult> {
  const state = await readEmbeddedState(config.home);
  const text = `the embedded PostgreSQL in ${state.folder} ${words[state.state]}`;
  return { data: withoutPassword(state), text: `${text}\n${NOTHING_CHANGED}` };
}

function withoutPassword(state: EmbeddedState) {
  return state.state === 'running'
    ? { state: state.state, folder: state.folder, port: state.port, pid: state.pid }
    : { state: state.state, folder: state.folder };
}

function describeState(state: EmbeddedState): string {
  switch (state.state) {
    case 'running':
      return `running on 127.0.0.1:${state.port} (pid ${state.pid}) in ${state.folder}`;
    case 'stopped':
      return `stopped, data in ${state.folder}`;
    case 'absent':
      return `not created yet (auditkeep db up makes it in ${state.folder})`;
  }
}
