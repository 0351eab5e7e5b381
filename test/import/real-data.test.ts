/** The public data sets of ../shared/data: numbers, mapping, and that nothing personal stands in a bare column. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { queryOne, queryRows } from '../../src/db/query.ts';
import { importCloudtrail, importEthereum } from '../../src/import/import.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { isExpected } from '../support/shared-data.ts';

const DATA = join(import.meta.dirname, '../../../shared/data');
const CLOUDTRAIL = join(DATA, 'cloudtrail');
const TRANSACTIONS = join(DATA, 'ethereum/transactions.json');
const hasData = isExpected(DATA);
if (!hasData) console.warn('skipped: ../shared/data is absent, so there is no real data to import');

const db = useDatabase();
let ctx: TestContext;
beforeAll(async () => {
  ctx = await testContext(db);
});

const count = z.object({ n: z.bigint() });
const countOf = async (sql: string) => (await db.engine.withClient((client) => queryOne(client, count, sql))).n;
const IMPORTED = `from audit.audit_log where service_name = 'aws-cloudtrail'`;

describe.skipIf(!hasData)('CloudTrail', () => {
  test('all 2,900 events are in once, whatever the number of imports', async () => {
    const first = await importCloudtrail(ctx, { paths: [CLOUDTRAIL] });
    expect(first).toMatchObject({ files: 55, read: 2900, imported: 2900, duplicates: 0, late: 0, rejected: 0 });
    const second = await importCloudtrail(ctx, { paths: [CLOUDTRAIL] });
    expect(second).toMatchObject({ files: 55, read: 2900, imported: 0, duplicates: 2900, late: 0, rejected: 0 });
    expect(await countOf(`select count(*) as n ${IMPORTED}`)).toBe(2900n);
    expect(await countOf(`select count(*) as n ${IMPORTED} and result = 'failure'`)).toBe(300n);
    expect(await countOf(`select count(distinct event_category) as n ${IMPORTED}`)).toBe(7n);
  });

  test('each batch that stored something left one audit event without names', async () => {
    const rows = await db.engine.withClient((client) =>
      queryRows(
        client,
        z.object({ details: z.record(z.string(), z.unknown()) }),
        `select additional_data as details from audit.audit_log_all where event_type = 'import.batch'`,
      ),
    );
    expect(rows).toHaveLength(1);
    expect(rows[0]?.details).toMatchObject({ source: 'cloudtrail', files: 55, read: 2900, imported: 2900 });
    expect(JSON.stringify(rows)).not.toContain('218007301253');
  });

  test('an event keeps its id, time, actor, action and payload', async () => {
    const row = await db.engine.withClient((client) =>
      queryOne(
        client,
        z.record(z.string(), z.unknown()),
        `select event_timestamp, event_type, event_category, event_action, user_email, user_roles, ip_address::text, user_agent,
                request_id, resource_type, result, new_values, additional_data, version
           from audit.audit_log where id = '293ba626-3be5-4a26-ab1b-0f4c54f49959'`,
      ),
    );
    expect(row).toMatchObject({
      event_timestamp: '2023-07-10 11:42:36+00',
      event_type: 'AwsApiCall',
      event_category: 'data_access',
      event_action: 'GetStorageLensConfiguration',
      user_email: 'arn:aws:iam::123837392027:user/benjamin',
      user_roles: ['IAMUser'],
      ip_address: null,
      user_agent: 'AWS Internal',
      request_id: null,
      resource_type: 's3.amazonaws.com',
      result: 'success',
      new_values: null,
      version: '1.08',
    });
    expect(row['additional_data']).toMatchObject({
      requestID: 'CC9X0N62QREGTBMN',
      sourceIPAddress: 'AWS Internal',
      requestParameters: { Host: '123837392027.s3-control.us-east-1.amazonaws.com' },
      userIdentity: { userName: 'benjamin', accountId: '123837392027' },
    });
  });

  test('no ARN, address, account or user name stands in a bare column', async () => {
    const personal = await personalValues();
    expect(personal.size).toBeGreaterThan(50);
    const rows = await db.engine.withClient((client) =>
      queryRows(
        client,
        z.object({ value: z.string() }),
        // event_category, data_sensitivity, result and security_classification are constants of ours; one category is
        // called admin, as is one of the data set's users.
        `select distinct v.value from audit.audit_log e
          cross join lateral (values (e.event_type), (e.event_action), (e.resource_type), (e.server_name),
            (e.service_name), (e.version)) as v (value)
          where e.service_name = 'aws-cloudtrail' and v.value is not null`,
      ),
    );
    expect(rows.length).toBeGreaterThan(200);
    const leaks = rows.filter(
      ({ value }) =>
        personal.has(value) || /arn:|@|\d{9,}|\d+\.\d+\.\d+\.\d+/.test(value) || holdsName(value, personal),
    );
    expect(leaks).toEqual([]);
  });
});

describe.skipIf(!hasData)('Ethereum', () => {
  test('298 transactions are in once, from NDJSON and then from CSV', async () => {
    const first = await importEthereum(ctx, { paths: [TRANSACTIONS] });
    expect(first).toMatchObject({ files: 1, read: 298, imported: 298, duplicates: 0, rejected: 0 });
    const again = await importEthereum(ctx, { paths: [join(DATA, 'ethereum')] });
    expect(again).toMatchObject({ files: 2, skippedFiles: 2, read: 596, imported: 0, duplicates: 596, rejected: 0 });
    expect(await countOf('select count(*) as n from security_confidential.transactions')).toBe(298n);
  });

  test('addresses and wei come back exactly out of their envelopes, and nothing is in the clear', async () => {
    const lines = (await readFile(TRANSACTIONS, 'utf8')).trimEnd().split('\n');
    const rows = await db.engine.withClient((client) =>
      queryRows(
        client,
        z.object({
          id: z.string(),
          hash: z.string(),
          from: z.string(),
          to: z.string().nullable(),
          value: z.string(),
          all: z.string(),
        }),
        `select t.id::text as id, t.transaction_hash as hash, t.from_address_encrypted as from,
                t.to_address_encrypted as to, t.value_encrypted as value, t::text as all
           from security_confidential.transactions t`,
      ),
    );
    const byHash = new Map(rows.map((row) => [row.hash, row]));
    const open = async (id: string, column: string, cell: string | null | undefined) => {
      if (cell === null || cell === undefined) return null;
      const context = {
        table: 'security_confidential.transactions',
        column,
        rowId: id,
        dataClass: 'confidential',
      } as const;
      return Buffer.from(await ctx.keys.open(context, cell)).toString();
    };
    for (const line of lines) {
      const text = (name: string) => new RegExp(`"${name}": "?([^",}]*)`).exec(line)?.[1];
      const row = byHash.get(text('hash') ?? '');
      expect(row, 'the transaction is stored').toBeDefined();
      const id = row?.id ?? '';
      expect(await open(id, 'from_address_encrypted', row?.from)).toBe(text('from_address'));
      expect((await open(id, 'to_address_encrypted', row?.to)) ?? 'null').toBe(text('to_address'));
      expect(await open(id, 'value_encrypted', row?.value)).toBe(text('value'));
      expect(row?.all).not.toContain(text('from_address'));
    }
  });

  test('a transaction that was anonymized since is known by its former id', async () => {
    await db.admin.withClient(async (client) => {
      await client.query(
        'insert into privacy.anonymized_transaction select id from security_confidential.transactions limit 3',
      );
      await client.query(`delete from security_confidential.transactions t
                            using privacy.anonymized_transaction a where a.import_id = t.id`);
    });
    const report = await importEthereum(ctx, { paths: [TRANSACTIONS] });
    expect(report).toMatchObject({ read: 298, imported: 0, duplicates: 298 });
  });
});

/** Every ARN, account id, user name, principal and address that the files' records name. */
async function personalValues(): Promise<Set<string>> {
  const values = new Set<string>();
  const collect = (value: unknown, key: string): void => {
    if (typeof value === 'string') {
      const isPersonal = /arn|account|userName|principal|accessKey|sourceIP|sessionName/i.test(key);
      if ((isPersonal || /^arn:/.test(value)) && !value.endsWith('.amazonaws.com')) values.add(value);
    } else if (Array.isArray(value)) {
      for (const item of value) collect(item, key);
    } else if (typeof value === 'object' && value !== null) {
      for (const [name, item] of Object.entries(value)) collect(item, name);
    }
  };
  for (const name of (await readdir(CLOUDTRAIL)).filter((file) => file.endsWith('.json'))) {
    collect(JSON.parse(await readFile(join(CLOUDTRAIL, name), 'utf8')), '');
  }
  return values;
}

function holdsName(value: string, personal: ReadonlySet<string>): boolean {
  return [...personal].some((name) => name.length > 5 && value.includes(name));
}
