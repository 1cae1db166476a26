import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

// Unit and conformance tests run on the sources; end-to-end tests drive the built command through real mounts.
export default defineConfig({
  test: {
    // Left alone, one processor would be kept free of tests: half of a small machine.
    maxWorkers: availableParallelism(),
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts', 'test/conformance/**/*.test.ts'],
          testTimeout: 30_000,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          testTimeout: 180_000,
          hookTimeout: 120_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
