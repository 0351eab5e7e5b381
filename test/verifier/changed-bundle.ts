/** Changes to a bundle on disk, by somebody who knows the format. */
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { canonicalJson, type JsonValue } from '../../src/canonical-json.ts';

/** Changes bundle.json as somebody who knows the format would. */
export async function editManifest(
  copy: string,
  edit: (manifest: Record<string, JsonValue>) => JsonValue,
): Promise<void> {
  const file = join(copy, 'bundle.json');
  await writeFile(file, canonicalJson(edit(JSON.parse(await readFile(file, 'utf8')) as Record<string, JsonValue>)));
}

/** Rewrites a listed file and its sha256 in bundle.json. */
export async function forge(copy: string, name: string, text: string): Promise<void> {
  await writeFile(join(copy, name), text);
  const sha256 = createHash('sha256').update(text).digest('hex');
  await editManifest(copy, (manifest) => ({
    ...manifest,
    files: { ...(manifest['files'] as object), [name]: sha256 },
  }));
}
