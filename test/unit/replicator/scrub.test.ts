import { afterEach, expect, test } from 'vitest';
import { CheckWorld } from '../fsck/world.ts';

const LENGTH_BYTES = 600_000;
let world: CheckWorld;

afterEach(() => world.close());

async function filled(): Promise<void> {
  world = await CheckWorld.open();
  await world.writeFile('file', LENGTH_BYTES);
  await world.volume!.fileSystem.syncAll();
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await world.platform.timers.sleep(10);
}

const scrub = () => world.volume!.upkeep.scrub();

async function scrubbed(): Promise<void> {
  world.volume!.upkeep.scrubNow();
  await until(() => !scrub().underWay);
}

test('damage in data and parity alike is found and repaired', async () => {
  await filled();
  const segments = await world.segments();
  const damaged = segments.map(({ segmentId, nodes }, index) => ({
    segmentId,
    position: index % nodes.length,
    nodeId: nodes[index % nodes.length]!,
  }));
  for (const { nodeId, segmentId, position } of damaged) await world.corrupt(nodeId, segmentId, position);
  await scrubbed();
  expect(scrub().findings).toEqual(damaged.map((fragment) => ({ ...fragment, repaired: true })));
  expect(scrub()).toMatchObject({ found: damaged.length, repaired: damaged.length });
  expect((await world.check({ data: true })).findings).toEqual([]);
});

test('every fragment is read once in a pass, and a clean volume has no findings', async () => {
  await filled();
  await scrubbed();
  const segments = await world.segments();
  const bytes = segments.reduce(
    (sum, { nodes, fragmentBlocks }) => sum + nodes.length * fragmentBlocks * 4096,
    0,
  );
  expect(scrub()).toMatchObject({ found: 0, bytesRead: bytes, state: 'idle' });
  expect(scrub().finishedMs).toBeGreaterThan(0);
});

test('parity that is whole and does not fit the data is replaced', async () => {
  await filled();
  const [segment] = await world.segments();
  await world.forgeFragment(segment!, 2, (description, payload) => {
    payload.fill(7);
    return description;
  });
  await scrubbed();
  expect(scrub()).toMatchObject({ found: 1, repaired: 1 });
  expect((await world.check({ data: true })).findings).toEqual([]);
});

test('a pass goes on where it was after a restart', async () => {
  await filled();
  const { upkeep } = world.volume!;
  upkeep.changeScrubbing({ limitBytesPerSecond: 400_000 });
  upkeep.scrubNow();
  await until(() => scrub().segments >= 1);
  upkeep.changeScrubbing({ paused: true });
  await until(() => scrub().state === 'paused');
  const { position, segments } = scrub();
  expect(position).toBeGreaterThan(0);
  await world.remount();
  expect(scrub()).toMatchObject({ state: 'paused', position, segments, limitBytesPerSecond: 400_000 });
  world.volume!.upkeep.changeScrubbing({ paused: false, limitBytesPerSecond: 0 });
  await until(() => !scrub().underWay);
  expect(scrub().segments).toBeGreaterThan(segments);
});

test('a pass begins by itself when it is due', async () => {
  await filled();
  await scrubbed();
  const { startedMs } = scrub();
  world.volume!.upkeep.changeScrubbing({ intervalSeconds: 1 });
  await until(() => scrub().startedMs > startedMs);
  world.volume!.upkeep.changeScrubbing({ intervalSeconds: 0 });
  await until(() => !scrub().underWay);
});

test('a fragment that its node has lost is put back', async () => {
  await filled();
  const [segment] = await world.segments();
  await world.freeFragment(segment!.nodes[1]!, segment!.segmentId, 1);
  await scrubbed();
  expect(scrub().found).toBe(1);
  await until(() => world.volume!.upkeep.heal().degradedSegments === 0);
  expect((await world.check({ data: true })).findings).toEqual([]);
});
