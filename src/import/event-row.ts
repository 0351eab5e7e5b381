/** A row for audit.audit_log, whatever system it comes from. */
import type { EventCategory, EventResult } from '../audit/record/record.ts';
import type { UtcInstant } from '../time/clock.ts';

/** The columns that stay bare in the chain's leaf: closed vocabulary, no personal data. */
export interface BareColumns {
  readonly id: string;
  readonly instant: UtcInstant;
  /** The same instant with microseconds, as PostgreSQL reads it. */
  readonly eventTimestamp: string;
  readonly eventType: string;
  readonly eventCategory: EventCategory;
  readonly eventAction: string;
  readonly requestId: string | null;
  readonly correlationId: string | null;
  readonly resourceType: string | null;
  readonly securityClassification: string;
  readonly dataSensitivity: 'normal' | 'sensitive' | 'highly_sensitive';
  readonly result: EventResult;
  readonly serverName: string | null;
  readonly serviceName: string | null;
  readonly version: string | null;
}

/** The group of columns that tell who acted: personal, committed and erasable together. */
export interface ActorColumns {
  readonly userId: string | null;
  readonly userEmail: string | null;
  readonly userRoles: readonly string[] | null;
  readonly sessionId: string | null;
  readonly ipAddress: string | null;
  readonly userAgent: string | null;
}

/** The group of columns that tell what was done to what: may be personal, committed and erasable together. JSON as text. */
export interface PayloadColumns {
  readonly resourceId: string | null;
  readonly resourcePath: string | null;
  readonly oldValues: string | null;
  readonly newValues: string | null;
  readonly additionalData: string | null;
  readonly errorMessage: string | null;
}

export interface EventRow {
  readonly bare: BareColumns;
  readonly actor: ActorColumns;
  readonly payload: PayloadColumns;
}
