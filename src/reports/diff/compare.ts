/** Two reports of one framework side by side: what is new, fixed or recurring. Pure. */
import { AuditkeepError } from '../../errors.ts';
import type { ComparableControl, ComparableReport } from './comparable.ts';
import { compareExceptions, type ExceptionsDiff } from './exceptions.ts';

interface Sides<T> {
  readonly a: T;
  readonly b: T;
}

export interface ReportDiff extends Sides<ComparedReport> {
  /** In the order of their ids. */
  readonly controls: readonly ControlDiff[];
  readonly requirements: readonly RequirementDiff[];
}

interface ComparedReport {
  readonly id: string;
  readonly version: number;
  readonly framework: string;
  readonly frameworkVersion: number;
  readonly periodStart: string;
  readonly periodEnd: string;
  readonly interim: boolean;
  readonly opinion: string;
  readonly hash: string;
}

/**
 * new: fails in B alone. recurring: fails in both. fixed: failed, and passes now. waived: failed, and passes by waivers. undecided:
 * failed, and B does not show that it passes. added, removed: in one report only. changed: another status, neither of them fail.
 */
export type ControlOutcome =
  | 'new'
  | 'recurring'
  | 'fixed'
  | 'waived'
  | 'undecided'
  | 'added'
  | 'removed'
  | 'changed'
  | 'same';

export interface ControlDiff {
  readonly id: string;
  readonly title: string;
  readonly outcome: ControlOutcome;
  readonly status: Sides<string | null>;
  readonly templateVersion: Sides<number | null>;
  /** Whether the control asks something else in B: its template or the values of its parameters differ. */
  readonly templateChanged: boolean;
  readonly population: Sides<number | null>;
  readonly exceptions: ExceptionsDiff;
}

interface RequirementDiff {
  readonly id: string;
  readonly citation: string;
  readonly status: Sides<string | null>;
}

/** Compares A with B, where A is the one before. @throws REPORT_INCOMPARABLE for reports of two frameworks */
export function compareReports(a: ComparableReport, b: ComparableReport): ReportDiff {
  if (a.framework.id !== b.framework.id) {
    throw new AuditkeepError('REPORT_INCOMPARABLE', {
      message: `a report of ${a.framework.id} cannot be compared with one of ${b.framework.id}`,
      hint: 'compare two reports of one framework',
    });
  }
  return {
    a: comparedReport(a),
    b: comparedReport(b),
    controls: pairs(a.controls, b.controls).map(([one, other]) => compareControl(one, other)),
    requirements: pairs(a.requirements, b.requirements).map(([one, other]) => ({
      id: one?.id ?? other?.id ?? '',
      citation: other?.citation ?? one?.citation ?? '',
      status: { a: one?.status ?? null, b: other?.status ?? null },
    })),
  };
}

function comparedReport({ report, framework, period, opinion, hash }: ComparableReport): ComparedReport {
  return {
    id: report.id,
    version: report.version,
    framework: framework.id,
    frameworkVersion: framework.version,
    periodStart: period.startDate,
    periodEnd: period.endDate,
    interim: period.interim,
    opinion,
    hash,
  };
}

/** What has the same id in both; null where one has none. */
function pairs<T extends { readonly id: string }>(a: readonly T[], b: readonly T[]): [T | null, T | null][] {
  const byId = (list: readonly T[]) => new Map(list.map((entry) => [entry.id, entry]));
  const [inA, inB] = [byId(a), byId(b)];
  const ids = [...new Set([...inA.keys(), ...inB.keys()])].sort();
  return ids.map((id) => [inA.get(id) ?? null, inB.get(id) ?? null]);
}

function compareControl(a: ComparableControl | null, b: ComparableControl | null): ControlDiff {
  return {
    id: a?.id ?? b?.id ?? '',
    title: b?.title ?? a?.title ?? '',
    outcome: outcomeOf(a?.status ?? null, b?.status ?? null),
    status: { a: a?.status ?? null, b: b?.status ?? null },
    templateVersion: { a: a?.version ?? null, b: b?.version ?? null },
    templateChanged: a !== null && b !== null && questionOf(a) !== questionOf(b),
    population: { a: a?.population.count ?? null, b: b?.population.count ?? null },
    exceptions: compareExceptions(a, b),
  };
}

function questionOf({ ipe }: ComparableControl): string {
  return JSON.stringify([ipe.templateSha256, ipe.parameters.map(({ name, value }) => [name, value])]);
}

function outcomeOf(a: string | null, b: string | null): ControlOutcome {
  if (a === null) return 'added';
  if (b === null) return 'removed';
  if (b === 'fail') return a === 'fail' ? 'recurring' : 'new';
  if (a === b) return 'same';
  if (a !== 'fail') return 'changed';
  if (b === 'pass') return 'fixed';
  return b === 'pass_with_waiver' ? 'waived' : 'undecided';
}
