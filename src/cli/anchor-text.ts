/** How far outside copies hold the chain, in one line. */
import type { AnchorSummary } from '../audit/witness/anchor.ts';

/** Says loudly when the chain is not anchored, and plainly when only this machine's own files anchor it. */
export function anchorText({ anchored, anchoredSize, witnessQuorum, witnesses }: AnchorSummary): string {
  if (witnesses.length === 0) {
    return anchored ? "by the signer's own store only: no witnesses configured" : 'NOT anchored: nothing signed here';
  }
  const accusing = witnesses.filter(({ claimedSize }) => claimedSize !== null);
  if (accusing.length > 0) return `NOT anchored: ${accusing.map(({ name, detail }) => `${name} ${detail}`).join('; ')}`;
  if (anchoredSize === null) {
    const cosigned = witnesses.filter(({ cosignedSize }) => cosignedSize !== null).length;
    return `NOT anchored: ${cosigned} of the ${witnessQuorum} witnesses needed have cosigned`;
  }
  const missing = witnesses.filter(({ outcome }) => outcome !== 'cosigned').map(({ name }) => name);
  const late = missing.length === 0 ? '' : `; MISSING: ${missing.join(', ')}`;
  return `up to ${anchoredSize} by ${witnessQuorum} of ${witnesses.length} witnesses${late}`;
}
