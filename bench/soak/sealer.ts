/** The sealer of the soak as a process of its own, so that SIGKILL can end it anywhere: `sealer.ts DATABASE_URL HOME`. */
import { setTimeout as pause } from 'node:timers/promises';
import { pino } from 'pino';
import { sealChain } from '../../src/audit/seal/seal.ts';
import { loadConfig } from '../../src/config.ts';
import { openDatabase } from '../../src/db/database.ts';

const [url = '', home = ''] = process.argv.slice(2);
const config = await loadConfig({ flags: { home }, environment: {}, workingFolder: home });
const db = openDatabase({ url, role: 'auditkeep_engine', applicationName: 'soak-sealer', maxConnections: 3 });
const log = pino({ level: 'silent' });
for (;;) {
  // A restarting server or a lock that a killed predecessor's backend still holds: the next round tries again.
  await sealChain({ db, log, config }).catch(() => null);
  await pause(50);
}
