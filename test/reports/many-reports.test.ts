/** Listing many reports reads the register and the audit trail once, and says of each what verifying it alone says. */
import { beforeAll, expect, test } from 'vitest';
import type { Database, SqlClient } from '../../src/db/database.ts';
import { execute } from '../../src/db/query.ts';
import { listReports } from '../../src/reports/model/read.ts';
import { readDecisions, readDecisionsOf, submitReport } from '../../src/reports/workflow/workflow.ts';
import { foundRegister } from '../persons/roster.ts';
import { type TestContext, temporaryHome, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { insertDraft } from './draft.ts';

const db = useDatabase();
let ctx: TestContext;
/** Set MANY_REPORTS=200 to measure. */
const reports = Number(process.env['MANY_REPORTS'] ?? 6);

beforeAll(async () => {
  ctx = await testContext(db);
  const roster = await foundRegister(ctx, await temporaryHome());
  const ids: string[] = [];
  for (let n = 0; n < reports; n += 1) ids.push(await insertDraft(ctx));
  for (const reportId of ids) await submitReport(roster.as(ctx, 'preparer'), { reportId });
  await db.admin.withClient(async (client) => {
    await execute(client, 'alter table audit.compliance_reports disable trigger all');
    await execute(client, "update audit.compliance_reports set status = 'draft' where id = $1::uuid", [ids[0] ?? '']);
    await execute(client, 'alter table audit.compliance_reports enable trigger all');
  });
}, 120_000);

/** The same database, with the texts of its queries kept. */
function listening(database: Database, texts: string[]): Database {
  return {
    end: () => database.end(),
    withClient: (fn) =>
      database.withClient((client) => {
        const query = (text: unknown, ...more: unknown[]): unknown => {
          texts.push(String(text));
          return Reflect.apply(client.query, client, [text, ...more]);
        };
        const heard: unknown = Object.create(client, { query: { value: query } });
        return fn(heard as SqlClient);
      }),
  };
}

test('one reading of the register serves all', async () => {
  const texts: string[] = [];
  const rows = await listReports(ctx);
  const checked = await readDecisionsOf({ db: listening(ctx.db, texts) }, rows);
  expect(texts.filter((text) => text.includes('from compliance.person_act a'))).toHaveLength(1);
  expect(texts.filter((text) => text.includes('from audit.audit_log_all'))).toHaveLength(1);
  expect(rows.map((row) => checked.get(row.root)?.valid).filter((valid) => valid === false)).toHaveLength(1);
  for (const row of rows.slice(0, 3)) expect(checked.get(row.root)).toEqual(await readDecisions(ctx, row.id));
});
