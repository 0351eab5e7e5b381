/**
 * A rehearsal: everything runs on one connection in one transaction that is never committed. `--dry-run` uses it, so
 * that a dry run makes every check of the command itself, those of the database included, and nothing stays.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { Database, SqlClient } from './database.ts';
import { translateDatabaseError } from './errors.ts';

/** One use of the connection: what is asked for meanwhile takes turns. */
interface Level {
  last: Promise<unknown>;
}

/**
 * A Database over another one whose transactions become savepoints of one transaction; end() rolls it back and ends the
 * pool. Isolation levels are ignored, sequences move on, and what a function writes to files is not undone.
 */
export function openRehearsal(db: Database): Database {
  const stage = openStage(db);
  const outside: Level = { last: Promise.resolve() };
  const inside = new AsyncLocalStorage<Level>();
  return {
    async withClient(fn) {
      // There is one connection: whoever asks for another while holding it gets the same, everybody else waits; also two
      // that are asked for while it is held, since savepoints end in the opposite order of their beginning.
      const level = inside.getStore() ?? outside;
      const turn = level.last.then(async () =>
        inSavepoint(await stage.client(), (client) => inside.run({ last: Promise.resolve() }, () => fn(client))),
      );
      level.last = turn.catch(() => null);
      return turn;
    },
    async end() {
      await outside.last;
      await stage.close();
      await db.end();
    },
  };
}

/** The connection with the transaction, opened on first use. */
function openStage(db: Database) {
  const ending = Promise.withResolvers<null>();
  let holding: Promise<unknown> | null = null;
  let opened: Promise<SqlClient> | null = null;
  const open = () => {
    const { promise, resolve, reject } = Promise.withResolvers<SqlClient>();
    holding = db
      .withClient(async (client) => {
        await client.query('begin');
        resolve(rehearsing(client));
        await ending.promise;
        await client.query('rollback');
      })
      .catch(reject);
    return promise;
  };
  return {
    client: () => (opened ??= open()),
    async close() {
      ending.resolve(null);
      await holding;
    },
  };
}

/** A failed statement undoes what its caller did, as it would on a connection of its own. */
async function inSavepoint<T>(client: SqlClient, fn: (client: SqlClient) => Promise<T>): Promise<T> {
  await client.query('begin');
  try {
    const result = await fn(client);
    await client.query('commit');
    return result;
  } catch (error) {
    await client.query('rollback').catch(() => null);
    throw translateDatabaseError(error);
  }
}

/** The same connection, on which begin, commit and rollback are those of savepoints. */
function rehearsing(client: SqlClient): SqlClient {
  let depth = 0;
  const onStage: unknown = Object.create(client, {
    query: {
      value: (first: unknown, ...more: unknown[]): unknown => {
        const texts = typeof first === 'string' ? savepointTexts(first, depth) : null;
        if (texts === null) return Reflect.apply(client.query, client, [first, ...more]);
        depth += texts.step;
        return client.query(texts.text);
      },
    },
  });
  return onStage as SqlClient;
}

function savepointTexts(text: string, depth: number): { readonly text: string; readonly step: number } | null {
  if (/^begin\b/.test(text)) return { text: `savepoint rehearsal_${depth + 1}`, step: 1 };
  if (text === 'commit') return { text: `release savepoint rehearsal_${depth}`, step: -1 };
  if (text === 'rollback') {
    return { text: `rollback to savepoint rehearsal_${depth}; release savepoint rehearsal_${depth}`, step: -1 };
  }
  return null;
}
