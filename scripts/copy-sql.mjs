// The compiler copies no data files: put each .sql and .json beside its compiled module.
import { cpSync, rmSync } from 'node:fs';

rmSync('dist/schema/migrations', { recursive: true, force: true });
cpSync('src', 'dist', { recursive: true, filter: (path) => !/\.[a-z]+$/.test(path) || /\.(sql|json)$/.test(path) });
