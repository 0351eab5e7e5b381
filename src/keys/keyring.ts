/** The key ring as the rest of the product sees it: seal and open cells, derive with named secrets. */
import type { SealKey } from './seal-key.ts';

/** The place a cell belongs to; a cell that is moved elsewhere does not open (docs/spec/envelope-v1.md). */
export interface CellContext {
  /** Logical table, for example `security_confidential.transactions`: the same in hot, archive and late. */
  readonly table: string;
  readonly column: string;
  readonly rowId: string;
  readonly dataClass: DataClass;
}

export type DataClass = 'internal' | 'confidential' | 'secret';

/** Long-lived secrets with one purpose each. */
export type SecretPurpose = 'pseudonym' | 'import-id' | 'report-pseudonym' | 'subject-ref';

export interface NamedSecret {
  /** 16 hex digits. */
  readonly keyId: string;
  /** 32 bytes. */
  readonly key: Uint8Array;
}

/**
 * Seals cells about natural persons, each under today's epoch key and the person's own key.
 * @returns null when the person's key was destroyed, or is about to be: nothing is encrypted for them any more
 * @throws RangeError for a person it was not asked for
 */
type SubjectSealer = (person: string, context: CellContext, plaintext: Uint8Array) => string | null;

export interface SealedCell {
  readonly context: CellContext;
  readonly envelope: string;
}

export interface Keyring {
  /**
   * A synchronous sealer under today's active epoch key of a data class; made once per batch, so that a key revoked
   * meanwhile seals no later one.
   * @param cells how many cells it may seal, counted beforehand; one more is a RangeError. Default: 16,384.
   */
  sealer(dataClass: DataClass, cells?: number): Promise<(context: CellContext, plaintext: Uint8Array) => string>;
  /**
   * A sealer for these persons, one cell each; who has no key yet gets one. Made once per batch: a key that is destroyed
   * meanwhile seals no later one. Some thousands of persons a batch.
   * @param persons as the facts name them: the id of an account, or the actor key of who has none
   * @throws KEY_REVOKED for a key that is neither in use nor destroyed
   */
  subjectSealer(dataClass: DataClass, persons: readonly string[]): Promise<SubjectSealer>;
  /**
   * Opens an envelope.
   * @throws KEY_UNKNOWN, KEY_DESTROYED, CONTEXT_MISMATCH, TAMPERED
   */
  open(context: CellContext, envelope: string): Promise<Uint8Array>;
  /**
   * Opens many cells; null stands for one whose person's key was destroyed. What the database says of subject keys now counts:
   * they are read for each call and not kept.
   * @throws as open, but for KEY_DESTROYED of a subject key
   */
  openEach(cells: readonly SealedCell[]): Promise<(Uint8Array | null)[]>;
  /** The secret of a purpose, created on first use. */
  secret(purpose: SecretPurpose): Promise<NamedSecret>;
  /**
   * The key by which the organisation seals reports.
   * @param mayCreate false where the database knows a certificate that the product made: its key has to be there
   * @throws SEAL_KEY_MISSING, SEAL_KEY_INVALID, KEY_FILE_MODE, KEY_FILE_PLACE
   */
  sealKey(mayCreate: boolean): Promise<SealKey>;
}
