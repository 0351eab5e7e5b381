/** All text that is in a PDF, for tests that look for what must not be there. */
import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { constants, inflateSync } from 'node:zlib';

/**
 * What its streams hold, unpacked, and the text as it is read, where there is a tool that reads it.
 * @param folder where the tool finds the file
 */
export async function textOfPdf(bytes: Uint8Array, folder: string): Promise<string> {
  const source = Buffer.from(bytes);
  const streams: string[] = [];
  for (let at = source.indexOf('stream\n'); at >= 0; at = source.indexOf('stream\n', at + 1)) {
    const end = source.indexOf('endstream', at + 7);
    if (source.toString('latin1', at - 3, at) !== 'end') streams.push(unpacked(source.subarray(at + 7, end)));
  }
  const file = join(folder, 'read.pdf');
  await writeFile(file, bytes);
  const { error, stdout } = spawnSync('pdftotext', ['-layout', file, '-'], { encoding: 'utf8' });
  return error === undefined ? `${streams.join('\n')}${stdout}` : streams.join('\n');
}

function unpacked(stream: Buffer): string {
  try {
    return inflateSync(stream, { finishFlush: constants.Z_SYNC_FLUSH }).toString('latin1');
  } catch {
    return stream.toString('latin1'); // not packed
  }
}
