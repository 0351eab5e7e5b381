import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    setupFiles: ['test/support/after-file.ts'],
    pool: 'forks',
    maxWorkers: 3,
    // Each file has a database of its own; what they share is code, and loading it anew 170 times takes a minute and a half.
    isolate: false,
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
});
