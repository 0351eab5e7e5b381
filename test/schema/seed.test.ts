/** The installed catalog against the seed's own text: every table, column and type of the seed exists. */
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { queryRows } from '../../src/db/query.ts';
import { useDatabase } from '../support/database.ts';
import { parseTables, readSeed, SEED_FOLDER } from '../support/seed.ts';
import { isExpected } from '../support/shared-data.ts';

/** The seed's spelling of a type as the catalog prints it. */
function catalogType(type: string): string {
  return type
    .replace(/^varchar/, 'character varying')
    .replace(/^char\(/, 'character(')
    .replace(/^numeric\((\d+),(\d+)\)/, 'numeric($1,$2)');
}

describe.skipIf(!isExpected(SEED_FOLDER))('the seed (skipped only where the folder with it is absent)', () => {
  const db = useDatabase();
  const text = readSeed();
  const seed = parseTables(text);

  const columnShape = z.object({ relation: z.string(), column: z.string(), type: z.string() });
  const installedColumns = () =>
    db.engine.withClient((client) =>
      queryRows(
        client,
        columnShape,
        `select n.nspname || '.' || c.relname as relation, a.attname as column,
                format_type(a.atttypid, a.atttypmod) as type
           from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
          where a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p') and not c.relispartition`,
      ),
    );

  test('is read whole: its tables and a known number of columns', () => {
    expect(seed.length).toBe((text.match(/^CREATE TABLE \S+ \(/gm) ?? []).length);
    expect(seed.length).toBe(25);
    expect(seed.reduce((sum, table) => sum + table.columns.size, 0)).toBe(417);
  });

  test('every table and column exists with the type of the seed', async () => {
    const installed = new Map((await installedColumns()).map((row) => [`${row.relation}.${row.column}`, row.type]));
    const wanted = seed.flatMap((table) =>
      [...table.columns].map(([column, type]) => [`${table.name}.${column}`, catalogType(type)] as const),
    );
    const differing = wanted.filter(([column, type]) => installed.get(column) !== type);
    expect(differing).toEqual([]);
  });

  test('every value of its CHECKs is still valid', async () => {
    const constraints = await db.engine.withClient((client) =>
      queryRows(
        client,
        z.object({ relation: z.string(), definition: z.string() }),
        `select n.nspname || '.' || c.relname as relation, pg_get_constraintdef(k.oid) as definition
           from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
          where k.contype = 'c'`,
      ),
    );
    for (const table of seed) {
      const own = constraints.filter((constraint) => constraint.relation === table.name);
      for (const values of table.checks) {
        const fits = own.some(({ definition }) => values.every((value) => definition.includes(`'${value}'`)));
        expect(fits, `${table.name}: ${values.join(', ')}`).toBe(true);
      }
    }
  });

  test('every index exists but those that design/schema.md lists as left out or renamed', async () => {
    const leftOut = new Set([
      'idx_users_username',
      'idx_users_email',
      'idx_rate_limit_identifier',
      'idx_audit_log_timestamp',
      'idx_security_events_timestamp',
      'idx_audit_log_event_description_fts',
    ]);
    const named = [...text.matchAll(/INDEX CONCURRENTLY (\w+) ON (\w+\.\w+)/g)].map(([, name = '', table = '']) => ({
      name: `${table.split('.')[0]}.${name}`,
      short: name,
    }));
    const installed = await db.engine.withClient((client) =>
      queryRows(
        client,
        z.object({ name: z.string() }),
        "select schemaname || '.' || indexname as name from pg_indexes",
      ),
    );
    const names = new Set(installed.map((index) => index.name));
    expect(named.length).toBeGreaterThan(30);
    expect(named.filter(({ name, short }) => !leftOut.has(short) && !names.has(name))).toEqual([]);
  });

  test('every schema and role exists', async () => {
    const schemas = [...text.matchAll(/CREATE SCHEMA IF NOT EXISTS (\w+)/g)].map((match) => match[1] ?? '');
    const roles = [...text.matchAll(/CREATE ROLE (\w+)/g)].map((match) => match[1] ?? '');
    const policyRoles = [...text.matchAll(/FOR ALL TO (\w+)/g)].map((match) => match[1] ?? '');
    const found = await db.engine.withClient((client) =>
      queryRows(
        client,
        z.object({ name: z.string() }),
        `select nspname as name from pg_namespace union all select rolname from pg_roles`,
      ),
    );
    const names = new Set(found.map((row) => row.name));
    expect(schemas).toHaveLength(6);
    expect([...roles, ...policyRoles]).toHaveLength(7);
    expect([...schemas, ...roles, ...policyRoles].filter((name) => !names.has(name))).toEqual([]);
  });
});
