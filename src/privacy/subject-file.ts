/** The files of a person's export: NDJSON and CSV, hashed as they are written, encrypted for an age key where one is given. */
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { encrypterFor } from '../keys/age-recipient.ts';

export interface WrittenFile {
  readonly path: string;
  readonly bytes: number;
  /** Of the content, before encryption. */
  readonly sha256: string;
}

interface Sink {
  write(text: string): Promise<void>;
  /** Ends the file and makes it durable. */
  end(): Promise<WrittenFile>;
  /** Lets go of a file that is not finished. */
  abandon(): Promise<void>;
}

/** Opens a new file in a folder: `name`, or `name.age` for a recipient. Memory holds what was given last only. */
export async function openSink(folder: string, name: string, ageRecipient: string | null): Promise<Sink> {
  const path = ageRecipient === null ? name : `${name}.age`;
  const file = await open(`${folder}/${path}`, 'wx', 0o600);
  const hash = createHash('sha256');
  let bytes = 0;
  const target = ageRecipient === null ? plain(file) : encrypted(file, ageRecipient);
  return {
    async write(text) {
      const chunk = Buffer.from(text, 'utf8');
      hash.update(chunk);
      bytes += chunk.length;
      await target.write(chunk);
    },
    async end() {
      await target.end();
      await file.sync();
      await file.close();
      return { path, bytes, sha256: hash.digest('hex') };
    },
    abandon: () => file.close(),
  };
}

type File = Awaited<ReturnType<typeof open>>;

function plain(file: File) {
  return { write: (chunk: Uint8Array) => file.writeFile(chunk), end: () => Promise.resolve() };
}

function encrypted(file: File, ageRecipient: string) {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const pumped = (async () => {
    for await (const chunk of await encrypterFor(ageRecipient).encrypt(readable)) await file.writeFile(chunk);
  })();
  pumped.catch(() => null); // told by whoever writes or ends
  const writer = writable.getWriter();
  return {
    // Whoever pumps may have failed (no space): then nobody reads any more.
    write: (chunk: Uint8Array) => Promise.race([writer.write(chunk), pumped]),
    async end() {
      await Promise.race([writer.close(), pumped]);
      await pumped;
    },
  };
}

type Row = Readonly<Record<string, string | null>>;

/** Opens NDJSON and CSV of the same rows; both have the columns in the order given. */
export async function openRows(folder: string, name: string, columns: readonly string[], ageRecipient: string | null) {
  const json = await openSink(folder, `${name}.ndjson`, ageRecipient);
  const csv = await openSink(folder, `${name}.csv`, ageRecipient);
  await csv.write(`${columns.join(',')}\r\n`);
  return {
    async write(rows: readonly Row[]): Promise<void> {
      await json.write(rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
      await csv.write(
        rows.map((row) => `${columns.map((column) => csvCell(row[column] ?? null)).join(',')}\r\n`).join(''),
      );
    },
    end: async (): Promise<WrittenFile[]> => [await json.end(), await csv.end()],
    abandon: async () => {
      await json.abandon();
      await csv.abandon();
    },
  };
}

/** RFC 4180; what a spreadsheet would run as a formula begins with an apostrophe. An absent value is empty, an empty text "". */
export function csvCell(value: string | null): string {
  if (value === null) return '';
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return safe === '' || /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
