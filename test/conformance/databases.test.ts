/** The database seam over the real one and over the simulated one. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe } from 'vitest';
import { realPlatform } from '../../src/platform/real/real-platform.ts';
import { type DatabasesBed, databasesSuite } from './databases-suite.ts';
import { simulatedBed } from './simulated-bed.ts';

function realBed(): DatabasesBed {
  const { disk, memory, databases } = realPlatform();
  const directory = mkdtempSync('/var/tmp/tartan-database-');
  return {
    disk,
    memory,
    databases,
    directory,
    run: (body) => body(),
    release: () => rmSync(directory, { recursive: true }),
    corrupt: (path) => {
      for (const name of readdirSync(path)) {
        if (name.startsWith('MANIFEST') || name === 'CURRENT') writeFileSync(join(path, name), 'nonsense');
      }
    },
  };
}

describe('the real databases', () => databasesSuite(realBed));
describe('simulated databases', () =>
  databasesSuite(async () => {
    const bed = await simulatedBed();
    return { ...bed, corrupt: (path) => bed.machineDisk.faults.corruptDatabase(path) };
  }));
