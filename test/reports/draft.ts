/** Drafts for tests, inserted as the engine does it. */
import { createHash, randomUUID } from 'node:crypto';
import { z } from 'zod';
import { canonicalJson } from '../../src/canonical-json.ts';
import type { Context } from '../../src/context.ts';
import { execute, queryOne } from '../../src/db/query.ts';
import { inTransaction } from '../../src/db/transaction.ts';
import { SERVICE_PERSON } from '../../src/persons/roles.ts';
import { findReport, reportCell } from '../../src/reports/model/read.ts';

export interface DraftOptions {
  readonly generatedBy?: string | null;
  readonly interim?: boolean;
  readonly supersedes?: string | null;
  readonly id?: string;
  readonly approvers?: number;
  /** What the row states where it is not what the model says: what an engine that lies would insert. */
  readonly claim?: { readonly generatedBy?: string | null; readonly interim?: boolean; readonly approvers?: number };
}

/** Inserts a draft whose model says little, and whose PDF is not one; gives its id. */
export async function insertDraft(ctx: Pick<Context, 'db' | 'keys'>, options: DraftOptions = {}): Promise<string> {
  const id = options.id ?? randomUUID();
  const supersedes = options.supersedes ?? null;
  const model = Buffer.from(canonicalJson(await modelOf(ctx, id, options)), 'utf8');
  const claim = { generatedBy: options.generatedBy, interim: options.interim, ...options.claim };
  const hash = createHash('sha256').update(model).digest('hex');
  const envelope = (await ctx.keys.sealer('confidential'))(reportCell(id), model);
  await inTransaction(ctx.db, async (client) => {
    await queryOne(
      client,
      z.object({ version_number: z.number() }),
      `select version_number from audit.create_report(
         $1::uuid, 'periodic', 'SOX', '2026-01-01', '2026-03-31', 'UTC', '2026-01-01T00:00:00Z', '2026-04-01T00:00:00Z',
         $7::text, $2::text, $3::text, $4::text, '2026-04-02T00:00:00Z', 12, '0.1.0', $5::boolean, $6::uuid)`,
      [id, hash, hash, claim.generatedBy ?? null, claim.interim ?? false, supersedes, envelope],
    );
    const approvers = options.claim?.approvers ?? options.approvers ?? 1;
    if (approvers === 1) return;
    await execute(client, 'select compliance.set_report_quorum($1::uuid, $2::integer)', [id, approvers]);
  });
  return id;
}

async function modelOf(ctx: Pick<Context, 'db'>, id: string, options: DraftOptions) {
  const supersedes = options.supersedes ?? null;
  const previous = supersedes === null ? null : await findReport(ctx, supersedes);
  return {
    format: 'auditkeep-report/v1',
    report: { id, version: (previous?.version ?? 0) + 1 },
    framework: { id: 'SOX', approvers: options.approvers ?? 1 },
    period: {
      startDate: '2026-01-01',
      endDate: '2026-03-31',
      startAt: '2026-01-01T00:00:00.000Z',
      endAt: '2026-04-01T00:00:00.000Z',
      zone: 'UTC',
      interim: options.interim ?? false,
    },
    generated: { by: options.generatedBy ?? SERVICE_PERSON, engineVersion: '0.1.0' },
    controls: [],
    trend: [],
    identities: { count: 0, root: createHash('sha256').digest('hex') },
  };
}
