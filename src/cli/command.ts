/** What a command of the command line is: data about it and one function. parser.ts turns them into yargs commands. */
import type { Argv } from 'yargs';
import type { Config } from '../config.ts';
import type { Context, Progress } from '../context.ts';
import type { Database } from '../db/database.ts';
import type { ExitCode } from '../errors.ts';
import type { Queue } from '../jobs/queue.ts';

/** What a handler may ask for; each is built when first asked for and closed by main.ts. */
export interface Session {
  readonly config: Config;
  /** True when `--json` was given. */
  readonly json: boolean;
  /**
   * The engine's context on a migrated database; with dryRun nothing that is done with it stays (db/rehearsal.ts).
   * @throws SCHEMA_MISSING and the DB_* codes
   */
  context(how?: { readonly dryRun: boolean }): Promise<Context>;
  /** The job queue of the same database. @throws SCHEMA_MISSING and the DB_* codes */
  queue(): Promise<Queue>;
  /** A queue for a worker that this command runs; the worker closes it. */
  openWorkerQueue(): Promise<Queue>;
  /** The login of DATABASE_URL itself (the embedded superuser), for `migrate` and `db`. */
  adminDatabase(): Promise<Database>;
  /** A bar on a terminal's stderr. */
  readonly progress: Progress;
  /** A line of words to stderr, unless `--quiet`. */
  say(line: string): void;
}

/** What a handler gives back: data for `--json` (bigint becomes a decimal string), text for people. */
export interface CommandResult {
  readonly data: unknown;
  readonly text: string;
  /** True where the text is sentences, which a terminal shows broken between words, and no table. */
  readonly isProse?: boolean;
  /** 0 unless given; 3 for findings. */
  readonly exitCode?: ExitCode;
}

export interface Command<A = object> {
  /** The words after `auditkeep`: `['archive', 'plan']`. */
  readonly path: readonly [string, ...string[]];
  /** Positional arguments in yargs notation, for example `<paths..>`. */
  readonly positionals?: string;
  readonly summary: string;
  readonly examples: readonly (readonly [command: string, what: string])[];
  options(yargs: Argv): Argv<A>;
  run(session: Session, args: A): Promise<CommandResult>;
}

/** A command whose argument type is hidden, so that commands of different shapes fit in one list. */
export type AnyCommand = Command<never>;

/** Checks a command's types and hides its argument type. */
export function defineCommand<A>(command: Command<A>): AnyCommand {
  return command as unknown as AnyCommand;
}
