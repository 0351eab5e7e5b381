/** The queries of a report's files (migration 0204) and of kept templates (0221). */
import { z } from 'zod';
import type { SqlClient } from '../../db/database.ts';
import { execute, queryRows } from '../../db/query.ts';

export interface FilePlace {
  readonly reportId: string;
  readonly path: string;
}

/** Stores the next chunks of a file; the database refuses with an AK... SQLSTATE. */
export async function insertFileChunks(
  client: SqlClient,
  { reportId, path }: FilePlace,
  first: number,
  envelopes: readonly string[],
): Promise<void> {
  const values = [reportId, path, first, envelopes];
  await execute(client, 'select compliance.add_report_file($1::uuid, $2::text, $3::integer, $4::text[])', values);
}

const chunkSchema = z.object({ chunk: z.int(), envelope: z.string() });

/** Chunks of a file from a number on, in order. */
export function readFileChunks(
  client: SqlClient,
  { reportId, path }: FilePlace,
  from: number,
  limit: number,
): Promise<z.infer<typeof chunkSchema>[]> {
  return queryRows(
    client,
    chunkSchema,
    `select f.chunk, f.envelope from compliance.report_file f
      where f.report_id = $1::uuid and f.path = $2::text and f.chunk >= $3::integer order by f.chunk limit $4::integer`,
    [reportId, path, from, limit],
  );
}

/** Keeps the texts of templates by their hashes. */
export async function keepTemplates(client: SqlClient, contents: readonly string[]): Promise<void> {
  await execute(client, 'select compliance.keep_templates($1::text[])', [contents]);
}

/** The kept templates of these hashes, by hash. */
export async function readTemplateTexts(
  client: SqlClient,
  hashes: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const rows = await queryRows(
    client,
    z.object({ sha256: z.string(), content: z.string() }),
    'select t.sha256, t.content from compliance.template_text t where t.sha256 = any ($1::text[])',
    [hashes],
  );
  return new Map(rows.map(({ sha256, content }) => [sha256, content]));
}
