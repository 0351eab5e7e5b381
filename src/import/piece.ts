/**
 * Cuts a file's bytes into records: lines, or the elements of the array in `{"Records": [...]}`. Memory holds one record;
 * a record beyond the limit is skipped and reported, and reading goes on after it.
 */
import { ElementCutter } from './element-cutter.ts';
import { lineCutter } from './line-cutter.ts';
import type { Piece, RecordCutter } from './record-buffer.ts';

const HEADER_BYTES = 4096;
const RECORDS_HEADER = /^(?:\xef\xbb\xbf)?\s*(?:\{\s*"Records"\s*:\s*)?\[/;

/** Records of a file that holds either lines or one `{"Records": [...]}` (or a bare array), told by its first bytes. */
export async function* readPieces(chunks: AsyncIterable<Buffer>): AsyncGenerator<Piece[], void, undefined> {
  const cutter: { current: RecordCutter | null } = { current: null };
  let head = Buffer.alloc(0);
  for await (const chunk of chunks) {
    if (cutter.current !== null) {
      yield cutter.current.push(chunk);
      continue;
    }
    head = Buffer.concat([head, chunk]);
    if (head.length < HEADER_BYTES) continue;
    cutter.current = startCutter(head);
    yield cutter.current.push(head);
  }
  if (cutter.current === null) {
    cutter.current = startCutter(head);
    yield cutter.current.push(head);
  }
  yield cutter.current.end();
}

function startCutter(head: Buffer): RecordCutter {
  const header = RECORDS_HEADER.exec(head.toString('latin1', 0, HEADER_BYTES));
  return header === null ? lineCutter() : new ElementCutter(header[0].length);
}
