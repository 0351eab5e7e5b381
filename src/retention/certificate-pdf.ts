/** A certificate of destruction as one page for people. The signed JSON is the certificate; this shows what it says. */
import { z } from 'zod';
import { drawFooter } from '../pdf/footer.ts';
import { COLOR, CONTENT_WIDTH, FONT, PAGE } from '../pdf/page.ts';
import { decorate, heading, openSheet, type Sheet, within, write } from '../pdf/sheet.ts';
import { drawFields } from '../pdf/table.ts';
import { parseInstant } from '../time/clock.ts';
import type { Certificate } from './certificate.ts';

const signedSchema = z.object({
  meaning: z.string(),
  person: z.string(),
  person_name: z.string(),
  key_fingerprint: z.string(),
  time: z.string(),
});

/**
 * The page, A4, tagged PDF/A-3a; same certificate, same bytes.
 * @param sha256 of the certificate's canonical text, which binds the page to it
 */
export async function renderCertificate(certificate: Certificate, sha256: string, signature: string): Promise<Buffer> {
  const { unit } = certificate;
  const sheet = openSheet({
    title: 'Certificate of destruction',
    subject: `${unit.table}, ${unit.partition}`,
    at: parseInstant(certificate.purged_at) ?? 0,
  });
  sheet.doc.addPage();
  within(sheet, 'Sect', () => {
    drawHead(sheet, certificate);
    for (const [title, lines] of sectionsOf(certificate, sha256, signature)) {
      heading(sheet, 2, title);
      drawFields(sheet, lines.map(fieldOf));
    }
  });
  const pages = sheet.doc.bufferedPageRange().count;
  for (let page = 0; page < pages; page += 1) {
    sheet.doc.switchToPage(page);
    drawFooter(sheet, `${certificate.certificate_id} · SHA-256 ${sha256.slice(0, 16)}`, `Page ${page + 1} of ${pages}`);
  }
  return sheet.finish();
}

const BAND_HEIGHT = 92;

function drawHead(sheet: Sheet, certificate: Certificate): void {
  const { doc } = sheet;
  decorate(sheet, () => doc.rect(0, 0, PAGE.width, BAND_HEIGHT).fill(COLOR.brand));
  const title = { font: FONT.bold, size: 24, color: COLOR.paper, y: 22, structure: 'H1' } as const;
  write(sheet, 'Certificate of destruction', title);
  write(sheet, certificate.certificate_id, { size: 10, color: COLOR.onBrand, width: CONTENT_WIDTH });
  doc.y = BAND_HEIGHT + 12;
}

const HEX = /[0-9a-f]{64}|^[A-Za-z0-9+/]{60,}={0,2}$/;

function fieldOf([label, value]: Lines[number]): { label: string; value: string; mono: boolean } {
  return { label, value, mono: HEX.test(value) };
}

type Lines = readonly (readonly [label: string, value: string])[];

function sectionsOf(certificate: Certificate, sha256: string, signature: string): readonly [string, Lines][] {
  const { unit, plan, policy } = certificate;
  return [
    [
      'What was destroyed',
      [
        ['Table', unit.category === null ? unit.table : `${unit.table}, ${unit.category}`],
        ['Partition', `${unit.partition} (generation ${unit.generation})`],
        ['Rows', `${unit.rows.toLocaleString('en')}, from ${unit.from ?? 'the beginning'} to ${unit.to}`],
        ['Fingerprint', `${unit.fingerprint} (${unit.fingerprint_method})`],
        ['Places in the chain', placesOf(certificate.seqs)],
        ['Merkle root', certificate.merkle_root ?? 'none: not part of the audit log'],
      ],
    ],
    [
      'Why',
      [
        ['Policy', `version ${policy.version}, kept ${policy.whole}`],
        ['Clause', policy.citation],
        ['Plan', plan.id],
        ['Plan hash', plan.hash],
      ],
    ],
    ['Who signed', certificate.decisions.flatMap(({ payload }) => signerOf(payload))],
    [
      'How',
      [
        ['Method', certificate.method],
        ['Verification', certificate.verification],
        ['Destroyed at', certificate.purged_at],
        [
          'Last backup gone',
          certificate.backups_age_out_at ?? 'the installation does not say how long backups are kept',
        ],
      ],
    ],
    [
      'Certificate',
      [
        ['Installation', `${certificate.installation_id}, ${certificate.origin}`],
        ['SHA-256', sha256],
        ['Ed25519', signature],
      ],
    ],
  ];
}

/** The first places; what is left out is counted, never dropped in silence. */
function placesOf(seqs: Certificate['seqs']): string {
  const most = 8;
  if (seqs.length === 0) return 'none';
  const shown = seqs.slice(0, most).map(([from, to]) => (to - from === 1 ? `${from}` : `${from} to ${to - 1}`));
  const more = seqs.length > most ? `, and ${seqs.length - most} more ranges in the certificate` : '';
  return shown.join(', ') + more;
}

function signerOf(payload: string): (readonly [string, string])[] {
  const parsed = signedSchema.safeParse(JSON.parse(payload));
  if (!parsed.success) return [['Unknown', 'the signed text is of another shape']];
  const { meaning, person, person_name: name, key_fingerprint: key, time } = parsed.data;
  return [[meaning === 'request' ? 'Requested by' : 'Approved by', `${name} <${person}>, ${time}\n${key}`]];
}
