/** What holds key-encryption keys: a file today, an HSM or a cloud service behind the same interface later. */

/** Names a key-encryption key; the database stores both with every wrap. */
export interface KekName {
  /** 16 hex digits. */
  readonly id: string;
  /** 1, 2, ... in the order of rotation. */
  readonly generation: number;
}

/** Why a KEK can be used, or not, without showing anything of it. */
type KekHealth =
  | { readonly kind: 'ready' }
  | { readonly kind: 'unusable'; readonly code: string; readonly message: string };

export interface KekProvider {
  /** The name that encryption_keys.hsm_key_id begins with. */
  readonly name: string;
  /** The newest KEK, made when there is none. For an installation whose database holds no wraps yet. */
  create(): Promise<KekName>;
  /**
   * Wraps 64 bytes into 72 (RFC 3394, AES-256).
   * @throws KEY_MISSING, KEY_FILE_MODE, KEY_FILE_INVALID
   */
  wrap(kek: KekName, payload: Uint8Array): Promise<Buffer>;
  /**
   * Unwraps 72 bytes.
   * @throws TAMPERED when they were not wrapped with this KEK, or altered; KEY_MISSING, KEY_FILE_MODE, KEY_FILE_INVALID
   */
  unwrap(kek: KekName, wrapped: Uint8Array): Promise<Buffer>;
  /** Whether the KEK can be used now. Never throws for a key that cannot. */
  health(kek: KekName): Promise<KekHealth>;
}
