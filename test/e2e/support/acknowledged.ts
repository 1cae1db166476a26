/** A process that writes records and syncs each, and what it was told is durable: nothing of that may be missing later. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { recordBytes } from './records.mjs';
import type { TestVolume } from './volume.ts';

const writerProgram = fileURLToPath(new URL('./acknowledged-writer.mjs', import.meta.url));
const FILES = 3;

export interface Writer {
  readonly child: ChildProcess;
  /** Acknowledged records of each file. */
  readonly acknowledged: number[];
  /** Something of each file is acknowledged, which takes seconds on a busy machine; or it ended before. */
  readonly begun: Promise<void>;
  readonly ended: Promise<void>;
}

export function startWriter(directory: string): Writer {
  const child = spawn(process.execPath, [writerProgram, directory, String(FILES)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const acknowledged: number[] = Array(FILES).fill(0);
  let pending = '';
  let begin = (): void => {};
  const begun = new Promise<void>((resolve) => {
    begin = resolve;
  });
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    const lines = (pending + text).split('\n');
    pending = lines.pop() ?? '';
    for (const line of lines) {
      const [file = 0, record = 0] = line.split(' ').map(Number);
      acknowledged[file] = record + 1;
    }
    if (!acknowledged.includes(0)) begin();
  });
  const ended = new Promise<void>((resolve) => child.on('close', () => resolve()));
  void ended.then(begin);
  return { child, acknowledged, begun, ended };
}

export function expectAcknowledged(target: Pick<TestVolume, 'path'>, acknowledged: readonly number[]): void {
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
