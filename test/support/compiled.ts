/** The product as modules of JavaScript, as it is published: sources hold erasable types only, so Node takes them off itself. */
import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { stripTypeScriptTypes } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
/** A relative import of a module of ours. */
const IMPORTED = /((?:from|import)\s*\(?\s*['"]\.[^'"]*)\.ts(?=['"])/g;

/**
 * Compiles the product into a folder below the project's `out`, so that it finds its dependencies; gives the program and
 * what removes it again.
 */
export async function compileProduct(name: string): Promise<{ readonly entry: string; remove(): Promise<void> }> {
  const home = join(ROOT, 'out', `${name}-${process.pid}`);
  const source = join(ROOT, 'src');
  for (const file of await readdir(source, { recursive: true })) {
    const to = join(home, 'dist', file.replace(/\.ts$/, '.js'));
    await mkdir(dirname(to), { recursive: true });
    if (file.endsWith('.ts')) {
      const text = await readFile(join(source, file), 'utf8');
      await writeFile(to, stripTypeScriptTypes(text).replaceAll(IMPORTED, '$1.js'));
    } else if (/\.(sql|json)$/.test(file)) {
      await cp(join(source, file), to);
    }
  }
  await cp(join(ROOT, 'package.json'), join(home, 'package.json'));
  const entry = join(home, 'dist', 'entry.js');
  const lines = [`import { main } from './cli/main.js';`, 'process.exitCode = await main(process.argv.slice(2));'];
  await writeFile(entry, `${lines.join('\n')}\n`);
  return { entry, remove: () => rm(home, { recursive: true, force: true }) };
}
