import { beforeAll, describe, expect, it } from 'vitest';
import { canonicalJson } from '../../src/canonical-json.ts';
import { checkTemplates } from '../../src/reports/check-templates.ts';
import { generateReport } from '../../src/reports/generate.ts';
import { sha256Hex } from '../../src/reports/model.ts';
import { listReports, readReport } from '../../src/reports/read.ts';
import { renderPdf } from '../../src/reports/render/pdf.ts';
import { loadTemplates } from '../../src/reports/template.ts';
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

  it.each(['gdpr', 'sox', 'hipaa'])('stores %s encrypted, with its hash and an audit event', async (framework) => {
    const report = await generateReport(ctx, { framework, period: '2026-02' });
    const { row, model, bytes } = await readReport(ctx, report.id.slice(0, 8));
    expect(row).toMatchObject({ id: report.id, version: 1, framework, status: 'draft', hash: report.hash });
    expect(sha256Hex(bytes)).toBe(report.hash);
    expect(bytes.toString('utf8')).toBe(canonicalJson(model));
    expect(sha256Hex(await renderPdf(model, null))).toBe(row.pdfSha256);
    expect(model.controls.filter((control) => control.status === 'error')).toEqual([]);
    const stored = await db.admin.withClient((client) =>
      client.query('select report_data_encrypted as data from audit.compliance_reports where id = $1', [report.id]),
    );
    expect(Buffer.from(stored.rows[0].data, 'utf8').includes('auditkeep-report')).toBe(false);
    const events = await db.admin.withClient((client) =>
      client.query(
        `select additional_data from audit.audit_log_all where event_type = 'report.generated' and resource_id = $1`,
        [report.id],
      ),
    );
    expect(events.rows).toEqual([{ additional_data: expect.objectContaining({ reportHash: report.hash }) }]);
    expect((await listReports(ctx)).map((entry) => entry.id)).toContain(report.id);
  });
});
