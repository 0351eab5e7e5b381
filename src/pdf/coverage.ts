/** Which characters a TrueType font can draw, from its cmap table (OpenType 1.9, "cmap"). */

/** Whether a font has a glyph for a code point. */
export type Coverage = (codePoint: number) => boolean;

type Range = readonly [first: number, last: number];

/** Reads the Unicode subtables (formats 4 and 12) of a font file; other formats count as covering nothing. */
export function readCoverage(font: Buffer): Coverage {
  const ranges = subtablesOf(font).flatMap((at) => {
    const format = font.readUInt16BE(at);
    if (format === 4) return segmentRanges(font, at);
    return format === 12 ? groupRanges(font, at) : [];
  });
  const covered = new Set<number>();
  for (const [first, last] of ranges) {
    for (let codePoint = first; codePoint <= last; codePoint += 1) covered.add(codePoint);
  }
  return (codePoint) => covered.has(codePoint);
}

/** Offsets of the subtables that map Unicode: platform 0, or platform 3 with encoding 1 or 10. */
function subtablesOf(font: Buffer): number[] {
  const tables = font.readUInt16BE(4);
  for (let index = 0; index < tables; index += 1) {
    const record = 12 + index * 16;
    if (font.toString('latin1', record, record + 4) !== 'cmap') continue;
    const cmap = font.readUInt32BE(record + 8);
    return Array.from({ length: font.readUInt16BE(cmap + 2) }, (_, encoding) => cmap + 4 + encoding * 8)
      .filter((at) => font.readUInt16BE(at) === 0 || [1, 10].includes(font.readUInt16BE(at + 2)))
      .map((at) => cmap + font.readUInt32BE(at + 4));
  }
  return [];
}

/** Format 4. A segment that maps through the glyph array may leave some of its characters out: they are asked singly. */
function segmentRanges(font: Buffer, at: number): Range[] {
  const doubled = font.readUInt16BE(at + 6);
  return Array.from({ length: doubled / 2 }, (_, index): Range[] => {
    const end = at + 14 + index * 2;
    const start = end + doubled + 2;
    const offsetAt = start + 2 * doubled;
    const [first, last, offset] = [font.readUInt16BE(start), font.readUInt16BE(end), font.readUInt16BE(offsetAt)];
    if (first === 0xffff) return [];
    if (offset === 0) return [[first, last]];
    const codes = Array.from({ length: last - first + 1 }, (_, position) => first + position);
    return codes.filter((code) => font.readUInt16BE(offsetAt + offset + 2 * (code - first)) !== 0).map((c) => [c, c]);
  }).flat();
}

/** Format 12. */
function groupRanges(font: Buffer, at: number): Range[] {
  return Array.from({ length: font.readUInt32BE(at + 12) }, (_, index): Range => {
    const group = at + 16 + index * 12;
    return [font.readUInt32BE(group), font.readUInt32BE(group + 4)];
  });
}
