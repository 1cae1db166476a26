/** The network seam's rules over the real network and the simulated one, on Unix sockets and TCP. */
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe } from 'vitest';
import type { Address } from '../../src/platform/platform.ts';
import { realPlatform } from '../../src/platform/real/real-platform.ts';
import { createMachine } from '../../src/simulator/machine/machine.ts';
import { createWorld } from '../../src/simulator/machine/world.ts';
import { noDisk } from '../unit/simulator/no-disk.ts';
import { eventually } from './coordinator-suite.ts';
import { type NetworkHarness, networkSuite } from './network-suite.ts';

const platform = realPlatform();
const pathIn = (directory: string): string =>
  join(directory, 'a directory with a long name'.repeat(4), 'socket');
const addressOf = (kind: Address['kind'], directory: string): Address =>
  kind === 'tcp' ? { kind, host: '127.0.0.1', port: 0 } : { kind, path: pathIn(directory) };

async function realHarness(kind: Address['kind']): Promise<NetworkHarness> {
  const directory = mkdtempSync('/var/tmp/tartan-network-');
  await platform.disk.makeDirectory(join(pathIn(directory), '..'));
  return {
    platform,
    address: () => addressOf(kind, directory),
    complete: (promise) => promise,
    eventually,
    close: async () => rmSync(directory, { recursive: true }),
  };
}

async function simulatedHarness(kind: Address['kind']): Promise<NetworkHarness> {
  const world = createWorld(17);
  const process = createMachine(world, { name: 'alone', disk: noDisk }).start('both');
  return {
    platform: process.platform,
    address: () => addressOf(kind, '/run'),
    complete: (promise) => world.complete(promise, { withinMs: 10_000 }),
    eventually: async (condition) => {
      const end = await world.run({ until: condition, untilMs: world.scheduler.nowMs + 10_000 });
      if (end !== 'condition') throw world.failure?.error ?? new Error(`it did not happen: ${end}`);
    },
    close: async () => process.kill(),
  };
}

describe.each(['unix', 'tcp'] as const)('real connections over %s', (kind) => {
  networkSuite(() => realHarness(kind));
});

describe.each(['unix', 'tcp'] as const)('simulated connections over %s', (kind) => {
  networkSuite(() => simulatedHarness(kind));
});
