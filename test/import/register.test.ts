/** `import register`: every register takes its rows from both formats, once, revises them, and lets nothing else in. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { execute, queryOne, queryRows } from '../../src/db/query.ts';
import { importRegister } from '../../src/import/register-import.ts';
import { REGISTER_KINDS, REGISTER_NAMES, type RegisterKind } from '../../src/import/register-kinds.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();
let ctx: TestContext;
let folder: string;
beforeAll(async () => {
  ctx = await testContext(db);
  folder = await mkdtemp(join(tmpdir(), 'auditkeep-register-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const AT = '2026-02-01T08:00:00+01:00';
const SAMPLES: Readonly<Record<string, unknown>> = {
  country: 'US',
  personal_data: true,
  required: true,
  active: true,
  period_start: '2026-01-01',
  period_end: '2026-03-31',
};

/** A row with what each register demands and nothing else. */
function sampleOf(kind: RegisterKind): Record<string, unknown> {
  const entries = Object.entries<z.ZodType>(REGISTER_KINDS[kind].shape).flatMap(
    ([name, schema]): [string, unknown][] => {
      if (schema.safeParse(undefined).success) return [];
      if (name in SAMPLES) return [[name, SAMPLES[name]]];
      if (schema instanceof z.ZodEnum) return [[name, schema.options[0]]];
      return [[name, /_(?:at|from)$/.test(name) ? AT : `some ${name}`]];
    },
  );
  return Object.fromEntries(entries);
}

let written = 0;
async function bring(kind: string, text: string, extension = 'ndjson') {
  written += 1;
  const path = join(folder, `${written}.${extension}`);
  await writeFile(path, text);
  const { imported, duplicates, rejected, rejections } = await importRegister(ctx, kind, { paths: [path] });
  return {
    imported,
    duplicates,
    rejected,
    reasons: rejections.map((r) => `${r.line} ${r.reason} ${r.field ?? ''}`.trim()),
  };
}
const line = (row: object) => `${JSON.stringify(row)}\n`;
const ONCE = { imported: 1, duplicates: 0, rejected: 0, reasons: [] };
const KNOWN = { imported: 0, duplicates: 1, rejected: 0, reasons: [] };

test('the program and the database know the same registers and columns', async () => {
  const columns = await db.admin.withClient((client) =>
    queryRows(
      client,
      z.object({ kind: z.string(), names: z.array(z.string()) }),
      `select k.kind, array_agg(a.attname::text order by a.attname) as names
         from compliance.register_kind k join pg_attribute a on a.attrelid = ('compliance.' || k.kind)::regclass
        where a.attnum > 0 and a.attname <> all ('{id,entry_key,revision,recorded_at,recorded_by,salt}') group by k.kind`,
    ),
  );
  const expected = REGISTER_NAMES.map((kind) => [kind, shapeOf(kind).sort()]);
  expect(Object.fromEntries(columns.map(({ kind, names }) => [kind, names.sort()]))).toEqual(
    Object.fromEntries(expected),
  );
});

const shapeOf = (kind: string) => Object.keys(REGISTER_KINDS[z.enum(REGISTER_NAMES).parse(kind) as RegisterKind].shape);

describe.each(REGISTER_NAMES)('%s', (name) => {
  const kind = z.custom<RegisterKind>().parse(name);

  test('takes a row as NDJSON and knows it again, also as CSV and with its times written otherwise', async () => {
    const row = sampleOf(kind);
    expect(await bring(kind, line(row))).toEqual(ONCE);
    expect(await bring(kind, line(row))).toEqual(KNOWN);
    const csv = [Object.keys(row), Object.values(row).map((v) => (v === AT ? '2026-02-01T07:00:00.000Z' : String(v)))];
    expect(await bring(kind, csv.map((fields) => fields.join(',')).join('\r\n'), 'csv')).toEqual(KNOWN);
  });

  test('refuses a column that it does not have and the lack of one that it demands', async () => {
    const row = sampleOf(kind);
    const [first = ''] = Object.keys(row);
    const { [first]: _, ...without } = row;
    const { reasons } = await bring(kind, line({ ...row, extra: 1 }) + line(without));
    expect(reasons).toEqual(['1 FIELD_UNKNOWN', `2 FIELD_MISSING ${first}`]);
  });

  test('never changes a row, not even for its owner', async () => {
    for (const statement of [`update compliance.${kind} set recorded_by = 'x'`, `delete from compliance.${kind}`]) {
      const changed = db.as('auditkeep_owner').withClient((client) => execute(client, statement));
      await expect(changed).rejects.toMatchObject({ code: 'AK013' });
    }
    const direct = db.engine.withClient((client) =>
      execute(
        client,
        `insert into compliance.${kind} select (jsonb_populate_record(null::compliance.${kind}, '{}')).*`,
      ),
    );
    await expect(direct).rejects.toMatchObject({ code: 'DB_PRIVILEGE' });
  });
});

const INCIDENT = { incident_id: 'I-1', severity: 'high', aware_at: AT, personal_data: true };

test('what is known later is a new revision, and what was said stays', async () => {
  expect(await bring('incident', line(INCIDENT))).toEqual(ONCE);
  expect(await bring('incident', line({ ...INCIDENT, resolved_at: '2026-02-03T00:00:00Z' }))).toEqual(ONCE);
  const rows = await db.engine.withClient((client) =>
    queryRows(
      client,
      z.object({ revision: z.int(), resolved: z.boolean() }),
      `select revision, resolved_at is not null as resolved from compliance.incident where incident_id = 'I-1' order by 1`,
    ),
  );
  expect(rows).toEqual([
    { revision: 1, resolved: false },
    { revision: 2, resolved: true },
  ]);
});

test('every row is an event of the chain, with a hash that tells nothing of it', async () => {
  const account = 'somebody@example.org';
  await bring('training', line({ account, course: 'c-1', completed_at: AT }));
  const event = await db.admin.withClient((client) =>
    queryOne(
      client,
      z.object({ text: z.string(), holds: z.boolean() }),
      `select e::text as text,
              e.additional_data ->> 'rowSha256' = encode(sha256(convert_to(to_jsonb(r)::text, 'UTF8')), 'hex') as holds
         from compliance.training r join audit.audit_log e on e.resource_id = r.id::text
        where r.account = 'somebody@example.org' and e.event_type = 'register.recorded'`,
    ),
  );
  expect(event.holds).toBe(true);
  expect(event.text).not.toContain('somebody');
});

test('rejected lines are named and stop no other', async () => {
  const good = { system: 's', started_at: AT, outcome: 'success' };
  const csv = [
    'system,started_at,outcome,size_bytes,encrypted',
    'a,2026-01-01T00:00:00Z,success,12,true',
    'b,2026-01-01,success,,',
    'c,2026-01-01T00:00:00Z,maybe,,',
    'd,2026-01-01T00:00:00Z,success,-1,',
    'e,2026-01-01T00:00:00Z,success',
    'f,2026-01-01T00:00:00Z,success,,',
  ].join('\n');
  expect(await bring('backup_run', csv, 'csv')).toEqual({
    imported: 2,
    duplicates: 0,
    rejected: 4,
    reasons: ['3 FIELD_INVALID started_at', '4 FIELD_INVALID outcome', '5 FIELD_INVALID size_bytes', '6 CSV_INVALID'],
  });
  const lines = [line(good), '{\n', '\n', line({ ...good, system: 'x'.repeat(129) }), line({ ...good, system: 'a\0' })];
  expect((await bring('backup_run', lines.join(''))).reasons).toEqual([
    '2 JSON_INVALID',
    '4 FIELD_TOO_LONG system',
    '5 TEXT_NUL',
  ]);
});

test('a register that there is none of is a usage error', () => {
  expect(() => importRegister(ctx, 'waiver', { paths: [folder] })).toThrow(expect.objectContaining({ code: 'USAGE' }));
});
