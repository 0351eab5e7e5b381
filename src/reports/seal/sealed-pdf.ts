/**
 * A PDF with the seal of the organisation: one CMS signature over everything before it, nothing after. Whoever checks it makes
 * the update again from the PDF, the certificates and the signature's own bytes, and compares: no byte is left to chance.
 */
import { createHash, verify } from 'node:crypto';
import type { Certificates } from '../../keys/certificate.ts';
import { encodeSignedData, signedAttributes } from '../../keys/cms.ts';
import type { SealKey } from '../../keys/seal-key.ts';
import { layOutSeal, type SealFields, type SealLayout } from './pdf-update.ts';

export type SealText = Pick<SealFields, 'reason' | 'sealedAt'>;

/** Adds the seal. The same PDF, text and key give the same bytes. */
export function sealPdf(pdf: Buffer, text: SealText, { certificates, sign }: SealKey): Buffer {
  const layout = layOut(pdf, text, certificates);
  const digest = digestOf(layout.bytes, layout);
  const signature = sign(signedAttributes(certificates[0], digest));
  return fill(layout, encodeSignedData(certificates, digest, signature));
}

/**
 * What is wrong with a sealed PDF. `no update`: there is nothing after its pages. `update`: what is there is not what sealing makes
 * of these pages. `signature`: it is, but does not verify with the first certificate.
 */
export type SealFault = 'no update' | 'update' | 'signature';

/** Null where the PDF ends with exactly this seal over all before it. */
export function checkSealedPdf(
  sealed: Buffer,
  { text, certificates }: { readonly text: SealText; readonly certificates: Certificates },
): SealFault | null {
  const pdf = unsealedPart(sealed);
  if (pdf === null) return 'no update';
  let layout: SealLayout;
  try {
    layout = layOut(pdf, text, certificates);
  } catch {
    return 'update'; // no release of ours drew these pages
  }
  const signature = hexAt(sealed, layout).subarray(-signatureBytes(certificates));
  const digest = digestOf(sealed, layout);
  if (!fill(layout, encodeSignedData(certificates, digest, signature)).equals(sealed)) return 'update';
  const [own] = certificates;
  return verify('sha256', signedAttributes(own, digest), own.publicKey, signature) ? null : 'signature';
}

/** What lies before the update: it ends where the last `%%EOF` but one does. Null where there is only one. */
export function unsealedPart(sealed: Buffer): Buffer | null {
  const last = sealed.lastIndexOf(END, -1, 'latin1');
  const before = last <= 0 ? -1 : sealed.lastIndexOf(END, last - 1, 'latin1');
  return before < 0 ? null : sealed.subarray(0, before + END.length);
}

const END = '%%EOF\n';

function layOut(pdf: Buffer, text: SealText, certificates: Certificates): SealLayout {
  const none = Buffer.alloc(32);
  const whole = encodeSignedData(certificates, none, Buffer.alloc(signatureBytes(certificates)));
  return layOutSeal(pdf, { ...text, signatureBytes: whole.length });
}

/** An RSA signature is as long as the modulus. */
function signatureBytes([{ publicKey }]: Certificates): number {
  return Math.ceil((publicKey.asymmetricKeyDetails?.modulusLength ?? 0) / 8);
}

function digestOf(bytes: Buffer, { holeStart, holeEnd }: SealLayout): Buffer {
  return createHash('sha256').update(bytes.subarray(0, holeStart)).update(bytes.subarray(holeEnd)).digest();
}

function hexAt(bytes: Buffer, { holeStart, holeEnd }: SealLayout): Buffer {
  return Buffer.from(bytes.toString('latin1', holeStart + 1, holeEnd - 1), 'hex');
}

function fill({ bytes, holeStart }: SealLayout, cms: Buffer): Buffer {
  const filled = Buffer.from(bytes);
  filled.write(cms.toString('hex'), holeStart + 1, 'latin1');
  return filled;
}
