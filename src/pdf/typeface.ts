/**
 * Typefaces of a document. A text is drawn whole in the first typeface that has all of its characters; one that none has is
 * written as [U+XXXX], so that nothing is left out or shown as an empty box (PDF/A-3 forbids the glyph .notdef).
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { type Coverage, readCoverage } from './coverage.ts';
import type { FontName } from './page.ts';

const require = createRequire(import.meta.url);

const FILES = {
  sans: require.resolve('@expo-google-fonts/source-sans-3/400Regular/SourceSans3_400Regular.ttf'),
  'sans-bold': require.resolve('@expo-google-fonts/source-sans-3/600SemiBold/SourceSans3_600SemiBold.ttf'),
  mono: require.resolve('dejavu-fonts-ttf/ttf/DejaVuSansMono.ttf'),
  wide: require.resolve('dejavu-fonts-ttf/ttf/DejaVuSansCondensed.ttf'),
  'wide-bold': require.resolve('dejavu-fonts-ttf/ttf/DejaVuSansCondensed-Bold.ttf'),
} as const;
type Typeface = keyof typeof FILES;

/** The wide ones have Greek, Cyrillic, Hebrew, Arabic, Armenian, Georgian and thousands of signs. */
const CANDIDATES: Readonly<Record<FontName, readonly [Typeface, Typeface]>> = {
  sans: ['sans', 'wide'],
  'sans-bold': ['sans-bold', 'wide-bold'],
  mono: ['mono', 'wide'],
};

/** A text as it can be drawn, and the registered name of the typeface to draw it in. */
interface FittedText {
  readonly text: string;
  readonly face: string;
  /** Shares of the size: what to add between lines and above, so that all typefaces stand on the same lines. */
  readonly lineGap: number;
  readonly drop: number;
}

/** Line height 1.424 and ascent 1.024 of Source Sans 3, less those of DejaVu (1.164 and 0.928). */
const METRICS: Readonly<Record<Typeface, Pick<FittedText, 'lineGap' | 'drop'>>> = {
  sans: { lineGap: 0, drop: 0 },
  'sans-bold': { lineGap: 0, drop: 0 },
  mono: { lineGap: 0.26, drop: 0.096 },
  wide: { lineGap: 0.26, drop: 0.096 },
  'wide-bold': { lineGap: 0.26, drop: 0.096 },
};

/** Fits a text to a typeface. */
export type FitText = (text: string, font: FontName) => FittedText;

/** Registers the typefaces; those that nothing uses do not get into the file. */
export function registerTypefaces(doc: PDFKit.PDFDocument): FitText {
  const coverages = new Map<Typeface, Coverage>();
  const coverageOf = (face: Typeface): Coverage => {
    const coverage = coverages.get(face) ?? readCoverage(readFileSync(FILES[face]));
    coverages.set(face, coverage);
    return coverage;
  };
  for (const [face, file] of Object.entries(FILES)) doc.registerFont(face, file);
  return (text, font) => {
    const shown = showInvisible(text);
    const [first, second] = CANDIDATES[font];
    if (isCovered(shown, coverageOf(first))) return { text: shown, face: first, ...METRICS[first] };
    const covers = coverageOf(second);
    const drawn = Array.from(shown, (char) => (isCovered(char, covers) ? char : codeOf(char))).join('');
    return { text: drawn, face: second, ...METRICS[second] };
  };
}

function isCovered(text: string, covers: Coverage): boolean {
  for (const char of text) {
    if (char !== '\n' && !covers(char.codePointAt(0) ?? 0)) return false;
  }
  return true;
}

/** Characters that draw nothing but change how the rest reads (controls, bidirectional overrides, ...) are named. */
function showInvisible(text: string): string {
  const lines = text.replace(/\r\n?|[\u2028\u2029]/g, '\n').replace(/\t/g, ' ');
  return lines.replace(/(?!\n)[\p{C}]/gu, codeOf);
}

function codeOf(char: string): string {
  return `[U+${(char.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}]`;
}
