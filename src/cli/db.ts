/** The embedded PostgreSQL. */
import type { AnyCommand } from './command.ts';

export const dbCommands: readonly AnyCommand[] = [];
