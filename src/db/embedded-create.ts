/** Makes the embedded cluster: complete beside its place first, then moved there in one step, so never half-made. */
import { randomBytes } from 'node:crypto';
import { rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AuditkeepError } from '../errors.ts';
import {
  type EmbeddedPaths,
  folderError,
  giveToServer,
  makeServerFolder,
  readOptional,
  removeAbandoned,
  type ServerIdentity,
} from './embedded-files.ts';
import { type EmbeddedPrograms, failureLine, runProgram } from './embedded-programs.ts';

/** Durable (fsync stays on) and only on loopback. Locks: one per partition and index that a query touches. */
const SETTINGS = [
  'listen_addresses=127.0.0.1',
  'unix_socket_directories=',
  'password_encryption=scram-sha-256',
  'max_connections=100',
  'max_locks_per_transaction=512',
  'timezone=UTC',
  'log_timezone=UTC',
  'logging_collector=off',
];

export async function isCreated(paths: EmbeddedPaths): Promise<boolean> {
  return (await readOptional(join(paths.data, 'PG_VERSION'))) !== null;
}

/**
 * Creates the cluster unless another process was faster.
 * @throws EMBEDDED_FOLDER, EMBEDDED_FAILED; nothing is left behind
 */
export async function createCluster(
  paths: EmbeddedPaths,
  programs: EmbeddedPrograms,
  identity: ServerIdentity,
): Promise<void> {
  await removeAbandoned(paths.home);
  const draft = join(paths.home, `pg.new-${process.pid}-${randomBytes(4).toString('hex')}`);
  await makeServerFolder(draft, identity);
  try {
    await fillCluster(draft, programs, identity);
    await rename(draft, paths.root);
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    // A folder cannot be moved onto one that is not empty: somebody else's cluster is already there.
    if (await isCreated(paths)) return;
    throw error instanceof AuditkeepError ? error : folderError(`${paths.root} cannot be made`, error);
  }
}

async function fillCluster(draft: string, programs: EmbeddedPrograms, identity: ServerIdentity): Promise<void> {
  const password = join(draft, 'password');
  await writeFile(password, `${randomBytes(24).toString('hex')}\n`, { mode: 0o600, flag: 'wx' });
  await giveToServer(password, identity);
  const result = await runProgram(
    programs.initdb,
    [
      ...['-D', join(draft, 'data'), '-U', 'postgres', '-E', 'UTF8', '-A', 'scram-sha-256', '--pwfile', password],
      ...['--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8', '--no-instructions'],
      ...SETTINGS.flatMap((setting) => ['-c', setting]),
    ],
    identity,
    draft,
  );
  if (result.ok) return;
  throw new AuditkeepError('EMBEDDED_FAILED', {
    message: `the embedded PostgreSQL could not be created: ${failureLine(result.output)}`,
    hint: 'free some space or choose another folder with AUDITKEEP_HOME, or set DATABASE_URL',
  });
}
