/** What a running command asks for, built when first asked for. */
import { type App, openAdminDatabase, openApp } from '../app.ts';
import type { Config } from '../config.ts';
import type { Database } from '../db/database.ts';
import type { Session } from './command.ts';
import { columnsOf, type Streams, wrapProse } from './output.ts';
import { createProgress } from './progress.ts';

export interface SessionOptions {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly color: boolean;
}

/** The session of one command and the function that closes whatever it opened. */
export function openSession(
  config: Config,
  streams: Streams,
  options: SessionOptions,
): { readonly session: Session; close(): Promise<void> } {
  let app: Promise<App> | null = null;
  let admin: Promise<Database> | null = null;
  const isTerminal = 'isTTY' in streams.stderr && streams.stderr.isTTY === true;
  const progress = createProgress(streams.stderr, isTerminal && !options.quiet && options.color);
  let rehearses = false;
  const theApp = (rehearsal = false) => {
    // Who asks for a rehearsal must not get the connection of one who acts: what it did would stay.
    if (app !== null && rehearsal && !rehearses) throw new Error('a dry run was asked for after the command had begun');
    rehearses ||= rehearsal;
    app ??= openApp(config, { progress, rehearsal });
    return app;
  };
  const session: Session = {
    config,
    json: options.json,
    progress,
    context: async (how) => (await theApp(how?.dryRun)).context,
    queue: async () => (await theApp()).queue(),
    openWorkerQueue: async () => (await theApp()).openWorkerQueue(),
    adminDatabase: () => (admin ??= openAdminDatabase(config)),
    say(line) {
      if (!options.quiet) streams.stderr.write(`${wrapProse(line, columnsOf(streams.stderr))}\n`);
    },
  };
  return {
    session,
    async close() {
      progress.stop();
      // What did not open was told to the command that asked for it; there is nothing of it to close.
      await (await app?.catch(() => null))?.close();
      await (await admin?.catch(() => null))?.end();
    },
  };
}
