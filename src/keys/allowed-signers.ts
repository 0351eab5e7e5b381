/** OpenSSH's allowed_signers file (ssh-keygen(1), ALLOWED SIGNERS): who may sign what, from when until when. */
import { AuditkeepError } from '../errors.ts';
import { parseSshPublicKey } from './ssh-public-key.ts';
import type { Namespace } from './sshsig.ts';

export interface AllowedSigner {
  /** The principal that `ssh-keygen -Y verify -I` takes. */
  readonly email: string;
  readonly publicKey: string;
  readonly fingerprint: string;
  readonly namespaces: readonly string[] | null;
  /** `YYYYMMDDHHMMSS` in UTC; null for no bound. */
  readonly validAfter: string | null;
  readonly validBefore: string | null;
}

export interface SignerLine {
  readonly email: string;
  readonly publicKey: string;
  readonly namespace: Namespace;
  /** ISO 8601 in UTC. */
  readonly from: string;
  readonly until: string | null;
}

/** The file's text, a line a key, sorted. Seconds are the format's grain: an interval begins at the second it falls in. */
export function writeAllowedSigners(lines: readonly SignerLine[]): string {
  return lines
    .map(({ email, publicKey, namespace, from, until }) => {
      const before = until === null ? '' : `,valid-before="${stampOf(until)}Z"`;
      return `${email} namespaces="${namespace}",valid-after="${stampOf(from)}Z"${before} ${publicKey}\n`;
    })
    .sort()
    .join('');
}

/** The text that writeAllowedSigners makes of lines that were read; other forms of the same lines come out different. */
export function rewriteAllowedSigners(signers: readonly AllowedSigner[]): string {
  return signers
    .map(({ email, publicKey, namespaces, validAfter, validBefore }) => {
      const before = validBefore === null ? '' : `,valid-before="${validBefore}Z"`;
      return `${email} namespaces="${namespaces?.join() ?? ''}",valid-after="${validAfter ?? ''}Z"${before} ${publicKey}\n`;
    })
    .sort()
    .join('');
}

/** `YYYYMMDDHHMMSS` of an ISO 8601 instant in UTC. */
export function stampOf(iso: string): string {
  return iso.slice(0, 19).replace(/[-:T]/g, '');
}

/**
 * Reads an allowed_signers file of plain keys with namespaces, valid-after and valid-before in UTC.
 * @throws INPUT_INVALID for anything else, certificate authorities and patterns included: what is not understood is not
 * trusted
 */
export function parseAllowedSigners(text: string): AllowedSigner[] {
  const lines = text.split('\n').map((line) => line.trim());
  return lines.filter((line) => line !== '' && !line.startsWith('#')).map(parseLine);
}

function parseLine(line: string): AllowedSigner {
  const match = /^([^\s"*?!,]+) (?:(\S*"\S*) )?((?:ssh-|ecdsa-|sk-)\S+ \S+)(?: .*)?$/.exec(line);
  if (match?.[1] === undefined || match[3] === undefined) throw malformed();
  const options = parseOptions(match[2] ?? '');
  const key = parseSshPublicKey(match[3]);
  return { email: match[1], publicKey: key.text, fingerprint: key.fingerprint, ...options };
}

function parseOptions(text: string): Pick<AllowedSigner, 'namespaces' | 'validAfter' | 'validBefore'> {
  const found = new Map<string, string>();
  const rest = text.replace(/([a-z-]+)="([^"]*)"(?:,|$)/g, (_, name: string, value: string) => {
    found.set(name, value);
    return '';
  });
  const known = new Set(['namespaces', 'valid-after', 'valid-before']);
  if (rest !== '' || [...found.keys()].some((name) => !known.has(name))) throw malformed();
  return {
    namespaces: found.get('namespaces')?.split(',') ?? null,
    validAfter: parseStamp(found.get('valid-after')),
    validBefore: parseStamp(found.get('valid-before')),
  };
}

function parseStamp(text: string | undefined): string | null {
  if (text === undefined) return null;
  const match = /^(\d{8})(\d{6})?Z$/.exec(text);
  if (match?.[1] === undefined) throw malformed();
  return match[1] + (match[2] ?? '000000');
}

function malformed(): AuditkeepError {
  return new AuditkeepError('INPUT_INVALID', {
    message: 'a line of the allowed_signers file is not understood',
    hint: 'lines are: EMAIL namespaces="...",valid-after="YYYYMMDDHHMMSSZ" KEYTYPE KEY',
  });
}
