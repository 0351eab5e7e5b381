/** Length-prefixed framing: what is authenticated reads one way only, wherever its parts come from. */
import { Buffer } from 'node:buffer';

/** Each part as its length in bytes (4 bytes, big endian) followed by the part; strings are UTF-8. */
export function frame(...parts: readonly (string | Uint8Array)[]): Buffer {
  const bytes = parts.map((part) => (typeof part === 'string' ? utf8(part) : part));
  const total = bytes.reduce((sum, part) => sum + 4 + part.length, 0);
  const result = Buffer.allocUnsafe(total);
  let offset = 0;
  for (const part of bytes) {
    offset = result.writeUInt32BE(part.length, offset);
    result.set(part, offset);
    offset += part.length;
  }
  return result;
}

/** A lone surrogate would become U+FFFD in UTF-8, so that two different strings framed alike. */
function utf8(text: string): Buffer {
  if (!text.isWellFormed()) throw new RangeError('a framed string holds a lone surrogate');
  return Buffer.from(text, 'utf8');
}
