/**
 * The demo writes made-up history into an append-only log, anonymizes transactions and founds a register with persons
 * of its own. It does so on an empty database, or on one that an earlier demo filled, and on no other.
 */
import { z } from 'zod';
import { recordEvent, SERVICE_NAME } from '../../audit/record/record.ts';
import type { Context } from '../../context.ts';
import { queryOne } from '../../db/query.ts';
import { inTransaction } from '../../db/transaction.ts';
import { AuditkeepError } from '../../errors.ts';

const MARK = 'demo.started';

/** @throws DEMO_REFUSED where a server of the user's own is configured and --apply was not given */
export function requireConsent(ownServer: boolean, apply: boolean): void {
  if (!ownServer || apply) return;
  throw new AuditkeepError('DEMO_REFUSED', {
    message: 'a database of your own is configured, and the demo would fill it with made-up records',
    hint: 'unset DATABASE_URL to use the embedded server, or give --apply on a database made for trying out',
  });
}

/** Marks an empty database as the demo's. @throws DEMO_REFUSED on a database that holds anything else */
export async function claimDatabase(ctx: Pick<Context, 'db' | 'clock' | 'actor'>): Promise<void> {
  await inTransaction(ctx.db, async (client) => {
    const { marked, used } = await queryOne(
      client,
      z.object({ marked: z.boolean(), used: z.boolean() }),
      `select exists (select from audit.audit_log_all e where e.event_type = $1::text) as marked,
              exists (select from audit.audit_log_all e where e.service_name is distinct from $2::text)
              or exists (select from security_confidential.transactions)
              or exists (select from compliance.person_act) as used`,
      [MARK, SERVICE_NAME],
    );
    if (marked) return;
    if (used) {
      throw new AuditkeepError('DEMO_REFUSED', {
        message: 'the database holds records that no demo made',
        hint: 'run the demo on an empty database, for example with another AUDITKEEP_HOME',
      });
    }
    await recordEvent(ctx, client, {
      type: MARK,
      category: 'system',
      action: 'START',
      resourceType: 'demo',
      details: {},
    });
  });
}
