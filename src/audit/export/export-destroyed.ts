/**
 * What a bundle says about partitions of the audit log that left: the manifest of each that is archived or destroyed, and
 * the signed certificate of each that is destroyed (docs/spec/certificate-v1.md). Only of units with an event in the range
 * and all of them below the checkpoint: of others nothing could be checked.
 */
import { z } from 'zod';
import { canonicalJson } from '../../canonical-json.ts';
import type { SqlClient } from '../../db/database.ts';
import { streamRows } from '../../db/stream.ts';
import type { RecordScope } from './export-records.ts';

/** Units whose manifest tells of rows that are somewhere else than in the hot table, or nowhere. */
const LEFT = `('archived', 'copied', 'verified', 'locked', 'committed', 'quarantined', 'purge_due', 'purge_approved', 'purging', 'purged')`;

const inScope = (seqs: string) => `${seqs} && int8range($1::bigint, $2::bigint) and upper(${seqs}) <= $3::bigint`;

/** A line for each certificate, by its first place: the text that the log's key signed, and the signature. */
export async function* certificateLines(
  client: SqlClient,
  { from, to, size }: RecordScope,
): AsyncGenerator<string, void> {
  const batches = streamRows(client, {
    shape: z.object({ document: z.string(), signature: z.string() }),
    text: `select c.document, c.signature from retention.certificate c
            where ${inScope('c.seqs')} order by lower(c.seqs), c.certificate_id`,
    values: [from, to, size],
  });
  for await (const batch of batches) {
    for (const { document, signature } of batch) yield `${canonicalJson({ document, signature })}\n`;
  }
}

const manifestShape = z.object({
  unit: z.bigint(),
  partition: z.string(),
  rows: z.bigint(),
  fingerprint: z.instanceof(Buffer),
  method: z.string(),
  seqs: z.array(z.string()),
});

/** A line for each manifest, by its first place. */
export async function* manifestLines(client: SqlClient, { from, to, size }: RecordScope): AsyncGenerator<string, void> {
  const batches = streamRows(client, {
    shape: manifestShape,
    text: `select u.unit_id as unit, u.relation_name as partition, m.row_count as rows, m.fingerprint, m.method,
                  (select array_agg(lower(r)::text || ' ' || upper(r)::text order by r) from unnest(m.seqs) r) as seqs
             from retention.manifest m join retention.unit u using (unit_id)
            where u.state in ${LEFT} and ${inScope('m.seqs')}
            order by lower(m.seqs), u.unit_id`,
    values: [from, to, size],
  });
  for await (const batch of batches) {
    for (const { unit, partition, rows, fingerprint, method, seqs } of batch) {
      const facts = { unit: String(unit), partition, rows: String(rows), fingerprint: fingerprint.toString('hex') };
      yield `${canonicalJson({ ...facts, method, seqs: seqs.map((range) => range.split(' ')) })}\n`;
    }
  }
}
