/** `--dry-run`, the same wherever a command changes something. */

/** For `options`: the command runs its checks, shows what it would do and changes nothing, whatever else is given. */
export const dryRunOption = {
  type: 'boolean',
  default: false,
  describe: 'check, show what would be done, change nothing',
} as const;

/** The last line of what a dry run prints. */
export const NOTHING_CHANGED = 'Nothing was changed.';

/** What a command prints, with the last line of a dry run where it was one. */
export function withDryRun(text: string, dryRun: boolean): string {
  return dryRun ? `${text}\n${NOTHING_CHANGED}` : text;
}
