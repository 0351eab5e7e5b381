/** Which earlier reports a trend compares with. Reading them is part of generate.test.ts. */
import { describe, expect, it } from 'vitest';
import { chooseEarlier } from '../../src/reports/generate/trend.ts';
import type { ReportRow } from '../../src/reports/model/store.ts';

const Q3 = { startDate: '2026-07-01', endDate: '2026-09-30' };

function row(id: string, periodStart: string, periodEnd: string, over: Partial<ReportRow> = {}): ReportRow {
  const period = { periodStart, periodEnd, periodStartAt: '', periodEndAt: '', periodZone: 'UTC' };
  const made = {
    superseded: false,
    generatedBy: '',
    generatedAt: '',
    engineVersion: '',
    approvers: 1,
    hash: '',
    pdfSha256: '',
  };
  return { id, root: id, version: 1, framework: 'gdpr', status: 'draft', interim: false, ...period, ...made, ...over };
}

describe('chooseEarlier', () => {
  it('takes one report a period, an approved one before newer drafts, the latest period first', () => {
    const rows = [
      row('draft-q2', '2026-04-01', '2026-06-30'),
      row('approved-q2', '2026-04-01', '2026-06-30', { status: 'approved' }),
      row('newer-q1', '2026-01-01', '2026-03-31'),
      row('older-q1', '2026-01-01', '2026-03-31'),
    ];
    expect(chooseEarlier(rows, 'gdpr', Q3).map(({ id }) => id)).toEqual(['approved-q2', 'newer-q1']);
    const superseded = row('superseded-q1', '2026-01-01', '2026-03-31', { superseded: true });
    expect(chooseEarlier([superseded, ...rows], 'gdpr', Q3).map(({ id }) => id)).toEqual(['approved-q2', 'newer-q1']);
  });

  it.each([
    ['another framework', row('a', '2026-04-01', '2026-06-30', { framework: 'sox' })],
    ['an interim report', row('a', '2026-04-01', '2026-06-30', { interim: true })],
    ['a period that overlaps', row('a', '2026-05-01', '2026-07-31')],
    ['a month', row('a', '2026-05-01', '2026-05-31')],
    ['a year', row('a', '2025-01-01', '2025-12-31')],
  ])('leaves out %s', (_, other) => {
    expect(chooseEarlier([other], 'gdpr', Q3)).toEqual([]);
  });

  it('compares months of 28 days with months of 31', () => {
    const february = row('february', '2026-02-01', '2026-02-28');
    const march = { startDate: '2026-03-01', endDate: '2026-03-31' };
    expect(chooseEarlier([february], 'gdpr', march)).toEqual([february]);
  });
});
