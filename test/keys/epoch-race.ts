/** A process of the race in keyring.test.ts: says that it is ready, waits for "go", makes or finds two epoch keys. */
import { once } from 'node:events';
import { openDatabase } from '../../src/db/database.ts';
import { openKeyring } from '../../src/keys/open-keyring.ts';
import { parseInstant, toInstant } from '../../src/time/clock.ts';

const [url = '', home = '', time = ''] = process.argv.slice(2);
const now = parseInstant(time) ?? toInstant(0);
const db = openDatabase({ url, applicationName: 'epoch-race', maxConnections: 4 });
const keys = openKeyring({ db, clock: { now: () => now }, home, actor: { kind: 'service', name: 'race' } });
await db.withClient((client) => client.query('select 1'));
const go = once(process, 'message');
process.send?.({ ready: true });
await go;
const cell = { table: 't', column: 'c', rowId: 'r' };
const envelopes = await Promise.all(
  (['confidential', 'secret'] as const).map(async (dataClass) =>
    (await keys.sealer(dataClass))({ ...cell, dataClass }, Buffer.of(1)),
  ),
);
const keyIds = envelopes.map((text) => Buffer.from(text.slice(4), 'base64url').toString('hex', 2, 10));
process.send?.({ keyIds });
await db.end();
process.disconnect();
