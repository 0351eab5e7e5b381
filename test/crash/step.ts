/** One step of retention as a process of its own, to be killed: `step.ts STEP UNIT`, with DATABASE_URL and a home. */
import { pino } from 'pino';
import { loadConfig } from '../../src/config.ts';
import { openDatabase } from '../../src/db/database.ts';
import { systemClock } from '../../src/time/clock.ts';
import { parseStep, STEPS } from './steps.ts';

const [, , name = '', unit = '0'] = process.argv;
const home = process.env['AUDITKEEP_HOME'] ?? '';
const url = process.env['DATABASE_URL'] ?? '';
const db = openDatabase({ url, role: 'auditkeep_engine', applicationName: 'auditkeep' });
const ctx = {
  db,
  clock: systemClock,
  actor: { kind: 'service', name: 'crash' } as const,
  log: pino({ level: 'silent' }),
  // The superuser of the test's server may take on the owner's role, as auditkeep_maint may.
  config: await loadConfig({ flags: { home, maintenanceDatabaseUrl: url }, environment: {}, workingFolder: home }),
};
await STEPS[parseStep(name)].run(ctx, BigInt(unit));
await db.end();
