/** The stand-alone verifier as tests use it: its functions, and itself as a process under two releases of Node. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export interface Report {
  readonly verdict: 'intact' | 'tampered' | 'undecided' | 'internally-consistent';
  readonly exitCode: number;
  readonly findings: readonly { class: string; where: string; what: string; seq?: number; eventId?: string }[];
  readonly doubts: readonly string[];
  readonly checked?: Readonly<Record<string, number>>;
  readonly event?: Readonly<Record<string, string>> | null;
  readonly opened?: Readonly<Record<string, unknown>> | null;
}

interface Key {
  readonly name: string;
}

/** Only handed through. */
type Signers = readonly { readonly principal: string }[];

interface Options {
  readonly key?: Key | null;
  readonly checkpoints?: readonly { text: string; where: string }[];
  readonly witnesses?: readonly Key[];
  readonly entry?: Buffer | null;
  readonly signers?: Signers | null;
}

interface Inclusion {
  readonly index: bigint;
  readonly size: bigint;
  readonly leaf: Buffer;
  readonly root: Buffer;
  readonly proof: readonly Buffer[];
}

interface Consistency {
  readonly size1: bigint;
  readonly size2: bigint;
  readonly root1: Buffer;
  readonly root2: Buffer;
  readonly proof: readonly Buffer[];
}

interface Verifier {
  parseVerifierKey(line: string): Key;
  parseSigners(text: string): Signers;
  openSshsig(armored: string, namespace: string, text: string): string | null;
  openNote(note: string, key: Key): string;
  parseTreeHead(text: string): { origin: string; size: bigint; root: Buffer };
  verifyInclusion(claim: Inclusion): boolean;
  verifyConsistency(claim: Consistency): boolean;
  verifyBundle(path: string, options?: Options): Report;
  verifyProof(text: string, options?: Options): Report;
  verifyGrowth(older: string, newer: string, proof: string, options?: Options): Report;
  parseEntry(entry: Buffer): { id: Buffer; commitments: Record<string, Buffer | null> } | null;
  leafHash(entry: Buffer): Buffer;
  judgeOpening(group: string, salt: Uint8Array | null, framed: Uint8Array, commitment: Buffer | null): string;
  tilePath(index: number, width: number): string;
}

const FILE = new URL('../../verifier/verify.mjs', import.meta.url);

/** The verifier's functions. Plain JavaScript without types, so they are declared here. */
export const verifier = (await import(/* @vite-ignore */ FILE.href)) as Verifier;

/** Node 24 of the development dependencies, and the oldest one that the verifier supports, where the PATH has it. */
export const NODES = [process.execPath, 'node'];

interface Told {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs verify.mjs as its users do. */
export function runVerifier(node: string, ...args: readonly string[]): Promise<Told> {
  return new Promise((resolve) => {
    const run = execFile(
      node,
      [fileURLToPath(FILE), ...args],
      { env: { PATH: SYSTEM_PATH } },
      (_error, stdout, stderr) => resolve({ code: run.exitCode ?? -1, stdout, stderr }),
    );
  });
}

/** Without node_modules/.bin, which npm puts first: the other Node is the system's. */
const SYSTEM_PATH = (process.env['PATH'] ?? '')
  .split(':')
  .filter((folder) => !folder.includes('node_modules'))
  .join(':');
