/** What retention does to a unit, as an audit event in the transaction that does it. */
import { type EventResult, recordEvent } from '../audit/record/record.ts';
import type { JsonValue } from '../canonical-json.ts';
import type { Context } from '../context.ts';
import type { SqlClient } from '../db/database.ts';

/** Verb of the action column, and the event type that goes with it. */
const STEPS = {
  ADOPT: 'partition.adopted',
  ARCHIVE: 'partition.archived',
  ATTACH: 'partition.attached',
  COLLECT: 'partition.collected',
  DROP: 'partition.dropped',
  EXPIRE: 'partition.expired',
  FAIL: 'partition.failed',
  MERGE: 'partition.merged',
  QUARANTINE: 'partition.quarantined',
  REATTACH: 'partition.reattached',
  REPAIR: 'partition.repaired',
  RESCUE: 'partition.rescued',
  RESTORE: 'partition.restored',
  RETRY: 'partition.retried',
  ROLLUP: 'partition.rolled-up',
  SEAL: 'partition.sealed',
  SPLIT: 'partition.split',
  WITHDRAW: 'partition.withdrawn',
} as const;

export type UnitStep = keyof typeof STEPS;

/** Records a step of the unit whose table is `partition`. */
export async function recordStep(
  ctx: Pick<Context, 'clock' | 'actor'>,
  client: SqlClient,
  step: UnitStep,
  event: {
    readonly partition: string;
    readonly result?: EventResult;
    readonly details: { readonly [key: string]: JsonValue };
  },
): Promise<void> {
  await recordEvent(ctx, client, {
    type: STEPS[step],
    category: 'system',
    action: step,
    resourceType: 'partition',
    resourceId: event.partition,
    details: event.details,
    ...(event.result === undefined ? {} : { result: event.result }),
  });
}
