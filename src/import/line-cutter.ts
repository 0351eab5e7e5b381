/** Cuts bytes into lines. */
import { type Piece, RecordBuffer, type RecordCutter } from './record-buffer.ts';

const NEWLINE = 0x0a;

/** Records are lines; blank ones do not count. */
export function lineCutter(): RecordCutter {
  const record = new RecordBuffer();
  return {
    push(chunk) {
      const pieces: Piece[] = [];
      let start = 0;
      for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
        record.add(chunk.subarray(start, end));
        const piece = record.take();
        if (piece !== null) pieces.push(piece);
        record.line++;
        start = end + 1;
      }
      if (start < chunk.length) record.add(chunk.subarray(start));
      return pieces;
    },
    end() {
      const piece = record.take();
      return piece === null ? [] : [piece];
    },
  };
}
