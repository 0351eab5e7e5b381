/** A retention policy as canonical JSON: what is stored, hashed and signed. Pure. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { canonicalJson } from '../canonical-json.ts';
import { toInstant } from '../time/clock.ts';
import { addPeriod, describePeriod, type Period } from '../time/period.ts';
import { FAMILIES, type PolicyRule, type RetentionPolicy } from './policy.ts';

const POLICY_FORMAT = 'auditkeep-retention-policy/v1';
const FOR_EVER = 'forever';

/** `2 years`, `30 days`. */
const periodSchema = z.string().transform((text, check): Period => {
  const period = parsePeriod(text);
  return period ?? notAPeriod(text, check);
});

/** A period, or `forever`: null. */
const ageSchema = z.string().transform((text, check): Period | null => {
  return text === FOR_EVER ? null : (parsePeriod(text) ?? notAPeriod(text, check));
});

function notAPeriod(text: string, check: z.core.$RefinementCtx<string>): never {
  check.addIssue({ code: 'custom', message: `'${text}' is no period: write 30 days, 18 months or 7 years` });
  return z.NEVER;
}

/** Reads `7 years`; null for anything else, also for zero, negative and absurd ones. */
function parsePeriod(text: string): Period | null {
  const match = /^([1-9]\d{0,5}) (day|month|year)s?$/.exec(text.trim());
  const [, digits, unit] = match ?? [];
  if (digits === undefined || (unit !== 'day' && unit !== 'month' && unit !== 'year')) return null;
  const count = Number(digits);
  return count > MOST[unit] ? null : { unit, count };
}

/** Two hundred years. */
const MOST = { day: 73_000, month: 2400, year: 200 } as const;

const ANCHOR = toInstant(Date.UTC(2000, 0, 1));

/** To compare periods of different units: what they come to from 1 January 2000 on, as retention.policy_shortens does. */
export function lengthOf(period: Period): number {
  return period.count === 0 ? 0 : addPeriod(ANCHOR, period) - ANCHOR;
}

/** Ages as stored: the text, or `forever`. */
export function ageText(age: Period | null): string {
  return age === null ? FOR_EVER : describePeriod(age);
}

const clause = z.string().trim().min(1).max(500);
const minimumSchema = z.strictObject({
  period: periodSchema,
  clause,
  legalBasis: clause.nullable().default(null),
});
const maximumSchema = z.strictObject({ period: periodSchema, clause });

export const ruleSchema = z.strictObject({
  table: z.enum(FAMILIES),
  category: z.string().nullable(),
  interval: z.enum(['day', 'month']),
  premake: periodSchema,
  hot: ageSchema,
  archive: ageSchema,
  cold: periodSchema.nullable(),
  disposition: z.enum(['keep', 'purge']),
  minimum: minimumSchema.nullable(),
  maximum: maximumSchema.nullable(),
  rowDays: z.string().nullable(),
  citation: clause,
});

export const limitsSchema = z.strictObject({
  units: z.int().min(1).max(10_000),
  rows: z.int().min(1),
  percent: z.int().min(1).max(100),
  coolingOffHours: z.int().min(1).max(720),
  approvalHours: z.int().min(1).max(168),
});

const documentSchema = z.strictObject({
  format: z.literal(POLICY_FORMAT),
  limits: limitsSchema,
  rules: z.array(ruleSchema),
});

/** The canonical text of a policy. */
export function policyText(policy: RetentionPolicy): string {
  return canonicalJson({
    format: POLICY_FORMAT,
    limits: { ...policy.limits },
    rules: policy.rules.map(ruleDocument),
  });
}

/** One rule as it stands in the document. */
export function ruleDocument(rule: PolicyRule) {
  const { minimum, maximum } = rule;
  return {
    table: rule.table,
    category: rule.category,
    interval: rule.interval,
    premake: describePeriod(rule.premake),
    hot: ageText(rule.hot),
    archive: ageText(rule.archive),
    cold: rule.cold === null ? null : describePeriod(rule.cold),
    disposition: rule.disposition,
    minimum: minimum === null ? null : { ...minimum, period: describePeriod(minimum.period) },
    maximum: maximum === null ? null : { ...maximum, period: describePeriod(maximum.period) },
    rowDays: rule.rowDays,
    citation: rule.citation,
  };
}

/** Reads a stored policy. @throws ZodError, SyntaxError: what is stored was checked, so anything else is a bug */
export function parsePolicyText(text: string): RetentionPolicy {
  const { rules, limits } = documentSchema.parse(JSON.parse(text));
  return { rules, limits };
}

/** SHA-256 of the canonical text, hex. */
export function policyHash(policy: RetentionPolicy): string {
  return createHash('sha256').update(policyText(policy), 'utf8').digest('hex');
}
