/** The roles that a person may have in decisions. Authority is here, not in the roles that applications hand out. */
export const ROLES = [
  'preparer',
  'reviewer',
  'approver',
  'records_manager',
  'legal',
  'policy_owner',
  'key_officer',
] as const;
export type Role = (typeof ROLES)[number];

/** Who acts where no person does (migration 0040): generates scheduled reports, and neither submits nor decides. */
export const SERVICE_PERSON = 'engine@auditkeep.invalid';
