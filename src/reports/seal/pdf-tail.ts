/** Finds what an update has to replace in a PDF that pdfkit wrote: one classic cross-reference table, objects as plain text. */

export interface PdfTail {
  /** One above the highest object number. */
  readonly size: number;
  /** Object number of the catalog. */
  readonly root: number;
  readonly firstPage: number;
  /** The trailer's dictionary. */
  readonly trailer: string;
  /** Offset of the cross-reference table. */
  readonly startOfTable: number;
  /** The text of an object between `obj` and `endobj`. */
  objectText(number: number): string;
}

const ENTRY_BYTES = 20;

/** @throws Error for a PDF of another layout */
export function readPdfTail(pdf: Buffer): PdfTail {
  const end = pdf.subarray(-2048).toString('latin1');
  const [, trailer = '', startText = ''] = /trailer\n(<<\n[\s\S]*?\n>>)\nstartxref\n(\d+)\n%%EOF\n$/.exec(end) ?? [];
  const startOfTable = Number(startText);
  const size = numberAfter(trailer, /\/Size (\d+)/);
  const root = numberAfter(trailer, /\/Root (\d+) 0 R/);
  const head = `xref\n0 ${size}\n`;
  if (pdf.toString('latin1', startOfTable, startOfTable + head.length) !== head) throw unexpected();
  const objectText = (number: number): string => {
    const entry = startOfTable + head.length + number * ENTRY_BYTES;
    const offset = Number(pdf.toString('latin1', entry, entry + 10));
    const begin = `${number} 0 obj\n`;
    const close = pdf.indexOf('\nendobj\n', offset, 'latin1');
    if (close < 0 || pdf.toString('latin1', offset, offset + begin.length) !== begin) throw unexpected();
    return pdf.toString('latin1', offset + begin.length, close);
  };
  const pages = numberAfter(objectText(root), /\/Pages (\d+) 0 R/);
  const firstPage = numberAfter(objectText(pages), /\/Kids \[(\d+) 0 R/);
  return { size, root, firstPage, trailer, startOfTable, objectText };
}

function numberAfter(text: string, pattern: RegExp): number {
  const [, digits] = pattern.exec(text) ?? [];
  if (digits === undefined) throw unexpected();
  return Number(digits);
}

/** The product draws what it seals, so this is a bug and no input error. */
function unexpected(): Error {
  return new Error('the PDF is not laid out as pdfkit does it');
}
