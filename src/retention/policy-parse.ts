/** The `retention:` section of auditkeep.yaml over the built-in rules: what it leaves out stays as it is. Pure. */
import { z } from 'zod';
import { AuditkeepError } from '../errors.ts';
import { nearestName } from '../nearest-name.ts';
import { BUILT_IN_POLICY, branchLabel, FAMILIES, type PolicyRule, type RetentionPolicy } from './policy.ts';
import { checkPolicy, type PolicyProblem } from './policy-check.ts';
import { limitsSchema, ruleSchema } from './policy-document.ts';

const entrySchema = ruleSchema.partial().extend({ table: z.string(), category: z.string().nullable().default(null) });
const sectionSchema = z.strictObject({
  rules: z.array(entrySchema).max(100).default([]),
  limits: limitsSchema.partial().default({}),
});

/**
 * The policy that a section asks for.
 * @param section as YAML gives it; null is the built-in policy
 * @throws POLICY_INVALID naming the rule, and what is wrong with it
 */
export function parsePolicySection(section: unknown): { policy: RetentionPolicy; problems: readonly PolicyProblem[] } {
  const parsed = sectionSchema.safeParse(section ?? {});
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw invalid(`retention.${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'is malformed'}`);
  }
  const { rules: entries, limits } = parsed.data;
  for (const entry of entries) requireKnown(entry);
  const labels = entries.map(labelOf);
  const twice = labels.find((label, at) => labels.indexOf(label) < at);
  if (twice !== undefined) throw invalid(`retention.rules: ${twice} has two rules`);
  const rules = BUILT_IN_POLICY.rules.map((rule): PolicyRule => {
    const entry = entries.find((candidate) => labelOf(candidate) === branchLabel(rule));
    return entry === undefined ? rule : { ...rule, ...definedOnly(entry), table: rule.table, category: rule.category };
  });
  const policy = { rules, limits: { ...BUILT_IN_POLICY.limits, ...definedOnly(limits) } };
  const problems = checkPolicy(policy);
  const mistake = problems.find((problem) => problem.kind === 'mistake');
  if (mistake !== undefined) throw invalid(`${mistake.branch}: ${mistake.what}`);
  return { policy, problems };
}

function labelOf(entry: { table: string; category: string | null }): string {
  return entry.category === null ? entry.table : `${entry.table}/${entry.category}`;
}

function requireKnown(entry: { table: string; category: string | null }): void {
  const known = BUILT_IN_POLICY.rules.map(branchLabel);
  const label = labelOf(entry);
  if (known.includes(label)) return;
  const nearest = nearestName(label, known);
  throw new AuditkeepError('POLICY_INVALID', {
    message: `retention.rules: ${label} is no table or category under retention`,
    hint: nearest === null ? `there are ${FAMILIES.join(', ')}` : `did you mean ${nearest}?`,
  });
}

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

function definedOnly<T extends object>(value: T): Defined<T> {
  return Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined)) as Defined<T>;
}

function invalid(message: string): AuditkeepError {
  return new AuditkeepError('POLICY_INVALID', {
    message,
    hint: 'correct the retention section of auditkeep.yaml; `auditkeep policy show` prints what is in force',
  });
}
