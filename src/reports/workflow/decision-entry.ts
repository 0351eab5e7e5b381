/**
 * Verified decisions in the shapes that leave the database: printed in the final PDF, listed in decisions.json. Both are sealed, so
 * they say what was signed and nothing that may change later, such as that a key was compromised: report.json names those.
 */
import type { JsonValue } from '../../canonical-json.ts';
import type { Meaning } from '../../persons/decision.ts';
import type { DecisionEntry } from '../render/pdf.ts';
import type { ReportDecision } from './decision-check.ts';
import { transitionOf } from './transition.ts';

const WORDS: Readonly<Record<Meaning, string>> = {
  submit: 'Submitted for review',
  review: 'Reviewed',
  reject: 'Rejected',
  recall: 'Review recalled',
  approve: 'Approved',
  'archive-distributed': 'Archived: distributed',
  'archive-superseded': 'Archived: superseded',
  'archive-withdrawn': 'Archived: withdrawn',
};

/** Meaning, name and time as 21 CFR 11.50 wants them printed. */
export function entryOf(decision: ReportDecision): DecisionEntry {
  return {
    meaning: WORDS[decision.meaning],
    name: decision.name,
    email: decision.person,
    role: (transitionOf(decision.meaning, decision.from)?.role ?? '-').replace('_', ' '),
    version: decision.version,
    at: decision.time,
    keyFingerprint: decision.keyFingerprint,
    comment: decision.comment,
    sha256: decision.payloadSha256,
  };
}

/** A decision as decisions.json has it. */
export function jsonOf(decision: ReportDecision): JsonValue {
  return {
    decision_id: decision.id,
    report_id: decision.reportId,
    version: decision.version,
    meaning: decision.meaning,
    from: decision.from,
    to: decision.to,
    person: decision.person,
    name: decision.name,
    time: decision.time,
    comment: decision.comment,
    key_fingerprint: decision.keyFingerprint,
    payload_sha256: decision.payloadSha256,
  };
}
