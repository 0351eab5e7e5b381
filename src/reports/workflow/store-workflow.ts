/** Queries on decisions, report versions and distributions: one function each. */
import { z } from 'zod';
import type { SqlClient } from '../../db/database.ts';
import { queryMaybe, queryOne, queryRows } from '../../db/query.ts';
import { type DecisionRequest, decisionRequestSchema, type Meaning } from '../../persons/decision.ts';
import type { Anchors, ReportVersion, StoredDecision } from './decision-check.ts';

/** Issues a nonce and gives what to sign; the database refuses with an AK... SQLSTATE. */
export async function beginDecision(
  client: SqlClient,
  reportId: string,
  meaning: Meaning,
  who: { readonly email: string; readonly previous: string | null },
): Promise<DecisionRequest> {
  const row = await queryOne(
    client,
    z.object({ request: decisionRequestSchema }),
    'select compliance.begin_decision($1::uuid, $2::text, $3::text, $4::text) as request',
    [reportId, meaning, who.email, who.previous],
  );
  return row.request;
}

const statusSchema = z.enum(['draft', 'pending_review', 'reviewed', 'approved', 'archived']);

/** Stores a signed decision and moves the report; gives its new status. */
export async function insertDecision(client: SqlClient, decision: StoredDecision): Promise<ReportVersion['status']> {
  const row = await queryOne(
    client,
    z.object({ status: statusSchema }),
    'select compliance.record_decision($1::text, $2::text, $3::text) as status',
    [decision.payload, decision.comment, decision.signature],
  );
  return row.status;
}

/** The root of a report's versions, or null when there is no such report. */
export async function readReportRoot(client: SqlClient, reportId: string): Promise<string | null> {
  const row = await queryMaybe(
    client,
    z.object({ report_root: z.string() }),
    'select report_root from audit.compliance_reports where id = $1::uuid',
    [reportId],
  );
  return row?.report_root ?? null;
}

const versionRowSchema = z.object({
  id: z.string(),
  version: z.number(),
  reportHash: z.string(),
  reviewPdfSha256: z.string(),
  interim: z.boolean(),
  generatedBy: z.string(),
  approvers: z.number(),
  status: statusSchema,
  reviewedBy: z.string().nullable(),
  approvedBy: z.string().nullable(),
});

export function readVersions(client: SqlClient, root: string): Promise<ReportVersion[]> {
  return queryRows(
    client,
    versionRowSchema,
    `select r.id, r.version, r.report_hash as "reportHash", r.review_pdf_sha256 as "reviewPdfSha256", r.interim,
            g.email as "generatedBy", coalesce(q.approvers, 1) as approvers, r.status, v.email as "reviewedBy", a.email as "approvedBy"
       from audit.compliance_reports r
       left join compliance.report_quorum q on q.report_id = r.id
       join compliance.person g on g.id = r.generated_by
       left join compliance.person v on v.id = r.reviewed_by
       left join compliance.person a on a.id = r.approved_by
      where r.report_root = $1::uuid order by r.version`,
    [root],
  );
}

const decisionRowSchema = z.object({ payload: z.string(), signature: z.string(), comment: z.string().nullable() });

export function readStoredDecisions(client: SqlClient, root: string): Promise<StoredDecision[]> {
  return queryRows(
    client,
    decisionRowSchema,
    `select d.payload, d.signature, d.comment from compliance.decision d
      where d.object_root = $1::uuid order by d.sequence`,
    [root],
  );
}

/** One decision, or null. */
export function findStoredDecision(client: SqlClient, id: string): Promise<StoredDecision | null> {
  return queryMaybe(
    client,
    decisionRowSchema,
    'select d.payload, d.signature, d.comment from compliance.decision d where d.id = $1::uuid',
    [id],
  );
}

export interface Distribution {
  readonly reportId: string;
  readonly recipient: string;
  readonly ageRecipient: string;
  readonly purpose: string;
  readonly variant: 'full' | 'redacted';
  readonly bundleSha256: string;
  readonly sha256: string;
  readonly by: string;
}

/** Logs a distribution and marks the report; gives its id. */
export async function insertDistribution(client: SqlClient, entry: Distribution): Promise<string> {
  const row = await queryOne(
    client,
    z.object({ id: z.string() }),
    `select compliance.record_distribution($1::uuid, $2::text, $3::text, $4::text, $5::text, $6::text, $7::text,
                                           $8::text) as id`,
    [
      entry.reportId,
      entry.recipient,
      entry.ageRecipient,
      entry.purpose,
      entry.variant,
      entry.bundleSha256,
      entry.sha256,
      entry.by,
    ],
  );
  return row.id;
}

/** Whether the log has a file of this hash. */
export async function isDistributed(client: SqlClient, sha256: string): Promise<boolean> {
  const row = await queryOne(
    client,
    z.object({ logged: z.boolean() }),
    'select exists (select from compliance.distribution d where d.sha256 = $1::text) as logged',
    [sha256],
  );
  return row.logged;
}

/** The audit events of the roots' decisions and of all acts of the register, with their places in the chain. */
export async function readAnchors(client: SqlClient, roots: readonly string[]): Promise<Anchors> {
  const rows = await queryRows(
    client,
    z.object({
      decision: z.string().nullable(),
      payloadSha256: z.string().nullable(),
      act: z.string().nullable(),
      seq: z.bigint().nullable(),
    }),
    `select e.additional_data->>'decisionId' as decision, e.additional_data->>'payloadSha256' as "payloadSha256",
            e.additional_data->>'actSha256' as act, l.seq
       from audit.audit_log_all e
       left join audit.chain_link l on l.event_id = e.id and l.event_timestamp = e.event_timestamp
      where (e.resource_type = 'compliance_report' and e.resource_id in
               (select r.id::text from audit.compliance_reports r where r.report_root = any ($1::uuid[])))
         or e.event_type in ('person.init', 'person.changed')
      order by l.seq desc nulls first`,
    [roots],
  );
  const decisions = new Map<string, { payloadSha256: string; seq: bigint | null }>();
  const acts = new Map<string, bigint | null>();
  // The first place counts, where somebody wrote an event twice.
  for (const { decision, payloadSha256, act, seq } of rows) {
    if (decision !== null && payloadSha256 !== null) decisions.set(decision, { payloadSha256, seq });
    if (act !== null) acts.set(act, seq);
  }
  return { decisions, acts };
}
