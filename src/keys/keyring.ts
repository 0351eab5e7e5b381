/** The key ring as the rest of the product sees it: seal and open cells, derive with named secrets. */

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
export type SecretPurpose = 'pseudonym' | 'import-id' | 'report-pseudonym';

export interface NamedSecret {
  /** 16 hex digits. */
  readonly keyId: string;
  /** 32 bytes. */
  readonly key: Uint8Array;
}

export interface Keyring {
  /**
   * A synchronous sealer under today's active epoch key of a data class; made once per batch, so that a key revoked
   * meanwhile seals no later one.
   * @param cells how many cells it may seal, counted beforehand; one more is a RangeError. Default: 16,384.
   */
  sealer(dataClass: DataClass, cells?: number): Promise<(context: CellContext, plaintext: Uint8Array) => string>;
  /**
   * Opens an envelope.
   * @throws KEY_UNKNOWN, KEY_DESTROYED, CONTEXT_MISMATCH, TAMPERED
   */
  open(context: CellContext, envelope: string): Promise<Uint8Array>;
  /** The secret of a purpose, created on first use. */
  secret(purpose: SecretPurpose): Promise<NamedSecret>;
}
