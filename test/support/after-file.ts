/** Ends what a test file has made. A setup file runs for every test file, also where files share the loaded code. */
import { afterAll } from 'vitest';
import { removeHomes } from './context.ts';
import { dropCopies } from './database.ts';

afterAll(async () => {
  await dropCopies();
  await removeHomes();
});
