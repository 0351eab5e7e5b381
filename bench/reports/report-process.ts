/** A report in a process of its own, so that its memory is its own: `report-process.ts URL HOME FRAMEWORK`, JSON to stdout. */
import { openDatabase } from '../../src/db/database.ts';
import { openKeyring } from '../../src/keys/open-keyring.ts';
import { generateReport } from '../../src/reports/generate/generate.ts';
import { addressOf, benchContext } from '../chain/setting.ts';
import { timed } from '../results.ts';

const [url = '', home = '', framework = ''] = process.argv.slice(2);
const pool = (user: string) => openDatabase({ url: addressOf(url, { user }), applicationName: 'bench' });
const [db, reportDb] = [pool('auditkeep_engine'), pool('auditkeep_report')];
const context = await benchContext(db, home);
const ctx = { ...context, reportDb, keys: openKeyring({ db, clock: context.clock, home, actor: context.actor }) };
const { seconds, result } = await timed(() => generateReport(ctx, { framework, period: 'last-full-month' }));
await db.end();
await reportDb.end();
const { maxRSS, userCPUTime, systemCPUTime } = process.resourceUsage();
process.stdout.write(
  JSON.stringify({
    id: result.id,
    seconds,
    errors: result.model.controls.filter(({ status }) => status === 'error').map(({ id }) => id),
    rssMb: Math.round(maxRSS / 1024),
    cpuSeconds: (userCPUTime + systemCPUTime) / 1e6,
  }),
);
