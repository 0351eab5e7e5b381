/** Full verification in a process of its own, so that its memory is its own: `full-process.ts URL HOME`, JSON to stdout. */
import { verifyChain } from '../../src/audit/verify/verify.ts';
import { openDatabase } from '../../src/db/database.ts';
import { timed } from '../results.ts';
import { benchContext } from './setting.ts';

const [url = '', home = ''] = process.argv.slice(2);
const db = openDatabase({ url, applicationName: 'bench' });
const { seconds, result } = await timed(async () => verifyChain(await benchContext(db, home)));
await db.end();
const { maxRSS, userCPUTime, systemCPUTime } = process.resourceUsage();
process.stdout.write(
  JSON.stringify({
    seconds,
    checked: result.checked,
    findings: result.findings.map((found) => found.class),
    rssMb: Math.round(maxRSS / 1024),
    cpuSeconds: (userCPUTime + systemCPUTime) / 1e6,
  }),
);
