/** One step of retention as a process of its own, to be killed: `step.ts STEP UNIT`, with DATABASE_URL. */
import { pino } from 'pino';
import { openDatabase } from '../../src/db/database.ts';
import { systemClock } from '../../src/time/clock.ts';
import { parseStep, STEPS } from './steps.ts';

const [, , name = '', unit = '0'] = process.argv;
const db = openDatabase({
  url: process.env['DATABASE_URL'] ?? '',
  role: 'auditkeep_engine',
  applicationName: 'auditkeep',
});
const ctx = {
  db,
  clock: systemClock,
  actor: { kind: 'service', name: 'crash' } as const,
  log: pino({ level: 'silent' }),
};
await STEPS[parseStep(name)].run(ctx, BigInt(unit));
await db.end();
