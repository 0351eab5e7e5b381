/**
 * The incremental update (ISO 32000-1, 7.5.6) that adds one signature to a PDF: the bytes before stay as they are. It certifies
 * the document (DocMDP, no changes permitted) by a field without appearance on the first page, which PDF/A-3 allows for a
 * rectangle of no size. Pure: the same PDF and fields give the same bytes but for the hole where the signature goes.
 */
import { readPdfTail } from './pdf-tail.ts';

export interface SealFields {
  /** Printable ASCII. */
  readonly reason: string;
  /** ISO 8601, UTC, of whole seconds. */
  readonly sealedAt: string;
  /** Bytes of the CMS signature. */
  readonly signatureBytes: number;
}

/** A PDF with its update, whose hole is filled with zeros: hex digits between `<` and `>`. */
export interface SealLayout {
  readonly bytes: Buffer;
  /** Where the brackets begin and where they have ended: what lies between is not signed. */
  readonly holeStart: number;
  readonly holeEnd: number;
}

/** @throws Error for a PDF that is not laid out as pdfkit does it */
export function layOutSeal(pdf: Buffer, fields: SealFields): SealLayout {
  const tail = readPdfTail(pdf);
  const [signature, field] = [tail.size, tail.size + 1];
  const page = tail.objectText(tail.firstPage);
  const catalog = tail.objectText(tail.root);
  const objects: (readonly [number: number, text: string])[] = [
    [
      tail.root,
      addEntries(catalog, `/AcroForm << /Fields [${field} 0 R] /SigFlags 3 >>\n/Perms << /DocMDP ${signature} 0 R >>`),
    ],
    [tail.firstPage, addAnnotation(page, field)],
    [signature, signatureText(fields)],
    [field, fieldText(signature, tail.firstPage)],
  ];
  const update = writeUpdate(pdf.length, objects, tail);
  const bytes = Buffer.concat([pdf, update]);
  const holeStart = bytes.indexOf('/Contents <', pdf.length, 'latin1') + '/Contents '.length;
  const holeEnd = holeStart + fields.signatureBytes * 2 + 2;
  writeByteRange(bytes, { from: pdf.length, holeStart, holeEnd });
  return { bytes, holeStart, holeEnd };
}

/** Width of the numbers in /ByteRange: known before they are. */
const NUMBER_WIDTH = 10;
const BYTE_RANGE = `[${[0, 0, 0, 0].map((number) => String(number).padEnd(NUMBER_WIDTH)).join(' ')}]`;

function signatureText({ reason, sealedAt, signatureBytes }: SealFields): string {
  const at = sealedAt.slice(0, 19).replaceAll(/[-:T]/g, '');
  return `<<
/Type /Sig
/Filter /Adobe.PPKLite
/SubFilter /ETSI.CAdES.detached
/M (D:${at}Z)
/Reason (${reason.replaceAll(/[\\()]/g, String.raw`\$&`)})
/Reference [<< /Type /SigRef /TransformMethod /DocMDP /TransformParams << /Type /TransformParams /P 1 /V /1.2 >> >>]
/ByteRange ${BYTE_RANGE}
/Contents <${'0'.repeat(signatureBytes * 2)}>
>>`;
}

/** Flags: print (4), as PDF/A wants of every annotation, and locked (128). */
function fieldText(signature: number, page: number): string {
  return `<<
/Type /Annot
/Subtype /Widget
/FT /Sig
/T (Seal)
/TU (Seal of the organisation)
/F 132
/Rect [0 0 0 0]
/P ${page} 0 R
/V ${signature} 0 R
>>`;
}

function addEntries(dictionary: string, entries: string): string {
  if (!dictionary.endsWith('\n>>') || /\/(?:AcroForm|Perms)\b/.test(dictionary)) throw unexpected('its catalog');
  return `${dictionary.slice(0, -2)}${entries}\n>>`;
}

function addAnnotation(page: string, field: number): string {
  if (/\/Annots \[/.test(page)) return page.replace(/\/Annots \[/, `/Annots [${field} 0 R `);
  if (!page.endsWith('\n>>') || /\/Annots\b/.test(page)) throw unexpected('its first page');
  return `${page.slice(0, -2)}/Annots [${field} 0 R]\n>>`;
}

function writeUpdate(
  start: number,
  objects: readonly (readonly [number: number, text: string])[],
  tail: { readonly size: number; readonly root: number; readonly trailer: string; readonly startOfTable: number },
): Buffer {
  let text = '';
  const entries: string[] = [];
  for (const [number, content] of objects.toSorted(([a], [b]) => a - b)) {
    entries.push(`${number} 1\n${String(start + text.length).padStart(10, '0')} 00000 n \n`);
    text += `${number} 0 obj\n${content}\nendobj\n`;
  }
  const table = start + text.length;
  const trailer = tail.trailer.replace(/\/Size \d+/, `/Size ${tail.size + 2}`);
  return Buffer.from(
    `${text}xref\n${entries.join('')}trailer\n${trailer.slice(0, -2)}/Prev ${tail.startOfTable}\n>>\nstartxref\n${table}\n%%EOF\n`,
    'latin1',
  );
}

function writeByteRange(
  bytes: Buffer,
  { from, holeStart, holeEnd }: { readonly from: number; readonly holeStart: number; readonly holeEnd: number },
): void {
  const numbers = [0, holeStart, holeEnd, bytes.length - holeEnd];
  const text = `[${numbers.map((number) => String(number).padEnd(NUMBER_WIDTH)).join(' ')}]`;
  bytes.write(text, bytes.indexOf(BYTE_RANGE, from, 'latin1'), 'latin1');
}

/** The product draws what it seals, so this is a bug and no input error. */
function unexpected(what: string): Error {
  return new Error(`the PDF cannot be sealed: ${what} is not as pdfkit writes it`);
}
