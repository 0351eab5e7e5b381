/** What two reports are compared by, read from a model that anybody may have made. Pure. */
import { z } from 'zod';
import { AuditkeepError } from '../../errors.ts';
import { MODEL_FORMAT, sha256Hex } from '../model/model.ts';

const count = z.int().nonnegative().nullable();
/** What is printed moves no cursor and hides no line. */
const word = z.string().regex(/^\P{Cc}*$/u);

const controlSchema = z.object({
  id: word,
  version: z.int(),
  title: word,
  status: word,
  population: z.object({ count }),
  exceptions: z.object({
    count,
    columns: z.array(z.object({ name: word, kind: z.string() })),
    rows: z.array(z.array(z.string().nullable())),
  }),
  ipe: z.object({
    templateSha256: word,
    parameters: z.array(z.object({ name: word, value: z.int() })),
  }),
});

const modelSchema = z.object({
  format: z.literal(MODEL_FORMAT),
  report: z.object({ id: word, version: z.int() }),
  framework: z.object({ id: word, version: z.int(), name: word, templateSha256: word }),
  period: z.object({ startDate: word, endDate: word, interim: z.boolean() }),
  opinion: word,
  requirements: z.array(z.object({ id: word, citation: word, status: word })),
  controls: z.array(controlSchema),
});

export type ComparableControl = z.infer<typeof controlSchema>;
/** The part of a model that a comparison needs, and the model's hash H. */
export type ComparableReport = z.infer<typeof modelSchema> & { readonly hash: string };

/** Reads the bytes of a model.json. @throws INPUT_INVALID for anything else */
export function parseComparable(bytes: Uint8Array, what: string): ComparableReport {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch (cause) {
    throw noModel(what, cause);
  }
  const parsed = modelSchema.safeParse(value);
  if (!parsed.success) throw noModel(what, parsed.error);
  return { ...parsed.data, hash: sha256Hex(bytes) };
}

function noModel(what: string, cause: unknown): AuditkeepError {
  return new AuditkeepError('INPUT_INVALID', {
    message: `${what} is no report of format ${MODEL_FORMAT}`,
    hint: 'give the id of a report, a bundle, or the model.json of one',
    cause,
  });
}
