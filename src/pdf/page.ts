/** Sizes, colours and names of typefaces that every document shares. */

/** A4 in points, with room for the footer inside the bottom margin. */
export const PAGE = { width: 595.28, height: 841.89, left: 56, right: 56, top: 60, bottom: 66 } as const;
export const CONTENT_WIDTH = PAGE.width - PAGE.left - PAGE.right;
/** Where the footer's text begins; nothing else stands below the bottom margin. */
export const FOOTER_TOP = PAGE.height - 42;

/** Ink and quiet are readable on paper and shade: contrast of at least 4.5 (WCAG 2.2, 1.4.3). */
export const COLOR = {
  ink: '#1b2430',
  quiet: '#56616f',
  line: '#d5dbe3',
  shade: '#f3f5f8',
  brand: '#14365c',
  onBrand: '#c3d2e4',
  paper: '#ffffff',
} as const;

/** What a text may ask for; typeface.ts decides which file draws it. */
export type FontName = 'sans' | 'sans-bold' | 'mono';
export const FONT = { regular: 'sans', bold: 'sans-bold', mono: 'mono' } as const satisfies Record<string, FontName>;
