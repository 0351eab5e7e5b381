/** The bytes of one record, collected across the chunks of a file, and what becomes of them. */

/** Longest record in bytes. A CloudTrail event has at most 256 KiB, an Ethereum input at most about 256 KiB of hex. */
export const MAX_RECORD_BYTES = 4 << 20;

export type Piece =
  | { readonly kind: 'record'; readonly line: number; readonly bytes: Buffer }
  | { readonly kind: 'too-long'; readonly line: number }
  /** The input ended inside the array of records. */
  | { readonly kind: 'truncated'; readonly line: number }
  /** Something follows the array of records; it was not read. */
  | { readonly kind: 'trailing'; readonly line: number };

/** Takes bytes, gives the records that are complete so far. */
export interface RecordCutter {
  push(chunk: Buffer): Piece[];
  end(): Piece[];
}

/** Collects the bytes of one record across chunks; gives them up beyond the limit. */
export class RecordBuffer {
  readonly #parts: Buffer[] = [];
  #size = 0;
  line = 1;

  add(part: Buffer): void {
    this.#size += part.length;
    if (this.#size <= MAX_RECORD_BYTES) this.#parts.push(part);
    else this.#parts.length = 0;
  }

  /** The record that ends here, and room for the next; null when there was nothing but white space. */
  take(): Piece | null {
    const tooLong = this.#size > MAX_RECORD_BYTES;
    const bytes = this.#parts.length === 1 ? (this.#parts[0] ?? Buffer.alloc(0)) : Buffer.concat(this.#parts);
    this.#parts.length = 0;
    this.#size = 0;
    if (tooLong) return { kind: 'too-long', line: this.line };
    return isBlank(bytes) ? null : { kind: 'record', line: this.line, bytes };
  }
}

function isBlank(bytes: Buffer): boolean {
  for (const byte of bytes) if (byte > 0x20) return false;
  return true;
}
