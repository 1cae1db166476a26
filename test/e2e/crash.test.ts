import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { expectAcknowledged, startWriter } from './support/acknowledged.ts';
import { recordBytes } from './support/records.mjs';
import { killProcess, TestVolume } from './support/volume.ts';

let volume: TestVolume | undefined;
afterEach((context) => {
  volume?.destroy(context);
  volume = undefined;
});

describe('kill -9 of every process while records are written and synced', () => {
  test.each([100, 600, 1400])('%i ms after the first: what was acknowledged is there', async (delayMs) => {
    volume = TestVolume.up();
    const writer = startWriter(volume.mountPoint);
    await writer.begun;
    await sleep(delayMs);
    volume.killEverything();
    await writer.ended;
    expect(Math.min(...writer.acknowledged)).toBeGreaterThan(0);
    volume.up();
    expectAcknowledged(volume, writer.acknowledged);
    await volume.untilHealthy();
  });
});

describe('kill -9 of the mount process alone', () => {
  test('loses nothing that was acknowledged, three times over', async () => {
    volume = TestVolume.up();
    for (let round = 0; round < 3; round++) {
      const directory = volume.path(`round-${round}`);
      mkdirSync(directory);
      const writer = startWriter(directory);
      await writer.begun;
      await sleep(200);
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

describe('a volume of which no node starts', () => {
  test('is told why, and is there again when the nodes are', () => {
    volume = TestVolume.up({ nodes: 2, parity: 1 });
    writeFileSync(volume.path('kept'), 'kept');
    volume.run('down');
    const nodes = [1, 2].map((id) => join(volume?.state ?? '', 'nodes', String(id)));
    for (const node of nodes) {
      renameSync(node, `${node}.away`);
      writeFileSync(node, 'not a directory');
    }
    const { status, stderr } = volume.try('up');
    expect(status).not.toBe(0);
    expect(stderr).toMatch(/node [12]: .*not a directory/);
    // Its process had started beside the nodes'.
    expect(volume.status().mounts).toEqual([]);
    for (const node of nodes) {
      rmSync(node);
      renameSync(`${node}.away`, node);
    }
    volume.up();
    expect(readFileSync(volume.path('kept'), 'utf8')).toBe('kept');
  });
});
