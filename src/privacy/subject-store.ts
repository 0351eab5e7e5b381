/** The queries of a person's export: who they are, the rows that name them, and disclosures about them. */
import { z } from 'zod';
import type { SqlClient } from '../db/database.ts';
import { quoteIdentifier } from '../db/identifier.ts';
import { execute, queryRows } from '../db/query.ts';
import { streamRows } from '../db/stream.ts';
import { AuditkeepError } from '../errors.ts';
import { isoOf, type UtcInstant } from '../time/clock.ts';
import type { SubjectTable } from './subject-map.ts';

/** One place where rows of a table lie. */
export interface Place {
  readonly relation: string;
  readonly origin: 'table' | 'hot' | 'archive' | 'late' | 'quarantine';
}

/** Where the rows of a table lie, `schema.table`. */
export function placesOf(name: string, isFamily: boolean): readonly Place[] {
  const [schema = '', table = ''] = name.split('.');
  if (!isFamily) return [{ relation: quoteIdentifier(schema, table), origin: 'table' }];
  return [
    { relation: quoteIdentifier(schema, table), origin: 'hot' },
    { relation: quoteIdentifier(schema, `${table}_archive`), origin: 'archive' },
    { relation: quoteIdentifier(schema, `${table}_late`), origin: 'late' },
    { relation: quoteIdentifier('quarantine', table), origin: 'quarantine' },
  ];
}

/** Holds tables where they are. Takes no snapshot, so it comes before the first query. */
export async function lockPlaces(client: SqlClient, places: readonly Place[]): Promise<void> {
  await execute(client, `lock table ${places.map(({ relation }) => relation).join(', ')} in access share mode`);
}

/**
 * The account of a person by its id, address or user name, and their id in the register of persons: every identifier that is known.
 * @throws SUBJECT_AMBIGUOUS where one of them, case aside, is another account's too: rows of somebody else would be given
 */
export async function readIdentifiers(
  client: SqlClient,
  given: string,
): Promise<{ account: string | null; all: string[] }> {
  const users = await queryRows(
    client,
    z.object({ id: z.string(), email: z.string(), username: z.string() }),
    `select id::text, email, username from security_confidential.users
      where id::text = $1::text or lower(email) = $1::text or lower(username) = $1::text`,
    [given],
  );
  const emails = [given, ...users.map(({ email }) => email.toLowerCase())];
  const persons = await queryRows(
    client,
    z.object({ id: z.string() }),
    'select id::text from compliance.person where email = any ($1::text[])',
    [emails],
  );
  const known = users.flatMap(({ id, username }) => [id, username.toLowerCase()]);
  const all = [...new Set([...emails, ...known, ...persons.map(({ id }) => id)])];
  const [own] = users;
  if (own === undefined) return { account: null, all };
  const namesakes = await queryRows(
    client,
    z.object({ id: z.string() }),
    `select id::text from security_confidential.users
      where id::text <> $1::text and (id::text = any ($2::text[]) or lower(email) = any ($2::text[]) or lower(username) = any ($2::text[]))
      order by id`,
    [own.id, all],
  );
  if (namesakes.length > 0) throw ambiguous([own.id, ...namesakes.map(({ id }) => id)]);
  return { account: own.id, all };
}

function ambiguous(accounts: readonly string[]): AuditkeepError {
  return new AuditkeepError('SUBJECT_AMBIGUOUS', {
    message: `${accounts.length} accounts have this address or user name, case aside, so rows would be given to the wrong person`,
    hint: 'let the application give each account an address and a user name of its own, then export again',
    details: { accounts },
  });
}

export type SubjectRow = Readonly<Record<string, string | null>>;

/**
 * The rows of a place that may name a person, as texts: where a column that names persons holds an identifier (lower
 * case), a text contains one of `inTexts`, or an envelope hides whom the row names.
 */
export function streamCandidates(
  client: SqlClient,
  place: Place,
  table: SubjectTable,
  person: { readonly identifiers: readonly string[]; readonly inTexts: readonly string[] },
): AsyncGenerator<SubjectRow[]> {
  const column = (name: string) => `t.${quoteIdentifier(name)}`;
  const conditions = [
    ...table.find.map((name) => `lower(${column(name)}::text) = any ($1::text[])`),
    ...table.contains.map(
      (name) => `exists (select from unnest($2::text[]) i where strpos(lower(${column(name)}::text), i) > 0)`,
    ),
    ...table.groups.map((name) => `${column(name)} is not null`),
  ];
  const texts = [...table.columns, ...table.groups].map((name) => `${column(name)}::text as ${quoteIdentifier(name)}`);
  return streamRows(client, {
    shape: z.record(z.string(), z.string().nullable()),
    // The second parameter is not every table's, and has to have a type all the same.
    text: `select ${texts.join(', ')} from ${place.relation} t where (${conditions.join(' or ')}) and $2::text[] is not null`,
    values: [person.identifiers, person.inTexts],
  });
}

/** The types of a table's columns, as PostgreSQL names them, in the order of the names given. */
export async function readTypes(client: SqlClient, table: string, columns: readonly string[]): Promise<string[]> {
  const rows = await queryRows(
    client,
    z.object({ type: z.string() }),
    `select format_type(a.atttypid, a.atttypmod) as type from unnest($2::text[]) with ordinality as n (name, place)
       join pg_catalog.pg_attribute a on a.attrelid = $1::regclass and a.attname = n.name order by n.place`,
    [table, columns],
  );
  return rows.map(({ type }) => type);
}

const disclosureSchema = z.object({
  disclosed_at: z.string(),
  recipient: z.string(),
  description: z.string(),
  purpose: z.string(),
});

/** Disclosures about a person from an instant on, the newest revision of each, oldest first. */
export function streamDisclosures(
  client: SqlClient,
  identifiers: readonly string[],
  since: UtcInstant,
): AsyncGenerator<z.infer<typeof disclosureSchema>[]> {
  return streamRows(client, {
    shape: disclosureSchema,
    text: `select to_char(d.disclosed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as disclosed_at, d.recipient,
                  d.description, d.purpose
             from (select distinct on (r.disclosure_id) r.* from compliance.disclosure r order by r.disclosure_id, r.revision desc) d
            where lower(d.subject) = any ($1::text[]) and d.disclosed_at >= $2::timestamptz
            order by d.disclosed_at, d.disclosure_id`,
    values: [identifiers, isoOf(since)],
  });
}

/** Records that a request for access was received and is answered now. */
export async function recordAnsweredRequest(
  client: SqlClient,
  receivedAt: string,
  answeredAt: UtcInstant,
): Promise<void> {
  await execute(client, 'select privacy.answer_access_request($1::timestamptz, $2::timestamptz)', [
    receivedAt,
    isoOf(answeredAt),
  ]);
}
