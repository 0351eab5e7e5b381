/**
 * Where events lie: the one list that sealing, verification, proofs and bundles read. A further place is one more line,
 * with a table that shows every event there (a partitioned table, or one that others inherit from).
 */

interface EventOrigin {
  /** `schema.table`; its rows and those of all its descendants are events. */
  readonly table: string;
  /** Whether events come into being there; elsewhere only sealed ones arrive. */
  readonly born: boolean;
}

const EVENT_ORIGINS: readonly EventOrigin[] = [
  { table: 'audit.audit_log', born: true },
  { table: 'audit.audit_log_archive', born: false },
  { table: 'audit.audit_log_late', born: true },
  { table: 'quarantine.audit_log', born: false },
];

/** Every table of events. */
export const EVENT_TABLES: readonly string[] = EVENT_ORIGINS.map(({ table }) => table);

/** Where events are that the sealer has not seen: archived ones were linked before they were moved. */
export const UNSEALED_TABLES: readonly string[] = EVENT_ORIGINS.filter(({ born }) => born).map(({ table }) => table);
