/** The disk seam over the real one, on the machine's disk and in memory, and over the simulated one. */
import { mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { realPlatform } from '../../src/platform/real/real-platform.ts';
import { type DiskBed, diskSuite } from './disk-suite.ts';
import { simulatedBed } from './simulated-bed.ts';

function realBed(parent: string): DiskBed {
  const { disk, memory } = realPlatform();
  const directory = mkdtempSync(join(parent, 'tartan-disk-'));
  return {
    disk,
    memory,
    directory,
    run: (body) => body(),
    release: () => rmSync(directory, { recursive: true }),
  };
}

describe("the machine's disk", () => diskSuite(() => realBed('/var/tmp')));
describe('a file system in memory', () => diskSuite(() => realBed('/dev/shm')));
describe('a simulated disk', () => diskSuite(simulatedBed));

test.each(['/var/tmp', '/dev/shm'])(
  'a descriptor opens the same file for another owner (%s)',
  async (parent) => {
    const { disk, memory, directory, release } = realBed(parent);
    const path = join(directory, 'file');
    writeFileSync(path, Buffer.alloc(4096, 5));
    const file = await disk.open(path, { direct: true });
    const copy = memory.openDescriptor(openSync(`/proc/self/fd/${file.descriptor}`, 'r'), false);
    const into = memory.allocate(4096);
    expect(await copy.read([into], 0)).toBe(4096);
    expect(into[0]).toBe(5);
    await copy.close();
    await file.close();
    release();
  },
);
