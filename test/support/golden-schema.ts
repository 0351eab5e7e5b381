/**
 * Writes src/schema/design.json, the golden schema, from a freshly migrated database: `npm run golden`. Read the diff:
 * it is the design of the release.
 */
import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { openDatabase } from '../../src/db/database.ts';
import { readCatalog } from '../../src/schema/catalog.ts';
import { migrate } from '../../src/schema/migrate.ts';
import { startTestServer } from './server.ts';

const DESIGN = fileURLToPath(new URL('../../src/schema/design.json', import.meta.url));

const server = await startTestServer();
try {
  const db = openDatabase({ url: server.url('postgres'), applicationName: 'golden-schema' });
  await migrate(db);
  const facts = await db.withClient(readCatalog);
  await db.end();
  const design = Object.fromEntries(facts.map((fact) => [fact.object, fact.definition]));
  await writeFile(DESIGN, `${JSON.stringify(design, null, 2)}\n`);
  process.stderr.write(`${facts.length} facts in ${DESIGN}\n`);
} finally {
  await server.stop();
}
