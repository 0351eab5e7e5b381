/**
 * Under which name the log is judged. The number in audit.chain_head is the database's word, and one statement as the
 * engine moves it: what counts is the name that the signer of this home signs for. A number that lies elsewhere is a
 * finding, and a name to go by only where nothing was ever signed here.
 */
import type { Config } from '../../config.ts';
import type { ChainHead } from '../links/chain-store.ts';
import { type Finding, finding } from '../links/finding.ts';
import { type IncarnationRecord, incarnationFindings } from '../record/incarnation-record.ts';
import { incarnationOf, originOf, readSignerOrigin } from '../signer/signer-store.ts';

export interface LogName {
  readonly origin: string;
  readonly incarnation: number;
}

/**
 * The signer's name of the log; by the head where this home never signed, or signed for a log of another name, which
 * readSignerState refuses.
 * @throws CHAIN_SIGNER_STORE
 */
export async function readLogName(
  { home, origin: name }: Pick<Config, 'home' | 'origin'>,
  head: Pick<ChainHead, 'incarnation'>,
): Promise<LogName> {
  const signer = await readSignerOrigin(home);
  const incarnation = (signer === null ? null : incarnationOf(name, signer)) ?? head.incarnation;
  return { origin: originOf(name, incarnation), incarnation };
}

/**
 * Pure: what the number in the head says against the signer's. Beyond it: each one that nobody signed, or what was lost at
 * it. Before it: the chain went back to before a restore that two officers signed.
 * @param records as readIncarnations gives them
 */
export function numberFindings(
  log: LogName,
  head: Pick<ChainHead, 'incarnation'>,
  records: readonly IncarnationRecord[],
): Finding[] {
  if (head.incarnation < log.incarnation) {
    const actual = `incarnation ${head.incarnation}`;
    return [finding('rolled-back', { expected: `incarnation ${log.incarnation}, as signed`, actual })];
  }
  return incarnationFindings(records, { first: log.incarnation + 1, last: head.incarnation });
}
