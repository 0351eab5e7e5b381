/** Arrays of values of one fixed length as PostgreSQL's binary array format: no text is made, quoted or parsed. */

/** Object ids of types (pg_type.dat). */
const ELEMENT_TYPES = {
  int8: { oid: 20, bytes: 8 },
  timestamptz: { oid: 1184, bytes: 8 },
  uuid: { oid: 2950, bytes: 16 },
} as const;

const HEADER_BYTES = 20;

/**
 * A one-dimensional array without NULLs, to be passed as a parameter: pg sends a Buffer as the binary form of its type.
 * @param elements the values one after the other, as PostgreSQL sends them: big-endian, timestamps in microseconds since
 *   2000-01-01 UTC
 * @throws RangeError when the bytes are not whole elements
 */
export function binaryArray(type: keyof typeof ELEMENT_TYPES, elements: Buffer): Buffer {
  const { oid, bytes } = ELEMENT_TYPES[type];
  const count = elements.length / bytes;
  if (!Number.isInteger(count)) throw new RangeError(`${elements.length} bytes are no whole number of ${type}`);
  const array = Buffer.alloc(HEADER_BYTES + count * (4 + bytes));
  // Dimensions, whether there are NULLs, the type; then length and lower bound of the dimension.
  for (const [at, value] of [1, 0, oid, count, 1].entries()) array.writeInt32BE(value, 4 * at);
  for (let at = 0; at < count; at += 1) {
    const to = HEADER_BYTES + at * (4 + bytes);
    array.writeInt32BE(bytes, to);
    elements.copy(array, to + 4, at * bytes, (at + 1) * bytes);
  }
  return array;
}
