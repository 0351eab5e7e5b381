/** What people ask for in SQL: archival by a DBA, notes of an analyst. */
import { beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { archiveJob } from '../../src/jobs/archive.ts';
import type { Job } from '../../src/jobs/job.ts';
import { runArchive } from '../../src/retention/archive.ts';
import { ensurePartitions } from '../../src/retention/partition.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';
import { ensureMonths, failureOf, insertEvents, instant, linkAll, retentionContext, scalar, stateOf } from './rows.ts';

const db = useDatabase();
let ctx: TestContext;
const request = `select retention.request_archive('audit_log', '2025-03-01Z', 'year end') as value`;

async function runJob() {
  const job = archiveJob as unknown as Job<object>;
  return await job.run(ctx, job.input.parse({}), new AbortController().signal);
}

beforeAll(async () => {
  ctx = await testContext(db, {});
  await ensureMonths(db.engine, ['2025-01', '2025-02', '2025-03']);
  await db.engine.withClient((client) => insertEvents(client, '2025-01-10T00:00:00Z', 3));
  await db.admin.withClient((client) =>
    client.query(`create role dba_${process.pid} login; grant usage on schema retention to dba_${process.pid}`),
  );
});

describe('retention.request_archive', () => {
  test('is for those who were granted it', async () => {
    const dba = db.as(`dba_${process.pid}`);
    expect(await failureOf(dba, request)).toMatchObject({ code: '42501' });
    await db.admin.withClient((client) =>
      client.query(
        `grant execute on function retention.request_archive(text, timestamptz, text) to dba_${process.pid}`,
      ),
    );
    expect(await failureOf(dba, request)).toBeNull();
    expect(await failureOf(dba, 'select * from retention.archive_request')).toMatchObject({ code: '42501' });
  });

  test.each([
    [`select retention.request_archive('users', '2025-03-01Z', 'x')`, 'AK101'],
    [`select retention.request_archive('audit_log', 'infinity', 'x')`, 'AK102'],
    [`select retention.request_archive('audit_log', now() + interval '1 day', 'x')`, 'AK102'],
    [`select retention.request_archive('audit_log', '2025-03-01Z', ' ')`, 'AK102'],
  ])('refuses %s', async (statement, code) => {
    expect(await failureOf(db.admin, statement)).toMatchObject({ code });
  });

  test('does nothing itself; the archive job takes the row, and again while something is left', async () => {
    const planId = await scalar(db.admin, z.uuid(), request);
    expect(await stateOf(db.engine, 'audit_log_y2025m01')).toBe('hot');
    const done = `select done_at is not null as value from retention.archive_request where plan_id = '${planId}'`;
    await runJob();
    expect(await scalar(db.engine, z.boolean(), done)).toBe(false);
    await linkAll(db.engine);
    await runJob();
    expect(await stateOf(db.engine, 'audit_log_y2025m01')).toBe('archived');
    expect(await stateOf(db.engine, 'audit_log_y2025m03')).toBe('hot');
    expect(await scalar(db.engine, z.boolean(), done)).toBe(true);
    // Both, though the runs moved one each.
    const units = `select units as value from retention.archive_request where plan_id = '${planId}'`;
    expect(await scalar(db.engine, z.number(), units)).toBe(2);
    const reasons = `select additional_data ->> 'reason' as value from audit.audit_log_all
      where event_type = 'partition.archived' order by 1 limit 1`;
    expect(await scalar(db.engine, z.string(), reasons)).toBe(`request ${planId} of login postgres: year end`);
  });

  test('is open while late rows of its scope wait for their link, and done when they are collected', async () => {
    const planId = await scalar(db.admin, z.uuid(), request);
    await db.engine.withClient((client) => insertEvents(client, '2025-01-20T00:00:00Z', 2));
    const done = `select done_at is not null as value from retention.archive_request where plan_id = '${planId}'`;
    await runJob();
    expect(await scalar(db.engine, z.boolean(), done)).toBe(false);
    await linkAll(db.engine);
    expect(await runJob()).toMatchObject({ counts: { archived: 0, late: 2 } });
    expect(await scalar(db.engine, z.boolean(), done)).toBe(true);
  });

  test('a request stays as it was made', async () => {
    for (const statement of [
      `update retention.archive_request set reason = 'x'`,
      'delete from retention.archive_request',
    ]) {
      expect(await failureOf(db.engine, statement)).toMatchObject({ code: '42501' });
      expect(await failureOf(db.admin, statement)).toMatchObject({ code: 'AK013' });
    }
  });
});

describe('a note on a security event', () => {
  const note = (text: string) => `insert into audit.security_event_note (event_id, event_timestamp, note)
    select id, event_timestamp, '${text}' from audit.security_events_log_all`;

  test('waits until its partition is sealed, then is kept with the login and an audit event', async () => {
    const at = instant('2025-01-10T00:00:00Z');
    await ensurePartitions(retentionContext(db.engine), 'security_events_log', [at]);
    await db.engine.withClient((client) =>
      client.query(`insert into audit.security_events_log (event_type, severity, category, event_description, event_timestamp)
        values ('x', 'low', 'anomaly', 'd', '2025-01-10Z')`),
    );
    const analyst = db.as('security_analyst_role');
    expect(await failureOf(analyst, note('early'))).toMatchObject({ code: 'AK104' });
    await runArchive(ctx, { table: 'security_events_log', before: instant('2025-02-01T00:00:00Z'), reason: 'test' });
    await analyst.withClient((client) => client.query(note('false alarm')));
    expect(await scalar(db.engine, z.string(), 'select noted_by as value from audit.security_event_note')).toBe(
      'postgres',
    );
    expect(await scalar(db.report, z.bigint(), 'select count(*) as value from facts.security_event_note')).toBe(1n);
    const events = `select count(*) as value from audit.audit_log where event_type = 'security_event.noted'`;
    expect(await scalar(db.engine, z.bigint(), events)).toBe(1n);
  });

  test('is about an event, and does not change', async () => {
    const analyst = db.as('security_analyst_role');
    const nowhere = `insert into audit.security_event_note (event_id, event_timestamp, note) values (gen_random_uuid(), now(), 'x')`;
    expect(await failureOf(analyst, nowhere)).toMatchObject({ code: 'AK101' });
    expect(
      await failureOf(
        analyst,
        `insert into audit.security_event_note (event_id, event_timestamp, note, noted_by)
      select event_id, event_timestamp, 'x', 'somebody' from audit.security_event_note`,
      ),
    ).toMatchObject({ code: '42501' });
    expect(await failureOf(db.admin, `update audit.security_event_note set note = 'x'`)).toMatchObject({
      code: 'AK013',
    });
  });
});
