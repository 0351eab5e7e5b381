/** A report made by report-process.ts, with what it took. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { z } from 'zod';

const shape = z.object({
  id: z.string(),
  seconds: z.number(),
  errors: z.array(z.string()),
  rssMb: z.number(),
  cpuSeconds: z.number(),
});

export type MadeReport = z.infer<typeof shape>;

/** Makes a report of a framework over last month in a process of its own. @throws Error where a control ended in an error */
export async function generateInProcess(url: string, home: string, framework: string): Promise<MadeReport> {
  const program = fileURLToPath(new URL('./report-process.ts', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [program, url, home, framework]);
  const made = shape.parse(JSON.parse(stdout));
  if (made.errors.length > 0) throw new Error(`controls that ended in an error: ${made.errors.join(', ')}`);
  return made;
}
