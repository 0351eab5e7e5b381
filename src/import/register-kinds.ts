/** What a row of each register may say (migration 0131); anything else is rejected with its file and line. */
import { z } from 'zod';
import { toInstant } from '../time/clock.ts';
import { parseEventTime } from './field.ts';

const TOO_LONG = 'too long';
const ANY_TIME = toInstant(8.64e15);

const short = (max: number) =>
  z
    .string()
    .min(1)
    .max(max, TOO_LONG)
    .refine((value) => value.trim() === value);
const id = short(128);
/** An account: its id, or the name by which the source knows it. */
const account = short(256);
const text = short(2000);
const country = z.string().regex(/^[A-Z]{2}$/);
/** ISO 8601 with a zone. */
const instant = z.string().refine(isInstant);
const day = z.iso.date();
const bool = z.union([z.boolean(), z.enum(['true', 'false']).transform((value) => value === 'true')]);
/** CSV gives digits. */
const whole = (max: number) =>
  z.union([
    z.int().min(0).max(max),
    z
      .string()
      .regex(/^\d{1,16}$/)
      .transform(Number)
      .refine((value) => value <= max),
  ]);
const count = whole(2 ** 31 - 1);
const size = whole(Number.MAX_SAFE_INTEGER);

function optional<T extends z.ZodType>(schema: T) {
  return schema.nullable().optional();
}

function isInstant(value: string): boolean {
  try {
    parseEventTime(value, ANY_TIME, 'instant');
    return true;
  } catch {
    return false; // the caller names the field
  }
}

/** The registers: their columns, in the order of docs/guide/registers.md. Columns that may be absent are nullable. */
export const REGISTER_KINDS = {
  access_request: z.strictObject({
    request_id: id,
    account: account,
    role_name: id,
    requested_by: account,
    requested_at: instant,
    decision: z.enum(['pending', 'approved', 'rejected']),
    approved_by: optional(account),
    approved_at: optional(instant),
    granted_at: optional(instant),
  }),
  termination: z.strictObject({
    account: account,
    left_at: instant,
    reason: z.enum(['left', 'dismissed', 'moved', 'contract-ended']),
    access_ended_at: optional(instant),
  }),
  access_review: z.strictObject({
    review_id: id,
    scope: text,
    period_start: day,
    period_end: day,
    reviewer: account,
    started_at: instant,
    completed_at: optional(instant),
  }),
  access_review_item: z.strictObject({
    review_id: id,
    account: account,
    role_name: id,
    outcome: z.enum(['keep', 'revoke']),
    reviewed_by: account,
    reviewed_at: instant,
    revoked_at: optional(instant),
  }),
  duty_conflict: z.strictObject({
    role_a: id,
    role_b: id,
    reason: text,
    valid_from: instant,
    valid_until: optional(instant),
  }),
  emergency_access: z.strictObject({
    access_id: id,
    account: account,
    reason: text,
    started_at: instant,
    ended_at: optional(instant),
    approved_by: optional(account),
    approved_at: optional(instant),
    reviewed_by: optional(account),
    reviewed_at: optional(instant),
  }),
  change_request: z.strictObject({
    change_id: id,
    change_kind: z.enum(['standard', 'normal', 'emergency']),
    object_table: optional(id),
    object_id: optional(id),
    requested_by: account,
    requested_at: instant,
    approved_by: optional(account),
    approved_at: optional(instant),
    implemented_by: optional(account),
    window_start: optional(instant),
    window_end: optional(instant),
    tested: optional(bool),
  }),
  backup_run: z.strictObject({
    system: id,
    started_at: instant,
    finished_at: optional(instant),
    outcome: z.enum(['success', 'partial', 'failure']),
    size_bytes: optional(size),
    encrypted: optional(bool),
  }),
  restore_test: z.strictObject({
    system: id,
    tested_at: instant,
    outcome: z.enum(['success', 'partial', 'failure']),
    backup_started_at: optional(instant),
    duration_minutes: optional(count),
    tested_by: account,
  }),
  incident: z.strictObject({
    incident_id: id,
    severity: z.enum(['low', 'medium', 'high', 'critical']),
    occurred_at: optional(instant),
    aware_at: instant,
    resolved_at: optional(instant),
    personal_data: bool,
    risk: optional(z.enum(['none', 'risk', 'high'])),
    persons_affected: optional(count),
    authority_notified_at: optional(instant),
    persons_notified_at: optional(instant),
    media_notified_at: optional(instant),
  }),
  disclosure: z.strictObject({
    disclosure_id: id,
    subject: account,
    disclosed_at: instant,
    recipient: text,
    purpose: text,
    description: text,
  }),
  processing_activity: z.strictObject({
    activity_id: id,
    name: text,
    controller: text,
    purpose: text,
    legal_basis: z.enum([
      'consent',
      'contract',
      'legal-obligation',
      'vital-interests',
      'public-task',
      'legitimate-interests',
    ]),
    data_categories: text,
    subject_categories: text,
    recipients: optional(text),
    retention: text,
    security_measures: text,
    active: bool,
    reviewed_at: instant,
  }),
  processor_agreement: z.strictObject({
    agreement_id: id,
    processor: text,
    activity_id: optional(id),
    signed_at: instant,
    expires_at: optional(instant),
    ended_at: optional(instant),
  }),
  dpia: z.strictObject({
    dpia_id: id,
    activity_id: id,
    required: bool,
    outcome: z.enum(['open', 'accepted', 'consult-authority', 'rejected']),
    completed_at: optional(instant),
    reviewed_by: optional(account),
  }),
  transfer: z.strictObject({
    transfer_id: id,
    activity_id: id,
    recipient: text,
    country: country,
    mechanism: z.enum(['adequacy', 'standard-clauses', 'binding-rules', 'derogation']),
    assessed_at: optional(instant),
    valid_until: optional(instant),
  }),
  training: z.strictObject({
    account: account,
    course: id,
    completed_at: instant,
    expires_at: optional(instant),
  }),
  auth_baseline: z.strictObject({
    setting: id,
    required_value: id,
    valid_from: instant,
    valid_until: optional(instant),
    approved_by: account,
  }),
} as const satisfies Readonly<Record<string, z.ZodType>>;

export type RegisterKind = keyof typeof REGISTER_KINDS;

/** Whether a name is that of a register that files are imported into. */
export function isRegisterKind(name: string): name is RegisterKind {
  return Object.hasOwn(REGISTER_KINDS, name);
}

/** Their names, as `import register` takes them. */
export const REGISTER_NAMES: readonly string[] = Object.keys(REGISTER_KINDS);
