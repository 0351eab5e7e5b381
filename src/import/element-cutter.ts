/** Cuts the array of `{"Records": [...]}` into its elements. Only brackets, commas, quotes and escapes are looked at. */
import { type Piece, RecordBuffer, type RecordCutter } from './record-buffer.ts';

const NEWLINE = 0x0a;
const QUOTE = 0x22;
const COMMA = 0x2c;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** Elements of one JSON array whose opening bracket is the last of headerBytes. */
export class ElementCutter implements RecordCutter {
  readonly #record = new RecordBuffer();
  #toSkip: number;
  #line = 1;
  #depth = 0;
  #inString = false;
  #escaped = false;
  #inRecord = false;
  #state: 'open' | 'closed' | 'broken' = 'open';
  /** What follows the array; only the brace that closes `{"Records":` may. */
  #tail = '';

  constructor(headerBytes: number) {
    this.#toSkip = headerBytes;
  }

  push(chunk: Buffer): Piece[] {
    const pieces: Piece[] = [];
    let start = this.#skipHeader(chunk);
    for (let i = start; i < chunk.length; i++) {
      const byte = chunk.readUInt8(i);
      if (this.#state !== 'open') {
        if (byte > 0x20 && this.#tail.length < 2) this.#tail += String.fromCharCode(byte);
        continue;
      }
      if (!this.#inRecord && byte > 0x20) this.#startRecord();
      if (!this.#endsRecord(byte)) continue;
      this.#record.add(chunk.subarray(start, i));
      this.#take(pieces);
      start = i + 1;
    }
    if (this.#state === 'open' && start < chunk.length) this.#record.add(chunk.subarray(start));
    return pieces;
  }

  end(): Piece[] {
    const pieces: Piece[] = [];
    if (this.#state === 'closed') {
      if (this.#tail !== '' && this.#tail !== '}') pieces.push({ kind: 'trailing', line: this.#line });
      return pieces;
    }
    if (this.#depth === 0) this.#take(pieces);
    pieces.push({ kind: 'truncated', line: this.#line });
    return pieces;
  }

  #skipHeader(chunk: Buffer): number {
    const skipped = Math.min(this.#toSkip, chunk.length);
    for (let i = 0; i < skipped; i++) if (chunk.readUInt8(i) === NEWLINE) this.#line++;
    this.#toSkip -= skipped;
    return skipped;
  }

  #startRecord(): void {
    this.#inRecord = true;
    this.#record.line = this.#line;
  }

  #take(pieces: Piece[]): void {
    const piece = this.#record.take();
    if (piece !== null) pieces.push(piece);
    this.#inRecord = false;
  }

  /** Takes one byte; true when it ends a record: a comma or the closing bracket of the array. */
  #endsRecord(byte: number): boolean {
    if (byte === NEWLINE) this.#line++;
    if (this.#inString) {
      if (this.#escaped) this.#escaped = false;
      else if (byte === BACKSLASH) this.#escaped = true;
      else if (byte === QUOTE) this.#inString = false;
      return false;
    }
    if (byte === QUOTE) this.#inString = true;
    else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) this.#depth++;
    else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) this.#close(byte);
    return this.#state !== 'open' || (this.#depth === 0 && byte === COMMA);
  }

  #close(byte: number): void {
    if (this.#depth > 0) this.#depth--;
    else this.#state = byte === CLOSE_BRACKET ? 'closed' : 'broken';
  }
}
