/** The table of cosignatures. */
import type { SqlClient } from '../../db/database.ts';
import { execute } from '../../db/query.ts';

/** Keeps a cosignature of a kept checkpoint; a second one of the same witness changes nothing. */
export async function publishCosignature(
  client: SqlClient,
  cosignature: { origin: string; size: bigint; witness: string; keyId: Buffer; line: string; time: bigint },
): Promise<void> {
  const { origin, size, witness, keyId, line, time } = cosignature;
  await execute(
    client,
    `select audit.publish_cosignature($1::text, $2::bigint, $3::text, $4::bytea, $5::text,
                                      pg_catalog.to_timestamp($6::bigint))`,
    [origin, size, witness, keyId, line, time],
  );
}
