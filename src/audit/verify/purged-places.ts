/**
 * Places in the chain whose events were destroyed on purpose. A link without an event is of a purged one only where a
 * certificate that the log's key signed covers its seq (docs/spec/certificate-v1.md).
 */
import { type KeyObject, verify } from 'node:crypto';
import { z } from 'zod';
import type { SqlClient } from '../../db/database.ts';
import { queryRows } from '../../db/query.ts';
import { type Finding, finding } from '../links/finding.ts';

interface MissingLink {
  readonly seq: bigint;
  readonly eventId: string;
}

export interface PurgedPlaces {
  /** Links that a certificate covers. */
  readonly purged: number;
  /** Those that none does, of units that were destroyed. */
  readonly findings: readonly Finding[];
  /** Everything else: nobody says that it was destroyed. */
  readonly unexplained: readonly MissingLink[];
}

/** Tells what was purged from what is gone. @param key the log's public key; without it no certificate counts */
export async function explainPurged(
  client: SqlClient,
  missing: readonly MissingLink[],
  key: KeyObject | null,
): Promise<PurgedPlaces> {
  if (missing.length === 0) return { purged: 0, findings: [], unexplained: [] };
  const explain = await readPurged(client, key);
  const explained = missing.map((link) => ({ link, said: explain(link) }));
  return {
    purged: explained.filter(({ said }) => said === 'purged').length,
    findings: explained.flatMap(({ said }) => (said === null || said === 'purged' ? [] : [said])),
    unexplained: explained.filter(({ said }) => said === null).map(({ link }) => link),
  };
}

/** Explains one missing link: purged under a certificate, destroyed without one, or null when nobody says so. */
export async function readPurged(
  client: SqlClient,
  key: KeyObject | null,
): Promise<(link: MissingLink) => 'purged' | Finding | null> {
  const places = await readPlaces(client, key);
  return ({ seq, eventId }) => {
    const place = placeOf(places, seq);
    if (place === null) return null;
    if (place.certified) return 'purged';
    const facts = { seq: Number(seq), eventId, expected: 'a signed certificate', actual: 'none' };
    return finding('purged-without-certificate', facts);
  };
}

interface Place {
  readonly from: bigint;
  readonly to: bigint;
  readonly certified: boolean;
}

const rowShape = z.object({
  from: z.bigint(),
  to: z.bigint(),
  document: z.string().nullable(),
  signature: z.string().nullable(),
});

/** Ascending; places of different units do not overlap. */
async function readPlaces(client: SqlClient, key: KeyObject | null): Promise<readonly Place[]> {
  const rows = await queryRows(
    client,
    rowShape,
    `select lower(r) as from, upper(r) as to, c.document, c.signature
       from retention.purged_unit p
       left join retention.certificate c using (unit_id)
      cross join lateral unnest(p.seqs) r
      where p.seqs is not null order by 1`,
  );
  const signed = new Map<string, ReadonlySet<string>>();
  return rows.map(({ from, to, document, signature }) => {
    if (document === null || signature === null || key === null) return { from, to, certified: false };
    const said = signed.get(document) ?? placesSaid(document, signature, key);
    signed.set(document, said);
    return { from, to, certified: said.has(`${from} ${to}`) };
  });
}

const CONTEXT = Buffer.from('auditkeep-certificate/v1\n', 'utf8');
const saidSchema = z.object({
  format: z.literal('auditkeep-certificate/v1'),
  seqs: z.array(z.tuple([z.int(), z.int()])),
});

/** The places that a certificate names; none when the log's key did not sign it. */
function placesSaid(document: string, signature: string, key: KeyObject): ReadonlySet<string> {
  const bytes = Buffer.concat([CONTEXT, Buffer.from(document, 'utf8')]);
  if (!verify(null, bytes, key, Buffer.from(signature, 'base64'))) return new Set();
  const said = saidSchema.safeParse(JSON.parse(document));
  return new Set(said.success ? said.data.seqs.map(([from, to]) => `${from} ${to}`) : []);
}

function placeOf(places: readonly Place[], seq: bigint): Place | null {
  let [low, high] = [0, places.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((places[middle]?.to ?? 0n) <= seq) low = middle + 1;
    else high = middle;
  }
  const place = places[low];
  return place !== undefined && place.from <= seq ? place : null;
}
