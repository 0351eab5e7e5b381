/**
 * Wraps a key so that it opens only as what it is: the payload is the key and the SHA-256 of its context, under
 * RFC 3394 key wrap, which every provider has (docs/decisions on key wrapping).
 */
import { Buffer } from 'node:buffer';
import { createHash, timingSafeEqual } from 'node:crypto';
import { AuditkeepError } from '../errors.ts';
import { frame } from './frame.ts';
import type { KekName, KekProvider } from './providers/provider.ts';

const LABEL = 'auditkeep/key-wrap/v1';

/** What a wrapped key is; the same key under another id, purpose or kind does not open. */
export interface WrapContext {
  readonly keyId: string;
  readonly purpose: string;
  readonly kind: 'primary' | 'recovery' | 'escrow';
}

/** 72 bytes. @throws the provider's codes */
export function wrapKey(provider: KekProvider, kek: KekName, key: Uint8Array, context: WrapContext): Promise<Buffer> {
  if (key.length !== 32) throw new RangeError('a key has 32 bytes');
  return provider.wrap(kek, Buffer.concat([key, contextDigest(context)]));
}

/** The 32 bytes of the key. @throws TAMPERED when the wrap was altered or belongs to another key; the provider's codes */
export async function unwrapKey(
  provider: KekProvider,
  kek: KekName,
  wrapped: Uint8Array,
  context: WrapContext,
): Promise<Buffer> {
  const payload = await provider.unwrap(kek, wrapped);
  if (payload.length === 64 && timingSafeEqual(payload.subarray(32), contextDigest(context))) {
    return payload.subarray(0, 32);
  }
  throw new AuditkeepError('TAMPERED', {
    message: `the wrap of key ${context.keyId} belongs to another key`,
    hint: 'restore security_secret.key_wrap from a backup',
    details: { keyId: context.keyId },
  });
}

function contextDigest({ keyId, purpose, kind }: WrapContext): Buffer {
  return createHash('sha256')
    .update(frame(LABEL, keyId, purpose, kind))
    .digest();
}
