/** `npm run soak -- --minutes N [--json]`: the soak on an embedded server in a temporary folder. Exit 3 on any loss. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openAdminDatabase, openApp } from '../../src/app.ts';
import { loadConfig } from '../../src/config.ts';
import { openDatabase } from '../../src/db/database.ts';
import { startEmbedded, stopEmbedded } from '../../src/db/embedded.ts';
import { embeddedPaths, serverIdentity } from '../../src/db/embedded-files.ts';
import { findPrograms, runProgram } from '../../src/db/embedded-programs.ts';
import { migrate } from '../../src/schema/migrate.ts';
import { runSoak } from './soak.ts';

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '1' }, json: { type: 'boolean' } } });
const minutes = Number(values.minutes);
if (!(minutes > 0)) throw new RangeError('--minutes takes a number above 0');
const home = await mkdtemp(join(tmpdir(), 'auditkeep-soak-'));
try {
  const { url } = await startEmbedded(home);
  const config = await loadConfig({
    flags: { home, logLevel: 'silent' },
    environment: { DATABASE_URL: url },
    workingFolder: home,
  });
  const admin = await openAdminDatabase(config);
  await migrate(admin);
  const app = await openApp(config);
  const programs = await findPrograms();
  const { data, root, log } = embeddedPaths(home);
  const db = openDatabase({ url, role: 'auditkeep_engine', applicationName: 'soak', maxConnections: 24 });
  const result = await runSoak({
    ctx: { ...app.context, db },
    admin,
    engineUrl: url,
    seconds: minutes * 60,
    async restart() {
      await runProgram(
        programs.pg_ctl,
        ['-D', data, '-l', log, '-m', 'immediate', '-w', 'restart'],
        serverIdentity(),
        root,
      );
    },
  });
  await db.end();
  await app.close();
  await admin.end();
  process.stdout.write(
    values.json === true
      ? `${JSON.stringify(result)}\n`
      : `${Object.entries(result)
          .map(([name, value]) => `${name.padEnd(14)} ${value}`)
          .join('\n')}\n`,
  );
  process.exitCode = result.lost + result.doubled + result.falseFindings === 0 ? 0 : 3;
} finally {
  await stopEmbedded(home);
  await rm(home, { recursive: true, force: true });
}
