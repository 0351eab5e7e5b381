import { inflateSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { type DecisionEntry, renderPdf } from '../../src/reports/render/pdf.ts';
import { openTexts } from '../../src/reports/template/texts.ts';
import { sampleModel } from './sample-model.ts';

const DECISION: DecisionEntry = {
  meaning: 'Approved',
  name: 'Zoë Žižka',
  email: 'approver@example.org',
  role: 'approver',
  version: 1,
  at: '2026-04-09T10:00:00.000Z',
  keyFingerprint: `SHA256:${'q'.repeat(43)}`,
  comment: 'Ünüsüal cøntent © with glyphs that the body lacks: ħŋœ',
  sha256: 'ef'.repeat(32),
};

/** The content streams of the pages, in order: what is drawn, without objects and fonts. */
function pageContents(pdf: Buffer): string[] {
  const contents: string[] = [];
  const text = pdf.toString('latin1');
  for (const match of text.matchAll(/stream\r?\n/g)) {
    const start = match.index + match[0].length;
    const end = text.indexOf('endstream', start);
    if (match.index > 0 && text.slice(match.index - 3, match.index) === 'end') continue;
    try {
      const content = inflateSync(pdf.subarray(start, end)).toString('latin1');
      if (content.includes('BT\n')) contents.push(content);
    } catch {
      // not a compressed stream
    }
  }
  return contents;
}

function countPages(pdf: Buffer): number {
  return Number(/\/Type \/Pages\n\/Count (\d+)/.exec(pdf.toString('latin1'))?.[1]);
}

describe('renderPdf', () => {
  it('gives the same bytes for the same model', async () => {
    const first = await renderPdf(await sampleModel(), null);
    const second = await renderPdf(await sampleModel(), null);
    expect(first.equals(second)).toBe(true);
    expect(first.subarray(0, 8).toString('latin1')).toBe('%PDF-1.7');
  });

  it('gives other bytes for another model', async () => {
    const model = await sampleModel();
    const other = { ...model, source: { ...model.source, unsealedEvents: 13 } };
    expect((await renderPdf(model, null)).equals(await renderPdf(other, null))).toBe(false);
  });

  it('adds decision pages and leaves the pages of the body as they were', async () => {
    const model = await sampleModel();
    const review = await renderPdf(model, null);
    const final = await renderPdf(model, [DECISION]);
    const body = pageContents(review);
    expect(body).toHaveLength(countPages(review));
    expect(countPages(final)).toBe(countPages(review) + 1);
    expect(pageContents(final).slice(0, body.length)).toEqual(body);
  });

  it('embeds its fonts, is tagged, has bookmarks, a language and alternative text', async () => {
    const text = (await renderPdf(await sampleModel(), null)).toString('latin1');
    const embedded = text.match(/\/FontFile2/g)?.length;
    expect(embedded).toBe(3);
    expect(text.match(/\/Type \/FontDescriptor/g)?.length).toBe(embedded);
    for (const wanted of ['/MarkInfo', '/StructTreeRoot', '/Outlines', '/Lang (en)', '/AFRelationship /Source']) {
      expect(text).toContain(wanted);
    }
    expect(text).toContain('<pdfaid:part>3</pdfaid:part>');
  });

  it('puts controls that found nothing below each other, without what to do about them', async () => {
    const model = await sampleModel();
    const quiet = model.controls.flatMap((control) =>
      control.status === 'no_occurrences' ? [{ ...control, limitations: [] }] : [],
    );
    const [one] = quiet;
    if (one === undefined) throw new Error('the sample has no control without occurrences');
    const pages = async (controls: typeof quiet) => countPages(await renderPdf({ ...model, controls }, null));
    expect(await pages([one, one, one, one])).toBeLessThan((await pages([one])) + 3);
    const found = { ...one, status: 'fail', exceptions: { ...one.exceptions, count: 1 } } as const;
    expect(await pages([found, found, found, found])).toBeGreaterThan(await pages([one, one, one, one]));
  });

  it.each(['sox', 'hipaa'])('draws %s', async (framework) => {
    expect(countPages(await renderPdf(await sampleModel(framework), null))).toBeGreaterThan(10);
  });
});

describe('openTexts', () => {
  it('refuses keys and placeholders that are not known', async () => {
    const texts = await openTexts('en');
    expect(texts('footer.page', { page: 1, pages: 2 })).toBe('Page 1 of 2');
    expect(() => texts('no.such.key')).toThrow(expect.objectContaining({ code: 'TEMPLATE_INVALID' }));
    expect(() => texts('footer.page', { page: 1 })).toThrow(expect.objectContaining({ code: 'TEMPLATE_INVALID' }));
  });
});
