/** Each check of the metadata finds what it is for, and --repair takes it away. */
import { afterEach, describe, expect, test } from 'vitest';
import { type CheckWorld, populated } from './world.ts';

let world: CheckWorld | undefined;
afterEach(async () => {
  await world?.close();
  world = undefined;
});

test('a volume that was used as intended is clean, mounted or not', async () => {
  ({ world } = await populated());
  expect((await world.check()).findings).toEqual([]);
  await world.rest();
  const { findings, summary } = await world.check();
  expect(findings).toEqual([]);
  expect(summary).toMatchObject({ inodes: 6, errors: 0, warnings: 0, repaired: 0 });
});
