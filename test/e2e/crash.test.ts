import { mkdirSync, readFileSync } from 'node:fs';
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
