/** The audit module's queries on events: one function each. Those on the chain are in chain-store.ts. */
import type { SqlClient } from '../../db/database.ts';
import { execute } from '../../db/query.ts';

/** The columns of audit.audit_log that the engine's own events fill. */
export interface NewEvent {
  readonly id: string;
  /** ISO 8601. */
  readonly eventTimestamp: string;
  readonly eventType: string;
  readonly eventCategory: string;
  readonly eventAction: string;
  readonly userEmail: string | null;
  readonly resourceType: string;
  readonly resourceId: string | null;
  readonly result: string;
  readonly serviceName: string;
  /** JSON text. */
  readonly additionalData: string;
}

/** Inserts one event; salts, txid and hash_version are the table's own defaults. */
export async function insertEvent(client: SqlClient, event: NewEvent): Promise<void> {
  await execute(
    client,
    `insert into audit.audit_log (id, event_timestamp, event_type, event_category, event_action, user_email,
                                  resource_type, resource_id, result, service_name, additional_data)
     values ($1::uuid, $2::timestamptz, $3::text, $4::text, $5::text, $6::text,
             $7::text, $8::text, $9::text, $10::text, $11::jsonb)`,
    [
      event.id,
      event.eventTimestamp,
      event.eventType,
      event.eventCategory,
      event.eventAction,
      event.userEmail,
      event.resourceType,
      event.resourceId,
      event.result,
      event.serviceName,
      event.additionalData,
    ],
  );
}
