/** How far the chain is anchored by witnesses: their cosignatures beside the signer's key, each verified again. */
import type { Config } from '../../config.ts';
import { AuditkeepError } from '../../errors.ts';
import { type Finding, finding } from '../links/finding.ts';
import { openCheckpoint, type TreeHead, type VerifierKey } from '../tree/checkpoint.ts';
import { openCosignature } from './cosignature.ts';
import { type Witness, witnessPolicy } from './policy.ts';
import { readWitnessMemory, type WitnessMemory, type WitnessOutcome } from './signer-memory.ts';

/** A witness as status shows it. */
export interface WitnessStatus {
  readonly name: string;
  readonly url: string;
  /** How it ended when it was asked last; null when it never was. */
  readonly outcome: WitnessOutcome | null;
  readonly detail: string;
  /** ISO 8601. */
  readonly askedAt: string | null;
  /** The size that it cosigned last; null when its cosignature is missing or does not verify. */
  readonly cosignedSize: number | null;
  /** Seconds since 1970, by the witness. */
  readonly cosignedAt: number | null;
  /** What an accusing witness claims to have cosigned. */
  readonly claimedSize: number | null;
}

export interface Anchor {
  readonly quorum: number;
  readonly witnesses: readonly WitnessStatus[];
  /**
   * The largest size that a quorum of witnesses has cosigned; null below the quorum. A witness of a larger tree counts
   * for a smaller one, since it saw that the one begins with the other.
   */
  readonly size: bigint | null;
  /** The cosigned heads: a walk of the chain must give each of their roots. */
  readonly heads: readonly TreeHead[];
  /** True when a witness says that it cosigned something that this chain is not. */
  readonly accused: boolean;
}

/**
 * Reads and verifies what the signer's store holds of its witnesses. `logKey` null: this home never signed.
 * @throws CHAIN_SIGNER_STORE, CONFIG_INVALID
 */
export async function readAnchor(
  config: Pick<Config, 'home' | 'witnesses' | 'witnessQuorum' | 'witnessTimeoutSeconds'>,
  origin: string,
  logKey: VerifierKey | null,
): Promise<Anchor> {
  const policy = witnessPolicy(config);
  const asked = policy.witnesses.length > 0;
  const memory = asked ? await readWitnessMemory(config.home, origin) : new Map<string, WitnessMemory>();
  const opened = policy.witnesses.map((witness) => openMemory(witness, memory.get(witness.vkey), logKey));
  const heads = opened.flatMap(({ head }) => (head === null ? [] : [head]));
  const sizes = heads.map(({ size }) => size).sort((a, b) => (a > b ? -1 : 1));
  return {
    quorum: policy.quorum,
    witnesses: opened.map(({ status }) => status),
    size: sizes[policy.quorum - 1] ?? null,
    heads,
    accused: opened.some(({ status }) => status.claimedSize !== null),
  };
}

/** What status commands say. */
export interface AnchorSummary {
  /** True when a quorum of witnesses cosigned; without witnesses, when the signer's store holds a checkpoint. */
  readonly anchored: boolean;
  /** The largest size that a quorum of witnesses cosigned; null below the quorum or without witnesses. */
  readonly anchoredSize: number | null;
  readonly witnessQuorum: number;
  readonly witnesses: readonly WitnessStatus[];
}

/** The summary of an anchor. `ownSize`: what the signer's store says it signed, null for nothing. */
export function summarizeAnchor(anchor: Anchor, ownSize: bigint | null): AnchorSummary {
  return {
    anchored: isAnchored(anchor, ownSize),
    anchoredSize: anchor.size === null ? null : Number(anchor.size),
    witnessQuorum: anchor.quorum,
    witnesses: anchor.witnesses,
  };
}

/**
 * Whether a checkpoint outside the database covers part of the chain: by a quorum of witnesses where any are configured,
 * otherwise by what the signer's own store holds.
 */
export function isAnchored({ witnesses, size, accused }: Anchor, ownSize: bigint | null): boolean {
  return ownSize !== null && (witnesses.length === 0 || (size !== null && !accused));
}

/** What accusing witnesses say, as findings. */
export function accusations({ witnesses }: Anchor, size: bigint): Finding[] {
  return witnesses.flatMap(({ name, outcome, claimedSize }) => {
    if (claimedSize === null) return [];
    const kind = outcome === 'rolled-back' ? 'rolled-back' : 'rewritten';
    const expected = `${claimedSize} leaves cosigned by ${name}`;
    return [finding(kind, { expected, actual: String(size), checkpointTo: claimedSize })];
  });
}

function openMemory(
  witness: Witness,
  memory: WitnessMemory | undefined,
  logKey: VerifierKey | null,
): { readonly status: WitnessStatus; readonly head: TreeHead | null } {
  const cosigned = memory?.note == null || logKey === null ? null : openCosigned(memory.note, witness, logKey);
  const status = {
    name: witness.key.name,
    url: witness.url,
    outcome: memory?.outcome ?? null,
    detail: memory?.detail ?? '',
    askedAt: memory?.askedAt ?? null,
    cosignedSize: cosigned === null ? null : Number(cosigned.head.size),
    cosignedAt: cosigned === null ? null : Number(cosigned.time),
    claimedSize: memory?.claimedSize == null ? null : Number(memory.claimedSize),
  };
  return { status, head: cosigned?.head ?? null };
}

function openCosigned(note: string, witness: Witness, logKey: VerifierKey): { head: TreeHead; time: bigint } | null {
  try {
    const time = openCosignature(note, witness.key);
    return time === null ? null : { head: openCheckpoint(note, logKey), time };
  } catch (error) {
    if (error instanceof AuditkeepError) return null;
    throw error;
  }
}
