/** Whom ids and actor keys stand for (migration 0241). */
import { z } from 'zod';
import { withSessionLock } from '../../db/advisory-lock.ts';
import type { Database } from '../../db/database.ts';
import { queryRows } from '../../db/query.ts';
import { isoOf } from '../../time/clock.ts';
import type { ReportPeriod } from '../../time/report-period.ts';
import type { Identity } from '../model/identity.ts';

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const ACTOR_KEY = /^address:[0-9a-f]{64}$/;

const ownerShape = z.object({
  id: z.string(),
  kind: z.enum(['account', 'token', 'session', 'grant', 'transaction']),
  account_id: z.string().nullable(),
  name: z.string().nullable(),
  email: z.string().nullable(),
});
const nameShape = z.object({
  key: z.string(),
  said: z.string(),
  account_id: z.string().nullable(),
  name: z.string().nullable(),
  email: z.string().nullable(),
});

export interface FoundIdentity {
  readonly identity: Identity;
  /** Whose subject key covers it, as the facts name persons; null for what belongs to nobody. */
  readonly person: string | null;
}

/**
 * Who the values of pseudonyms are, as far as the database tells now. Of a key of several words (`account ID`) the last one tells.
 * @param period events of it tell what address an actor key was made of
 */
export async function findIdentities(
  db: Database,
  values: readonly string[],
  period: Pick<ReportPeriod, 'startAt' | 'endAt'>,
): Promise<ReadonlyMap<string, FoundIdentity>> {
  const names = [...new Set(values.map(lastWord))];
  const found = new Map<string, FoundIdentity>();
  const ids = names.filter((name) => UUID.test(name));
  const keys = names.filter((name) => ACTOR_KEY.test(name));
  const others = names.filter((name) => !UUID.test(name) && !ACTOR_KEY.test(name));
  for (const row of ids.length === 0 ? [] : await readOwners(db, ids)) {
    const { id: value, kind, account_id: account, name, email } = row;
    found.set(value, { identity: { value, kind, account, name, email }, person: account });
  }
  for (const row of keys.length === 0 ? [] : await readNames(db, keys, period)) {
    const { key: value, said, account_id: account } = row;
    const isAddress = said.includes('@');
    const name = row.name ?? (isAddress ? null : said);
    const email = row.email ?? (isAddress ? said : null);
    found.set(value, { identity: { value, kind: 'address', account, name, email }, person: account ?? value });
  }
  for (const { login } of others.length === 0 ? [] : await readLogins(db, others)) {
    const identity = { value: login, kind: 'login' as const, account: null, name: login, email: null };
    found.set(login, { identity, person: login });
  }
  return new Map(
    values.map((value) => {
      const name = lastWord(value);
      const { identity, person } = found.get(name) ?? unknownIdentity(name);
      return [value, { identity: { ...identity, value }, person }];
    }),
  );
}

function lastWord(value: string): string {
  return value.slice(value.lastIndexOf(' ') + 1);
}

/** An actor key stands for somebody, whether or not it is known for whom. */
function unknownIdentity(value: string): FoundIdentity {
  const isActor = ACTOR_KEY.test(value);
  const kind = isActor ? 'address' : 'other';
  return { identity: { value, kind, account: null, name: null, email: null }, person: isActor ? value : null };
}

/** Those that are logins of the database: a person may have one of their own. */
function readLogins(db: Database, names: readonly string[]) {
  return db.withClient((client) =>
    queryRows(
      client,
      z.object({ login: z.string() }),
      'select r.rolname::text as login from pg_catalog.pg_roles r where r.rolname = any ($1::text[])',
      [names],
    ),
  );
}

function readOwners(db: Database, ids: readonly string[]) {
  return db.withClient((client) => queryRows(client, ownerShape, 'select * from privacy.owners_of($1::uuid[])', [ids]));
}

function readNames(db: Database, keys: readonly string[], { startAt, endAt }: Pick<ReportPeriod, 'startAt' | 'endAt'>) {
  return db.withClient((client) =>
    withSessionLock(client, 'structure', 'shared', () =>
      queryRows(client, nameShape, 'select * from privacy.names_of($1::text[], $2::timestamptz, $3::timestamptz)', [
        keys,
        isoOf(startAt),
        isoOf(endAt),
      ]),
    ),
  );
}
