/** Bringing a database to this release's schema, and seeing where it stands. */
import { EXIT } from '../errors.ts';
import { installQueues } from '../jobs/install.ts';
import { countOf } from '../plural.ts';
import { type Drift, findDrift } from '../schema/drift.ts';
import { migrate, migrationStatus, planMigration } from '../schema/migrate.ts';
import { type AnyCommand, defineCommand } from './command.ts';
import { dryRunOption, withDryRun } from './dry-run.ts';

const migrateCommand = defineCommand({
  path: ['migrate'],
  summary: 'Create or upgrade the schema, roles and queues (needs CREATEROLE and CREATE on the database)',
  examples: [
    ['auditkeep migrate', 'apply everything that is pending'],
    ['auditkeep migrate --dry-run', 'list what would be applied'],
    ['auditkeep migrate --to 0006_transactions', 'stop after this migration'],
  ],
  options: (yargs) =>
    yargs
      .option('to', { type: 'string', describe: 'stop after the migration of this name' })
      .option('dry-run', dryRunOption),
  async run(session, { to, 'dry-run': dryRun }) {
    const db = await session.adminDatabase();
    if (dryRun) {
      const pending = await db.withClient((client) => planMigration(client, to));
      return { data: { applied: [], pending }, text: withDryRun(listed('would apply', pending), true) };
    }
    const applied = await migrate(db, { to, ...(to === undefined && { afterAsOwner: installQueues }) });
    const { pending } = await db.withClient((client) => migrationStatus(client));
    return { data: { applied, pending }, text: listed('applied', applied) };
  },
});

const statusCommand = defineCommand({
  path: ['migrate', 'status'],
  summary: 'Applied and pending migrations, and where the schema differs from its design',
  examples: [
    ['auditkeep migrate status', 'ends with 3 when the schema drifted'],
    ['auditkeep migrate status --json', '{ applied, pending, drift: [{ object, expected, actual }] }'],
  ],
  options: (yargs) => yargs,
  async run(session) {
    const db = await session.adminDatabase();
    return db.withClient(async (client) => {
      const { applied, pending } = await migrationStatus(client);
      // Half a schema differs from the design by being half a schema.
      const drift = pending.length === 0 ? await findDrift(client) : null;
      const text = [
        `${countOf(applied.length, 'migration')} applied, ${pending.length} pending`,
        ...pending.map((name) => `  pending ${name}`),
        ...(drift === null
          ? []
          : [`${countOf(drift.length, 'difference')} from the design`, ...drift.map(describeDrift)]),
      ].join('\n');
      const found = drift !== null && drift.length > 0;
      return { data: { applied, pending, drift }, text, ...(found && { exitCode: EXIT.findings }) };
    });
  },
});

/** `migrate` and `migrate status`. */
export const migrateCommands: readonly AnyCommand[] = [migrateCommand, statusCommand];

function listed(verb: string, names: readonly string[]): string {
  if (names.length === 0) return `${verb} nothing: the schema is up to date`;
  return [`${verb} ${countOf(names.length, 'migration')}`, ...names.map((name) => `  ${name}`)].join('\n');
}

function describeDrift({ object, expected, actual }: Drift): string {
  if (expected === null) return `  unexpected ${object}: ${actual}`;
  if (actual === null) return `  missing ${object}: ${expected}`;
  return `  altered ${object}: ${actual}; designed: ${expected}`;
}
