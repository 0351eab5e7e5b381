/** Finds the first row at which a rewritten chain leaves what was signed, by the mirror of leaves outside the database. */
import type { SqlClient } from '../../db/database.ts';
import { uuidText } from '../copy/pg-time.ts';
import { readTuples } from '../copy/tuples.ts';
import type { Finding } from '../links/finding.ts';
import type { LinkRow } from '../links/link-source.ts';
import { rangeLinkSource } from '../links/range-store.ts';
import { firstDifference, isMirrorOf } from '../publish/mirror-compare.ts';
import type { VerifyRun } from './verify-run.ts';

/**
 * The findings with the row named wherever the tree is another one than was signed. Reads nothing without such a finding,
 * otherwise the mirror and the leaves once. A mirror that does not give the signed root itself names nothing.
 * @throws CHAIN_SIGNER_STORE
 */
export async function nameRewrittenRows(
  client: SqlClient,
  home: string,
  { head, incarnation, opened: { own } }: VerifyRun,
  findings: readonly Finding[],
): Promise<readonly Finding[]> {
  const isRewritten = (found: Finding) => found.class === 'rewritten' && found.checkpointTo !== null;
  const mirror = { home, incarnation };
  if (own === null || !findings.some(isRewritten) || !(await isMirrorOf(mirror, own))) return findings;
  const first = await firstDifference(client, mirror, own.size < head.size ? own.size : head.size);
  if (first === null) return findings;
  const link = await readLink(client, first.seq);
  const row = {
    seq: Number(first.seq),
    eventId: link === null ? null : uuidText(link.eventId),
    expected: first.mirrored.toString('hex'),
    actual: first.linked.toString('hex'),
  };
  return findings.map((found) => (isRewritten(found) ? { ...found, ...row } : found));
}

async function readLink(client: SqlClient, seq: bigint): Promise<Pick<LinkRow, 'eventId'> | null> {
  for await (const links of readTuples(client, rangeLinkSource({ from: seq, to: seq + 1n }))) return links[0] ?? null;
  return null;
}
