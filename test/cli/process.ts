/** Starts the command line as a process, the way a shell does. */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const ENTRY = fileURLToPath(new URL('./entry.ts', import.meta.url));
/** Without the tests' own jobs. */
export const PRODUCT = fileURLToPath(new URL('./product.ts', import.meta.url));

export interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Started {
  readonly child: ChildProcess;
  /** Resolves when the text appears on stderr; rejects when the process ends first. */
  said(text: string): Promise<void>;
  readonly ended: Promise<Ended>;
}

/** An environment with nothing of ours in it but what the test gives, and where Node keeps what it compiled. */
export function bareEnvironment(given: Readonly<Record<string, string>>): Record<string, string> {
  const compiled = process.env['NODE_COMPILE_CACHE'];
  const kept = compiled === undefined ? {} : { NODE_COMPILE_CACHE: compiled };
  return { PATH: process.env['PATH'] ?? '', HOME: '/nonexistent', ...kept, ...given };
}

export interface StartOptions {
  /** A line of shell that runs before it, a limit for example. */
  readonly shell?: string;
  readonly entry?: string;
  /** Who runs it; only root can choose. */
  readonly user?: { readonly uid: number; readonly gid: number };
}

export function startCli(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  { shell, entry = ENTRY, user }: StartOptions = {},
): Started {
  const [program, all] =
    shell === undefined
      ? [process.execPath, [entry, ...args]]
      : ['/bin/sh', ['-c', `${shell}; exec "$@"`, 'sh', process.execPath, entry, ...args]];
  const child = spawn(program, all, { ...user, env: bareEnvironment(env), stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  const listeners = new Set<() => void>();
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
    for (const listener of listeners) listener();
  });
  const ended = new Promise<Ended>((resolve) => {
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
  });
  return {
    child,
    ended,
    said(text) {
      return new Promise((resolve, reject) => {
        const look = () => stderr.includes(text) && resolve();
        listeners.add(look);
        look();
        void ended.then(() => reject(new Error(`ended before it said ${text}: ${stderr}`)));
      });
    },
  };
}

/** Runs a command to its end. */
export function runCli(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  user?: StartOptions['user'],
): Promise<Ended> {
  return startCli(args, env, user === undefined ? {} : { user }).ended;
}
