import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { canonicalJson } from '../../src/canonical-json.ts';
import { queryOne } from '../../src/db/query.ts';
import { findJob } from '../../src/jobs/registry.ts';
import { checkTemplates } from '../../src/reports/evaluate/check-templates.ts';
import { generateReport } from '../../src/reports/generate/generate.ts';
import { sha256Hex } from '../../src/reports/model/model.ts';
import { listReports, readReport } from '../../src/reports/model/read.ts';
import { renderPdf } from '../../src/reports/render/pdf.ts';
import { loadTemplates } from '../../src/reports/template/template.ts';
import { type TestContext, testContext } from '../support/context.ts';
import { useDatabase } from '../support/database.ts';

const db = useDatabase();
let ctx: TestContext;
beforeAll(async () => {
  ctx = await testContext(db);
});

describe('generateReport', () => {
  it('plans every statement of the shipped templates', async () => {
    await checkTemplates(ctx, await loadTemplates());
  });

  it.each(['gdpr', 'sox', 'hipaa', 'iso-27001'])(
    'stores %s encrypted, with its hash and an audit event',
    async (framework) => {
      const report = await generateReport(ctx, { framework, period: '2026-02' });
      const { row, model, bytes } = await readReport(ctx, report.id.slice(0, 8));
      expect(row).toMatchObject({ id: report.id, version: 1, framework, status: 'draft', hash: report.hash });
      expect(sha256Hex(bytes)).toBe(report.hash);
      expect(bytes.toString('utf8')).toBe(canonicalJson(model));
      expect(sha256Hex(await renderPdf(model, null))).toBe(row.pdfSha256);
      expect(model.controls.filter((control) => control.status === 'error')).toEqual([]);
      const stored = await db.admin.withClient((client) =>
        queryOne(
          client,
          z.object({ envelope: z.string(), events: z.bigint() }),
          `select r.report_data_encrypted as envelope,
                (select count(*) from audit.audit_log_all e
                  where e.event_type = 'report.generated' and e.resource_id = r.id::text
                    and e.additional_data ->> 'reportHash' = r.report_hash) as events
           from audit.compliance_reports r where r.id = $1::uuid`,
          [report.id],
        ),
      );
      expect(stored.events).toBe(1n);
      expect(stored.envelope).toMatch(/^ak1\./);
      expect((await listReports(ctx)).map((entry) => entry.id)).toContain(report.id);
    },
  );

  it('finds a model that was changed in the database', async () => {
    const { id } = await generateReport(ctx, { framework: 'sox', period: '2026-02' });
    await db.admin.withClient(async (client) => {
      await client.query('alter table audit.compliance_reports disable trigger all');
      await client.query(`update audit.compliance_reports set report_hash = repeat('0', 64) where id = $1`, [id]);
      await client.query('alter table audit.compliance_reports enable trigger all');
    });
    await expect(readReport(ctx, id)).rejects.toMatchObject({ code: 'REPORT_TAMPERED' });
  });

  it('numbers a new version after the one it supersedes, which has one successor only', async () => {
    const first = await generateReport(ctx, { framework: 'sox', period: '2026-01' });
    const second = await generateReport(ctx, { framework: 'sox', period: '2026-01', supersedes: first.id });
    expect([second.version, second.model.report.version]).toEqual([2, 2]);
    await expect(
      generateReport(ctx, { framework: 'sox', period: '2026-01', supersedes: first.id }),
    ).rejects.toMatchObject({ code: 'REPORT_SUPERSEDED' });
    await expect(
      generateReport(ctx, { framework: 'sox', period: '2026-01', supersedes: '00000000-0000-4000-8000-00000000ffff' }),
    ).rejects.toMatchObject({ code: 'REPORT_NOT_FOUND' });
    // What the period after it is compared with.
    const { model } = await generateReport(ctx, { framework: 'sox', period: '2026-02' });
    const { startDate, endDate } = second.model.period;
    const { statusCounts } = second.model;
    expect(first.model.trend).toEqual([]);
    expect(model.trend).toEqual([
      { reportId: second.id, reportHash: second.hash, status: 'draft', startDate, endDate, statusCounts },
    ]);
  });

  it('stores nothing when the person is not in the register', async () => {
    const before = (await listReports(ctx)).length;
    const stranger = { ...ctx, actor: { kind: 'person' as const, email: 'nobody@example.org', keyFile: null } };
    await expect(generateReport(stranger, { framework: 'sox', period: '2026-01' })).rejects.toMatchObject({
      code: 'PERSON_UNKNOWN',
    });
    expect(await listReports(ctx)).toHaveLength(before);
  });

  it('runs as a job', async () => {
    const outcome = await findJob('generate-report').run(
      ctx,
      // A job's input type is hidden from the list of jobs; the runner parses it the same way.
      findJob('generate-report').input.parse({ framework: 'hipaa' }),
      new AbortController().signal,
    );
    expect(outcome.summary).toContain('HIPAA 2026-02-01 to 2026-02-28');
    expect(outcome.counts).toMatchObject({ controls: 27 });
  });
});
