import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

// Unit and conformance tests run on the sources; end-to-end tests drive the built command through real mounts.
export default defineConfig({
  test: {
    // Many tests wait for real disks, sockets and timers: with one for each processor a small machine would be idle for a good part of the time.
    maxWorkers: Math.ceil(1.5 * availableParallelism()),
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts', 'test/conformance/**/*.test.ts'],
          // For what hangs: a busy machine makes the longest ones several times as long.
          testTimeout: 90_000,
          hookTimeout: 60_000,
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
