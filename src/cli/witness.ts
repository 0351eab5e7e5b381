/** `auditkeep witness init | serve`: the witness of other installations' chains. No database, no configuration. */
import { once } from 'node:events';
import type { Server } from 'node:http';
import { parseVerifierKey, type VerifierKey } from '../audit/tree/checkpoint.ts';
import { checkNewWitnessKey, createWitnessKey, readWitnessKey, witnessVerifierKey } from '../audit/witness/key-file.ts';
import { lockStore } from '../audit/witness/log-store.ts';
import { createWitness } from '../audit/witness/server.ts';
import { AuditkeepError } from '../errors.ts';
import { systemClock } from '../time/clock.ts';
import { type AnyCommand, defineCommand } from './command.ts';
import { dryRunOption, NOTHING_CHANGED } from './dry-run.ts';
import { stopOnSignal } from './stop-signal.ts';

const REQUEST_TIMEOUT_MS = 10_000;

const init = defineCommand({
  path: ['witness', 'init'],
  summary: 'make the key of a witness and print the verifier key that logs are configured with',
  examples: [
    ['auditkeep witness init --key witness.key --name witness.example/w1', 'once, on the machine that keeps it'],
  ],
  options: (yargs) =>
    yargs.options({
      key: { type: 'string', demandOption: true, requiresArg: true, describe: 'file for the private key (0600)' },
      name: {
        type: 'string',
        demandOption: true,
        requiresArg: true,
        describe: 'name of the witness, like a URL without its scheme',
      },
      'dry-run': dryRunOption,
    }),
  async run(_session, { key, name, 'dry-run': dryRun }) {
    if (dryRun) {
      await checkNewWitnessKey(key, name);
      const text = `the key of ${name} would be made in ${key}`;
      return { data: { name, verifierKey: null }, text: `${text}\n${NOTHING_CHANGED}` };
    }
    const verifierKey = witnessVerifierKey(await createWitnessKey(key, name));
    return { data: { name, verifierKey }, text: verifierKey };
  },
});

const serve = defineCommand({
  path: ['witness', 'serve'],
  summary: 'cosign the growing trees of known logs until told to stop (C2SP tlog-witness)',
  examples: [
    [
      "auditkeep witness serve --store state --key witness.key --log 'host.example/audit+7f1c...+AT...'",
      'the verifier key is what `auditkeep chain status` of that installation prints',
    ],
  ],
  options: (yargs) =>
    yargs.options({
      store: { type: 'string', demandOption: true, requiresArg: true, describe: 'folder of what was cosigned' },
      key: { type: 'string', demandOption: true, requiresArg: true, describe: 'private key of the witness' },
      log: { type: 'string', array: true, demandOption: true, describe: 'verifier key of a log; may be repeated' },
      host: { type: 'string', default: '127.0.0.1', requiresArg: true, describe: 'address to listen on' },
      port: { type: 'number', default: 8420, requiresArg: true, describe: 'port to listen on; 0 takes a free one' },
    }),
  async run(session, { store, key, log, host, port }) {
    const stop = stopOnSignal();
    const cosigner = await readWitnessKey(key);
    const logs = readLogs(log);
    const unlock = await lockStore(store);
    try {
      const report = (line: string) => session.say(line);
      const server = createWitness({
        store,
        cosigner,
        logs,
        report,
        clock: systemClock,
        requestTimeoutMs: REQUEST_TIMEOUT_MS,
      });
      session.say(`witness ${witnessVerifierKey(cosigner)} listening on ${await listen(server, host, port)}`);
      await stop.requested;
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    } finally {
      await unlock();
    }
    return { data: { name: cosigner.name, logs: logs.map(({ name }) => name) }, text: '' };
  },
});

export const witnessCommands: readonly AnyCommand[] = [init, serve];

/** A key of the command line that is none is a wrong option, not a finding. */
function readLog(line: string): VerifierKey {
  try {
    return parseVerifierKey(line);
  } catch (cause) {
    const what = cause instanceof AuditkeepError ? cause.message : 'it cannot be read';
    const hint = 'give the line `key` of auditkeep chain status there: NAME+ID+KEY';
    throw new AuditkeepError('USAGE', { message: `--log ${line}: ${what}`, hint, cause });
  }
}

function readLogs(lines: readonly string[]): VerifierKey[] {
  const logs = lines.map(readLog);
  if (new Set(logs.map(({ name }) => name)).size === logs.length) return logs;
  throw new AuditkeepError('USAGE', { message: 'a log is given twice', hint: 'one --log for each origin' });
}

/** Gives the address as a URL. @throws WITNESS_LISTEN */
async function listen(server: Server, host: string, port: number): Promise<string> {
  try {
    server.listen({ host, port });
    await once(server, 'listening');
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : 'unknown reason';
    throw new AuditkeepError('WITNESS_LISTEN', {
      message: `the witness cannot listen on ${host} port ${port}: ${reason}`,
      hint: 'choose another --port, or end the process that uses it',
      cause,
    });
  }
  const address = server.address();
  const actual = typeof address === 'object' && address !== null ? address.port : port;
  return `http://${host.includes(':') ? `[${host}]` : host}:${actual}`;
}
