/** purging -> purged: the certificate is written, journalled outside the database, and recorded with the last edge. */

import { readTuples } from '../audit/copy/tuples.ts';
import { readHead } from '../audit/links/chain-store.ts';
import { leafSource } from '../audit/links/link-source.ts';
import { readLogName } from '../audit/publish/log-name.ts';
import { recordEvent } from '../audit/record/record.ts';
import { openLogKey } from '../audit/signer/signer-store.ts';
import { appendLeaves, EMPTY_FRONTIER, rootOf } from '../audit/tree/merkle.ts';
import type { Context } from '../context.ts';
import type { SqlClient } from '../db/database.ts';
import { transact } from '../db/transaction.ts';
import { AuditkeepError } from '../errors.ts';
import { readInstallationId } from '../persons/store.ts';
import { isoOf, parseInstant, toInstant } from '../time/clock.ts';
import { certificateText, signCertificate } from './certificate.ts';
import { appendJournal, readJournal } from './destruction-journal.ts';
import { textHash } from './hold.ts';
import { wholePeriod } from './policy.ts';
import { ageText } from './policy-document.ts';
import { readPolicyVersions } from './policy-store.ts';
import type { PlanDocument } from './purge-plan.ts';
import {
  type GoingUnit,
  readCertificateId,
  readPlanDecisions,
  recordCertificate,
  type StoredPlan,
} from './purge-store.ts';

type CertifyContext = Pick<Context, 'db' | 'clock' | 'actor' | 'config'>;

const DAY_MS = 24 * 60 * 60 * 1000;

/**
 * Certifies a unit that is purging; durable when it resolves, in the journal before in the database. Killed in between, the
 * next call takes the certificate of the journal, so that one destruction never has two.
 * @returns the certificate's id
 * @throws CERTIFICATE_INVALID, CHAIN_SIGNER_STORE
 */
export function certify(
  ctx: CertifyContext,
  plan: StoredPlan,
  document: PlanDocument,
  unit: GoingUnit,
): Promise<string> {
  const { home } = ctx.config;
  return ctx.db.withClient(async (client) => {
    const id = await readCertificateId(client, plan.plan_id, unit.unit_id);
    const known = (await readJournal(home)).find((entry) => entry.certificate.certificate_id === id);
    const entry = known ?? (await write(ctx, client, { id, plan, document, unit }));
    if (known === undefined) {
      const { document: text, actor, reason } = plan;
      await appendJournal(home, { ...entry, plan: { document: text, actor, reason } });
    }
    await transact(client, async () => {
      await recordCertificate(client, entry.document, entry.signature);
      await recordEvent(ctx, client, {
        type: 'purge.certified',
        category: 'admin',
        action: 'DESTROY',
        resourceType: 'certificate',
        resourceId: id,
        details: {
          certificateSha256: textHash(entry.document),
          planHash: plan.plan_hash,
          partition: unit.relation_name,
          unit: Number(unit.unit_id),
        },
      });
    });
    return id;
  });
}

interface Certifying {
  readonly id: string;
  readonly plan: StoredPlan;
  readonly document: PlanDocument;
  readonly unit: GoingUnit;
}

async function write(
  ctx: CertifyContext,
  client: SqlClient,
  { id, plan, document, unit }: Certifying,
): Promise<{ document: string; signature: string }> {
  const planned = document.units.find((candidate) => BigInt(candidate.unit_id) === unit.unit_id);
  const version = (await readPolicyVersions(client)).find((entry) => entry.version === document.policy.version);
  const rule = version?.policy.rules.find(
    (entry) => entry.table === planned?.table && entry.category === planned.category,
  );
  if (planned === undefined || version === undefined || rule === undefined) throw unknownUnit(unit);
  const { unit_id, action: _, ...what } = planned;
  const { origin } = await readLogName(ctx.config, await readHead(client));
  const text = certificateText({
    certificate_id: id,
    installation_id: await readInstallationId(client),
    origin,
    unit: { id: unit_id, ...what, fingerprint_method: unit.method },
    plan: { id: plan.plan_id, hash: plan.plan_hash },
    policy: {
      version: version.version,
      sha256: version.sha256,
      whole: ageText(wholePeriod(rule)),
      citation: rule.citation,
    },
    verification:
      'rows and fingerprint equal to the manifest in the transaction that dropped the table; table absent afterwards',
    decisions: (await readPlanDecisions(client, plan.plan_id)).map(({ payload, signature }) => ({
      payload,
      signature,
    })),
    seqs: unit.seqs.map(([from, to]) => [Number(from), Number(to)]),
    merkle_root: await rootOfLeaves(client, unit.seqs),
    purged_at: unit.purged_at ?? isoOf(ctx.clock.now()),
    backups_age_out_at: ageOut(unit.purged_at, ctx.config.backupRetentionDays),
  });
  return { document: text, signature: signCertificate(text, await openLogKey(ctx.config.home)) };
}

/** The links stay when their events go, so the leaves are still there to take the root of. */
async function rootOfLeaves(client: SqlClient, seqs: GoingUnit['seqs']): Promise<string | null> {
  if (seqs.length === 0) return null;
  let tree = EMPTY_FRONTIER;
  for (const [from, to] of seqs) {
    for await (const leaves of readTuples(client, leafSource(from, to))) tree = appendLeaves(tree, leaves);
  }
  return rootOf(tree).toString('hex');
}

function ageOut(purgedAt: string | null, days: number | null): string | null {
  const at = purgedAt === null ? null : parseInstant(purgedAt);
  return at === null || days === null ? null : isoOf(toInstant(at + days * DAY_MS));
}

function unknownUnit(unit: GoingUnit): AuditkeepError {
  return new AuditkeepError('CERTIFICATE_INVALID', {
    message: `the plan or the policy of ${unit.relation_name} is not there any more`,
    hint: 'find out who changed the database',
  });
}
