/** A witness as the process that its operator starts. */
import { chmod } from 'node:fs/promises';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { runCli, startCli } from '../cli/process.ts';

export interface RunningWitness {
  readonly url: string;
  readonly vkey: string;
  readonly store: string;
  /** Ends the process with a signal and waits for its end. */
  end(signal: NodeJS.Signals): Promise<{ readonly code: number | null; readonly stderr: string }>;
}

/** Makes the key of a witness in a folder, once; gives its verifier key. */
export async function initWitness(folder: string, name = 'witness.example/w1'): Promise<string> {
  const { code, stdout, stderr } = await runCli([
    'witness',
    'init',
    '--key',
    join(folder, 'witness.key'),
    '--name',
    name,
  ]);
  if (code !== 0) throw new Error(stderr);
  await chmod(folder, 0o700);
  return stdout.trim();
}

/** Starts a witness with the key and store of a folder on a free port; it ends with the test at the latest. */
export async function startWitness(folder: string, logs: readonly string[]): Promise<RunningWitness> {
  const store = join(folder, 'store');
  const args = ['--store', store, '--key', join(folder, 'witness.key'), '--port', '0'];
  const started = startCli(['witness', 'serve', ...args, ...logs.flatMap((log) => ['--log', log])], {});
  let heard = '';
  started.child.stderr?.on('data', (chunk: Buffer) => {
    heard += chunk.toString();
  });
  await started.said('listening on http');
  const [, vkey = '', url = ''] = /witness (\S+) listening on (\S+)/.exec(heard) ?? [];
  const end = async (signal: NodeJS.Signals) => {
    started.child.kill(signal);
    const { code, stderr } = await started.ended;
    return { code, stderr };
  };
  onTestFinished(async () => {
    await end('SIGKILL');
  });
  return { url, vkey, store, end };
}
