/** Data that lies beside the project. CI always has it, so there its absence is a failure, not a reason to skip. */
import { existsSync } from 'node:fs';

/** True where tests of the folder have to run. */
export function isExpected(folder: string): boolean {
  return existsSync(folder) || (process.env['CI'] ?? '') !== '';
}
