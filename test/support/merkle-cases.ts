/** The published proof cases beside the project (shared/data/merkle), parsed; most of them have to be refused. */
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { isExpected } from './shared-data.ts';

const FOLDER = join(import.meta.dirname, '../../../shared/data/merkle');
const base64 = z
  .string()
  .nullish()
  .transform((text) => Buffer.from(text ?? '', 'base64'));
const proof = z
  .array(base64)
  .nullish()
  .transform((list) => list ?? []);
const size = z.number().transform(BigInt);
const wantErr = z.boolean().default(false);
const inclusionCase = z
  .object({ leafIdx: size, treeSize: size, root: base64, leafHash: base64, proof, wantErr })
  .transform(({ leafIdx, treeSize, leafHash, root, proof: path, wantErr: refused }) => ({
    claim: { index: leafIdx, size: treeSize, leaf: leafHash, root, proof: path },
    refused,
  }));
const consistencyCase = z
  .object({ size1: size, size2: size, root1: base64, root2: base64, proof, wantErr })
  .transform(({ wantErr: refused, ...claim }) => ({ claim, refused }));

/** The folder holds real data that the project does not copy; a user's machine does not have it, CI does. */
export const hasMerkleCases = isExpected(FOLDER);

/** Every inclusion case with its file's name. */
export const inclusionCases = hasMerkleCases ? readCases('inclusion', inclusionCase) : [];
/** Every consistency case with its file's name. */
export const consistencyCases = hasMerkleCases ? readCases('consistency', consistencyCase) : [];

function readCases<T>(kind: string, shape: z.ZodType<T>): readonly (readonly [string, T])[] {
  return globSync(`${kind}/**/*.json`, { cwd: FOLDER })
    .sort()
    .map((file) => [file, shape.parse(JSON.parse(readFileSync(join(FOLDER, file), 'utf8')))] as const);
}
