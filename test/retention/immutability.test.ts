/** Recorded rows do not change, wherever they lie and whoever asks; the two exceptions are judged by what they change. */
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { runArchive } from '../../src/retention/archive.ts';
import { useDatabase } from '../support/database.ts';
import { ensureMonths, failureOf, insertEvents, instant, linkAll, retentionContext, scalar } from './rows.ts';

const db = useDatabase();
const REFUSED = { code: 'AK100' };

beforeAll(async () => {
  await ensureMonths(db.engine, ['2023-01', '2023-02']);
  await db.engine.withClient(async (client) => {
    await insertEvents(client, '2023-01-10T00:00:00Z', 3);
    await insertEvents(client, '2023-02-10T00:00:00Z', 3);
    await insertEvents(client, '2001-01-01T00:00:00Z', 3);
  });
  await linkAll(db.engine);
  await runArchive(retentionContext(db.engine), {
    reason: 'test',
    table: 'audit_log',
    before: instant('2023-02-01T00:00:00Z'),
  });
});

const PLACES = [
  ['hot', 'audit.audit_log', 'audit.audit_log_y2023m02'],
  ['archive', 'audit.audit_log_archive', 'audit.audit_log_y2023m01'],
  ['late', 'audit.audit_log_late', 'audit.audit_log_late'],
] as const;

describe.each(PLACES)('%s rows', (_origin, parent, leaf) => {
  test('exist', async () => {
    expect(await scalar(db.admin, z.bigint(), `select count(*) as value from ${leaf} where event_type = 'test'`)).toBe(
      3n,
    );
  });

  test.each([
    `update ${parent} set event_action = 'READ' where event_type = 'test'`,
    `update ${leaf} set event_action = 'READ' where event_type = 'test'`,
    `update ${leaf} set event_timestamp = event_timestamp + interval '1 hour' where event_type = 'test'`,
    `delete from ${parent} where event_type = 'test'`,
    `delete from ${leaf} where event_type = 'test'`,
    `truncate ${leaf}`,
    `truncate ${parent}`,
  ])('the superuser is refused: %s', async (statement) => {
    expect(await failureOf(db.admin, statement)).toMatchObject(REFUSED);
    expect(await failureOf(db.admin, "set local session_replication_role = 'replica'", statement)).toMatchObject(
      REFUSED,
    );
  });
});

describe('erasure', () => {
  const LEAF = 'audit.audit_log_y2023m02';
  const ONE = `where id = (select id from ${LEAF} order by event_timestamp limit 1)`;
  const record = (group: string) =>
    `insert into audit.erasure (event_id, event_group, commitment, request_id)
       select id, '${group}', sha256('x'), gen_random_uuid() from ${LEAF} order by event_timestamp limit 1`;
  const ACTOR = `user_id = null, user_email = null, user_roles = null, session_id = null, ip_address = null,
                 user_agent = null, actor_envelope = null, actor_salt = null`;
  const PAYLOAD = `resource_id = null, resource_path = null, old_values = null, new_values = null,
                   additional_data = null, error_message = null, payload_envelope = null, payload_salt = null`;

  test.each([
    ['actor', ACTOR],
    ['payload', PAYLOAD],
  ])('of the whole group %s passes with its record, and only with its own', async (group, change) => {
    const other = group === 'actor' ? 'payload' : 'actor';
    const update = `update ${LEAF} set ${change} ${ONE}`;
    expect(await failureOf(db.admin, record(group), update)).toBeNull();
    expect(await failureOf(db.admin, update)).toMatchObject(REFUSED);
    expect(await failureOf(db.admin, record(other), update)).toMatchObject(REFUSED);
  });

  test.each([
    ['both groups at once', `${ACTOR}, ${PAYLOAD}`],
    ['another column besides', `${ACTOR}, event_action = 'READ'`],
    ['the same number written differently', `${ACTOR}, additional_data = '{"n": 1.00}'`],
    ['the salt alone', 'user_email = user_email, actor_salt = null'],
    ['the group without its salt', 'user_email = null'],
  ])('of %s is refused', async (_what, change) => {
    const both = [record('actor'), record('payload')];
    expect(await failureOf(db.admin, ...both, `update ${LEAF} set ${change} ${ONE}`)).not.toBeNull();
  });

  test('the refusal of a rewritten number is ours, not a constraint', async () => {
    const statement = `update ${LEAF} set ${ACTOR}, additional_data = '{"n": 1.00}' ${ONE}`;
    expect(await failureOf(db.admin, record('actor'), statement)).toMatchObject(REFUSED);
    expect(await failureOf(db.admin, record('actor'), statement.replace('1.00', '1.0'))).toBeNull();
  });
});

describe('security events', () => {
  beforeAll(async () => {
    await db.engine.withClient((client) =>
      client.query(
        `insert into audit.security_events_log (event_type, severity, category, event_description, event_timestamp)
         values ('hot', 'low', 'anomaly', 'x', now()), ('late', 'low', 'anomaly', 'x', '2001-01-01Z')`,
      ),
    );
  });
  const analyst = (statement: string) => db.as('security_analyst_role').withClient((client) => client.query(statement));

  test('an analyst writes the investigation of a hot one, and that is an event', async () => {
    const result = await analyst(
      `update audit.security_events_log set investigated = true, analyst_notes = 'seen' where event_type = 'hot'`,
    );
    expect(result.rowCount).toBe(1);
    const recorded = `select additional_data ->> 'columns' as value from audit.audit_log where event_type = 'security_event.investigated'`;
    expect(await scalar(db.admin, z.string(), recorded)).toBe('["analyst_notes", "investigated"]');
  });

  test('nothing else changes, and no late one', async () => {
    await expect(analyst(`update audit.security_events_log set severity = 'info'`)).rejects.toMatchObject({
      code: 'DB_PRIVILEGE',
    });
    const severity = `update audit.security_events_log set severity = 'info', investigated = true where event_type = 'hot'`;
    expect(await failureOf(db.admin, severity)).toMatchObject(REFUSED);
    const late = 'update audit.security_events_log_late set investigated = true';
    expect(await failureOf(db.admin, late)).toMatchObject(REFUSED);
  });

  test('once the unit is sealed, its investigation is closed too', async () => {
    const investigate = `update audit.security_events_log set investigated = false where event_type = 'hot'`;
    expect(await failureOf(db.admin, investigate)).toBeNull();
    const seal = `update retention.unit set state = 'sealed' where table_name = 'security_events_log' and lower_bound <= now() and upper_bound > now()`;
    expect(await failureOf(db.admin, seal, investigate)).toMatchObject(REFUSED);
  });
});

test.each([
  ['audit.data_access_log', `(table_name, access_type) values ('t', 'SELECT')`, 'rows_affected = 1'],
  ['security_internal.performance_metrics', `(metric_name, metric_type, value) values ('m', 'gauge', 1)`, 'value = 2'],
  [
    'security_internal.distributed_traces',
    `(trace_id, span_id, operation_name, service_name, start_time) values ('t', 's', 'o', 's', now())`,
    `status_code = 'OK'`,
  ],
])('%s refuses changes as well', async (table, row, change) => {
  const insert = `insert into ${table} ${row}`;
  expect(await failureOf(db.admin, insert, `update ${table} set ${change}`)).toMatchObject(REFUSED);
  expect(await failureOf(db.admin, insert, `delete from ${table}`)).toMatchObject(REFUSED);
  expect(await failureOf(db.admin, insert, `truncate ${table}`)).toMatchObject(REFUSED);
});
