// The compiler copies no .sql files: put each beside its compiled module.
import { cpSync, rmSync } from 'node:fs';

rmSync('dist/schema/migrations', { recursive: true, force: true });
cpSync('src', 'dist', { recursive: true, filter: (path) => !/\.[a-z]+$/.test(path) || path.endsWith('.sql') });
