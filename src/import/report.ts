/** What an import did. */
import type { BatchOutcome } from './batch.ts';
import type { Rejection } from './rejection.ts';

export type SourceKind = 'cloudtrail' | 'ethereum' | 'ndjson' | 'register';

interface ImportCounts {
  /** Records that were looked at: imported + duplicates + late + rejected (fewer when only parsed). */
  readonly read: number;
  readonly imported: number;
  /** Records that are stored already, or that were given twice. */
  readonly duplicates: number;
  /** Events of archived ranges, stored in audit_log_late. */
  readonly late: number;
  readonly rejected: number;
}

export interface ImportReport extends ImportCounts {
  readonly kind: SourceKind;
  readonly dryRun: boolean;
  readonly files: number;
  /** Files of folders whose name does not fit the kind, and symbolic links. */
  readonly skippedFiles: number;
  /** Files that could not be read to their end; what came before was imported. */
  readonly failedFiles: number;
  /** The first MAX_REJECTIONS rejected records and failed files, in the order of reading. */
  readonly rejections: readonly Rejection[];
}

/** More rejections than this are counted, not listed: memory stays flat. */
const MAX_REJECTIONS = 1000;

/** Counts of one run while it goes on. */
export class Tally {
  readonly counts = { read: 0, imported: 0, duplicates: 0, late: 0, rejected: 0 };
  failedFiles = 0;
  readonly rejections: Rejection[] = [];

  /** What became of a batch. */
  add(outcome: BatchOutcome): void {
    this.counts.imported += outcome.imported;
    this.counts.duplicates += outcome.duplicates;
    this.counts.late += outcome.late;
    for (const rejection of outcome.rejections) this.reject(rejection);
  }

  /** A rejected record, or with line null a failed file. */
  reject(rejection: Rejection): void {
    if (rejection.line === null) this.failedFiles++;
    else this.counts.rejected++;
    if (this.rejections.length < MAX_REJECTIONS) this.rejections.push(rejection);
  }
}
