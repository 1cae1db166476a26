import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test } from 'vitest';
import { recordBytes } from './support/records.mjs';
import { killProcess, TestVolume } from './support/volume.ts';

const writerProgram = fileURLToPath(new URL('./support/acknowledged-writer.mjs', import.meta.url));
const FILES = 3;

let volume: TestVolume | undefined;
afterEach((context) => {
  volume?.destroy(context);
  volume = undefined;
});

interface Writer {
  readonly child: ChildProcess;
  /** Acknowledged records of each file. */
  readonly acknowledged: number[];
  readonly ended: Promise<void>;
}

function startWriter(directory: string): Writer {
  const child = spawn(process.execPath, [writerProgram, directory, String(FILES)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const acknowledged: number[] = Array(FILES).fill(0);
  let pending = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    const lines = (pending + text).split('\n');
    pending = lines.pop() ?? '';
    for (const line of lines) {
      const [file = 0, record = 0] = line.split(' ').map(Number);
      acknowledged[file] = record + 1;
    }
  });
  const ended = new Promise<void>((resolve) => child.on('close', () => resolve()));
  return { child, acknowledged, ended };
}

function expectAcknowledged(target: TestVolume, acknowledged: readonly number[]): void {
  for (const [file, count] of acknowledged.entries()) {
    const content = readFileSync(target.path(`acknowledged-${file}`));
    let offset = 0;
    for (let record = 0; record < count; record++) {
      const expected = recordBytes(file, record);
      const found = content.subarray(offset, offset + expected.length);
      expect(found.equals(expected), `record ${record} of file ${file} at ${offset}`).toBe(true);
      offset += expected.length;
    }
  }
}

describe('kill -9 of every process while records are written and synced', () => {
  test.each([400, 900, 1700])('after %i ms: what was acknowledged is there', async (delayMs) => {
    volume = TestVolume.up();
    const writer = startWriter(volume.mountPoint);
    await sleep(delayMs);
    volume.killEverything();
    await writer.ended;
    expect(Math.min(...writer.acknowledged)).toBeGreaterThan(0);
    volume.up();
    expectAcknowledged(volume, writer.acknowledged);
    expect(volume.status().health).toBe('healthy');
  });
});

describe('kill -9 of the mount process alone', () => {
  test('loses nothing that was acknowledged, three times over', async () => {
    volume = TestVolume.up();
    for (let round = 0; round < 3; round++) {
      const directory = volume.path(`round-${round}`);
      const { mkdirSync } = await import('node:fs');
      mkdirSync(directory);
      const writer = startWriter(directory);
      await sleep(500);
      killProcess(volume.status().mounts[0]?.pid);
      await writer.ended;
      volume.up();
      for (const [file, count] of writer.acknowledged.entries()) {
        const content = readFileSync(volume.path(`round-${round}`, `acknowledged-${file}`));
        const expected = Buffer.concat(
          Array.from({ length: count }, (_, record) => recordBytes(file, record)),
        );
        expect(content.subarray(0, expected.length).equals(expected)).toBe(true);
      }
    }
  });
});
