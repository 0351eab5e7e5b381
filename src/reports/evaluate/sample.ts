/**
 * Samples of a population: the first keys in the order of HMAC-SHA-256(seed, key), so that nobody picks them, and whoever has the seed
 * and the database draws them again. Each drawn key is then looked for again, later and by another query.
 */
import { randomBytes } from 'node:crypto';
import type { SqlClient } from '../../db/database.ts';
import { AuditkeepError } from '../../errors.ts';
import { csvHeader, csvLine } from '../evidence/csv.ts';
import type { EvidenceSink } from '../evidence/evidence-file.ts';
import { type SampleModel, samplePath } from '../model/control-model.ts';
import { type ControlTemplate, SAMPLE_SIZE_PARAMETER } from '../template/template.ts';
import { type PopulationQuery, readSample } from './store-sample.ts';

/** Keys drawn from each population unless its template says otherwise. */
const SAMPLE_SIZE = 25;
const BLOCK_BYTES = 64;

/** A seed that nobody chose. */
export function randomSeed(): string {
  return randomBytes(32).toString('hex');
}

/** Reads a seed, 16 to 64 bytes in hex: at most one block of the hash, at least what cannot be tried. @throws INPUT_INVALID */
export function parseSeed(text: string): string {
  const seed = text.trim().toLowerCase();
  if (/^(?:[0-9a-f]{2}){16,64}$/.test(seed)) return seed;
  throw new AuditkeepError('INPUT_INVALID', {
    message: 'the seed of the samples is malformed',
    hint: 'give 32 to 128 hexadecimal digits, an even number, for example from `openssl rand -hex 32`',
  });
}

/** How many keys a control asks for. */
function sizeOf({ parameters }: Pick<ControlTemplate, 'parameters'>): number {
  return parameters[SAMPLE_SIZE_PARAMETER]?.default ?? SAMPLE_SIZE;
}

/** Draws the sample of a control's population. */
export function drawSample(
  client: SqlClient,
  template: Pick<ControlTemplate, 'parameters'>,
  population: PopulationQuery,
  seed: string,
): Promise<string[]> {
  const key = Buffer.alloc(BLOCK_BYTES);
  key.write(seed, 'hex');
  const pad = (byte: number) => Buffer.from(key.map((own) => own ^ byte));
  return readSample(client, population, { inner: pad(0x36), outer: pad(0x5c), size: sizeOf(template) });
}

export interface SampleInput {
  readonly template: Pick<ControlTemplate, 'id' | 'parameters' | 'population'>;
  readonly seed: string;
  readonly drawn: readonly string[];
  /** Which of them were found later, and when; null when that failed. */
  readonly again: { readonly at: string; readonly keys: readonly string[] } | null;
  readonly pseudonymize: (value: string) => string;
  readonly evidence: EvidenceSink;
}

/**
 * What the model says of a sample, and its file. Keys stand in the order of what is printed: the order in which they were drawn
 * follows from seed and keys, and would tell which pseudonym is whose to whoever knows the keys.
 * @throws REPORT_SPOOL, REPORT_TOO_LARGE
 */
export async function recordSample(input: SampleInput): Promise<SampleModel> {
  const { template, seed, drawn, again } = input;
  const { keyKind = 'pseudonym', key } = template.population;
  const shown = (some: readonly string[]) =>
    some.map((text) => (keyKind === 'pseudonym' ? input.pseudonymize(text) : text)).sort();
  const keys = shown(drawn);
  const columns = [{ name: key, kind: keyKind }];
  const pieces = [csvHeader(columns), ...keys.map((text) => csvLine(columns, [text]))];
  const path = samplePath(template.id);
  const written = keys.length === 0 ? null : await input.evidence.write(path, bytesOf(pieces));
  const evidence = written === null ? null : { path, rows: keys.length, columns: [key], ...written };
  const found = new Set(again?.keys);
  const reread = again === null ? null : { at: again.at, missing: shown(drawn.filter((text) => !found.has(text))) };
  return { seed, size: sizeOf(template), keyKind, keys, evidence, reread };
}

async function* bytesOf(pieces: readonly string[]): AsyncGenerator<Uint8Array, void, undefined> {
  yield await Promise.resolve(Buffer.from(pieces.join(''), 'utf8'));
}
