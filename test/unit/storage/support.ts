/**
 * What the storage tests share: a quiet real platform, scratch directories on a real disk, and fragments made from a seed.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { afterEach } from 'vitest';
import { BLOCK_BYTES } from '../../../src/base/units.ts';
import type { FragmentDescription } from '../../../src/format/fragment-header.ts';
import type { Logger, Platform } from '../../../src/platform/platform.ts';
import { realPlatform } from '../../../src/platform/real/real-platform.ts';

/** Keeps what was logged, so that tests can look for it. */
export class RecordingLogger implements Logger {
  readonly events: string[] = [];
  debug(): void {}
  info(event: string): void {
    this.events.push(event);
  }
  warn(event: string): void {
    this.events.push(event);
  }
  error(event: string): void {
    this.events.push(event);
  }
  child(): Logger {
    return this;
  }
}

export const logged = new RecordingLogger();
export const platform: Platform = realPlatform({ log: logged });

const scratch: string[] = [];

/** A new directory on the disk, removed after the test. */
export function scratchDirectory(): string {
  const path = mkdtempSync('/var/tmp/tartan-storage-test-');
  scratch.push(path);
  return path;
}

afterEach(() => {
  for (const path of scratch.splice(0)) rmSync(path, { recursive: true, force: true });
  logged.events.length = 0;
});

export const volumeId = Buffer.from('00112233445566778899aabbccddeeff', 'hex');

export interface MadeFragment {
  readonly description: FragmentDescription;
  readonly payload: Buffer;
}

/** A fragment whose bytes follow from its name and `salt`. */
export function makeFragment(
  segmentId: number,
  position: number,
  fragmentBlocks: number,
  { generation = 0, term = 1, salt = 0 } = {},
): MadeFragment {
  const payload = platform.memory.allocate(fragmentBlocks * BLOCK_BYTES);
  let state = (segmentId * 31 + position * 7 + generation * 3 + salt * 101 + 1) >>> 0;
  for (let at = 0; at < payload.length; at += 64) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    payload.writeUInt32LE(state, at);
  }
  const checksums = new Uint32Array(fragmentBlocks);
  platform.kernels.crc32cBlocks(payload, BLOCK_BYTES, checksums, 0);
  return {
    payload,
    description: {
      segmentId,
      position,
      generation,
      term,
      dataFragments: 4,
      parityFragments: 1,
      fragmentBlocks,
      dataBlocks: Math.min(fragmentBlocks * 4 - 1, 1000),
      summaryBlocks: 1,
      nodes: [1, 2, 3, 4, 5],
      checksums,
    },
  };
}
