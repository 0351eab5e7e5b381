/** Remembers what each pseudonym of a report stands for while the report is made; memory is flat. */
import { AuditkeepError } from '../../errors.ts';
import { openLineSorter } from '../evidence/line-sorter.ts';

/** The key of each person takes half a millisecond, and the file of all is held in memory where a full bundle is made. */
const MOST_IDENTITIES = 2_000_000;
/** Pseudonyms that are remembered to have been noted: most values come again and again. */
const REMEMBERED = 50_000;
const PSEUDONYM_LENGTH = 18;

export interface PseudonymEntry {
  readonly pseudonym: string;
  readonly value: string;
}

export interface IdentityCollector {
  readonly pseudonymize: (value: string) => string;
  /** To be awaited from time to time: puts on disk what is too much for memory. */
  readonly settle: () => Promise<void>;
  /**
   * Every pseudonym once, in order, a batch at a time.
   * @throws REPORT_TOO_LARGE for more than two million
   */
  entries(batchSize: number): AsyncGenerator<readonly PseudonymEntry[], void, undefined>;
  /** Always to be called. */
  close(): Promise<void>;
}

/** @param pseudonymize of the report; gives `P-` and 16 characters */
export function collectIdentities(
  pseudonymize: (value: string) => string,
  most: number = MOST_IDENTITIES,
): IdentityCollector {
  const sorter = openLineSorter();
  const known = new Map<string, string>();
  return {
    pseudonymize(value) {
      const before = known.get(value);
      if (before !== undefined) return before;
      const pseudonym = pseudonymize(value);
      if (known.size >= REMEMBERED) known.clear();
      known.set(value, pseudonym);
      sorter.add(pseudonym + Buffer.from(value, 'utf8').toString('latin1'));
      return pseudonym;
    },
    settle: () => sorter.settle(),
    async *entries(batchSize) {
      let last = '';
      let count = 0;
      let batch: PseudonymEntry[] = [];
      for await (const lines of sorter.sorted()) {
        for (const line of lines) {
          if (line === last) continue;
          last = line;
          count += 1;
          if (count > most) throw tooMany(most);
          const value = Buffer.from(line.slice(PSEUDONYM_LENGTH), 'latin1').toString('utf8');
          batch.push({ pseudonym: line.slice(0, PSEUDONYM_LENGTH), value });
          if (batch.length < batchSize) continue;
          yield batch;
          batch = [];
        }
      }
      if (batch.length > 0) yield batch;
    },
    close: () => sorter.close(),
  };
}

function tooMany(most: number): AuditkeepError {
  return new AuditkeepError('REPORT_TOO_LARGE', {
    message: `the report names more than ${most} accounts, tokens, sessions and other ids`,
    hint: 'choose a shorter period, or mend what most exceptions are about and generate it again',
    details: { limit: most },
  });
}
