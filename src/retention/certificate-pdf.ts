/** A certificate of destruction as one page for people. The signed JSON is the certificate; this shows what it says. */
import { createRequire } from 'node:module';
import PDFDocument from 'pdfkit';
import { z } from 'zod';
import { parseInstant } from '../time/clock.ts';
import type { Certificate } from './certificate.ts';

const require = createRequire(import.meta.url);
const MARGIN = 56;
const LABEL_WIDTH = 130;
const VALUE_WIDTH = 595 - 2 * MARGIN - LABEL_WIDTH;

const signedSchema = z.object({
  meaning: z.string(),
  person: z.string(),
  person_name: z.string(),
  key_fingerprint: z.string(),
  time: z.string(),
});

/**
 * The page, A4; same certificate, same bytes.
 * @param sha256 of the certificate's canonical text, which binds the page to it
 */
export async function renderCertificate(certificate: Certificate, sha256: string, signature: string): Promise<Buffer> {
  const date = new Date(parseInstant(certificate.purged_at) ?? 0);
  const doc = new PDFDocument({
    size: 'A4',
    margin: MARGIN,
    lang: 'en',
    info: { Title: 'Certificate of destruction', Author: 'auditkeep', CreationDate: date, ModDate: date },
  });
  doc.registerFont('text', require.resolve('dejavu-fonts-ttf/ttf/DejaVuSans.ttf'));
  doc.registerFont('bold', require.resolve('dejavu-fonts-ttf/ttf/DejaVuSans-Bold.ttf'));
  const chunks: Buffer[] = [];
  doc.on('data', (chunk: Buffer) => chunks.push(chunk));
  const ended = new Promise<Buffer>((resolve, reject) => {
    doc.on('end', () => resolve(Buffer.concat(chunks)));
    doc.on('error', reject);
  });
  doc.font('bold').fontSize(18).fillColor('#111827').text('Certificate of destruction');
  doc.font('text').fontSize(8).fillColor('#4b5563').text(certificate.certificate_id);
  for (const [title, lines] of sectionsOf(certificate, sha256, signature)) drawSection(doc, title, lines);
  doc.end();
  return ended;
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
        ['Plan', `${plan.id}, hash ${plan.hash}`],
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

function drawSection(doc: PDFKit.PDFDocument, title: string, lines: Lines): void {
  doc.moveDown(1.1);
  doc.font('bold').fontSize(10).fillColor('#111827').text(title, MARGIN);
  doc.moveDown(0.3);
  for (const [label, value] of lines) {
    const top = doc.y;
    doc.font('text').fontSize(8).fillColor('#4b5563').text(label, MARGIN, top, { width: LABEL_WIDTH });
    doc.fillColor('#111827').text(value, MARGIN + LABEL_WIDTH, top, { width: VALUE_WIDTH });
    doc.y += 2;
  }
}
