/** `--dry-run`, the same wherever a command changes something. */

/** For `options`: the command runs its checks, shows what it would do and changes nothing, whatever else is given. */
export const dryRunOption = {
  type: 'boolean',
  default: false,
  describe: 'show what would be done, after the same checks, and change nothing',
} as const;

/** The last line of what a dry run prints. */
export const NOTHING_CHANGED = 'Nothing was changed.';
