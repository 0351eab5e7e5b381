/** Which witnesses this installation asks and how many of them make a checkpoint anchored. */
import type { Config } from '../../config.ts';
import { AuditkeepError } from '../../errors.ts';
import { COSIGNATURE_TYPE, keyId, parseVerifierKey, type VerifierKey } from '../tree/checkpoint.ts';

export interface Witness {
  /** The configured verifier key, which names the witness in the signer's store. */
  readonly vkey: string;
  readonly key: VerifierKey;
  /** 8 hex digits. */
  readonly keyId: string;
  /** Submission prefix without a slash at its end. */
  readonly url: string;
}

export interface WitnessPolicy {
  readonly witnesses: readonly Witness[];
  /** How many must have cosigned; 0 without witnesses. */
  readonly quorum: number;
  /** For each request. */
  readonly timeoutMs: number;
}

/**
 * The policy of a configuration.
 * @throws CONFIG_INVALID when a verifier key is malformed or given twice, under whatever name: it would count twice
 */
export function witnessPolicy(
  config: Pick<Config, 'witnesses' | 'witnessQuorum' | 'witnessTimeoutSeconds'>,
): WitnessPolicy {
  const witnesses = config.witnesses.map(({ vkey, url }) => readWitness(vkey, url));
  const keys = witnesses.map(({ key }) => key.publicKey.export({ format: 'der', type: 'spki' }).toString('hex'));
  if (new Set(keys).size < keys.length) throw badWitness('two witnesses have one key', undefined);
  return {
    witnesses,
    quorum: config.witnessQuorum ?? witnesses.length,
    timeoutMs: config.witnessTimeoutSeconds * 1000,
  };
}

function readWitness(vkey: string, url: string): Witness {
  try {
    const key = parseVerifierKey(vkey, COSIGNATURE_TYPE);
    return { vkey, key, keyId: keyId(key, COSIGNATURE_TYPE).toString('hex'), url: url.replace(/\/+$/, '') };
  } catch (cause) {
    throw badWitness(`the witness key ${vkey} cannot be read`, cause);
  }
}

function badWitness(message: string, cause: unknown): AuditkeepError {
  return new AuditkeepError('CONFIG_INVALID', {
    message: `witnesses: ${message}`,
    hint: 'use the line that auditkeep witness init printed',
    cause,
  });
}
