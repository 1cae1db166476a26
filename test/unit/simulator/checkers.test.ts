/** The checkers of a cluster at rest, over a real volume in this process: they are content with a sound one, and find what is broken. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { MAX_REQUEST_BYTES } from '../../../src/base/limits.ts';
import { Leaks } from '../../../src/simulator/checkers/leaks.ts';
import { VolumeCheck } from '../../../src/simulator/checkers/volume-check.ts';
import {
  CheckFailed,
  type ClusterView,
  type SimulatedProcess,
  type World,
} from '../../../src/simulator/contract.ts';
import { patterned, root } from '../filesystem/harness.ts';
import { RealWorld } from '../filesystem/real-world.ts';

let real: RealWorld;
beforeEach(async () => {
  real = await RealWorld.open();
});
afterEach(() => real.close());

/** Virtual time that goes on as fast as the real volume can follow. */
function fastWorld(): World {
  const scheduler = {
    nowMs: 0,
    after(delayMs: number, run: () => void) {
      setTimeout(() => {
        scheduler.nowMs += delayMs;
        run();
      }, 1);
      return { cancel: () => undefined };
    },
  };
  return { scheduler } as unknown as World;
}

function view(changes: { liveTimers?: number; openConnections?: number } = {}): ClusterView {
  const { metadata, writer, reader, links, platform, volumeId, coordinator } = real;
  const { liveTimers = 3, openConnections = 4 } = changes;
  const process = { name: 'mount', platform, liveTimers, openConnections } as SimulatedProcess;
  return {
    ...{ volumeId, coordinator, mountProcess: process, segmentSlots: real.slotCount },
    mount: { generation: 1, alive: true, volume: { metadata, writer, reader, links } },
    nodes: [{ id: 1, diskHasLied: false }],
  } as unknown as ClusterView;
}

async function write(name: string, lengthBytes: number): Promise<void> {
  const { fileSystem } = real;
  const { attributes, handle } = await fileSystem.create(1, name, 0o644, 2, root);
  await fileSystem.write(attributes.inode, handle, 0, [patterned(lengthBytes, 1)], false);
  await fileSystem.release(attributes.inode, handle);
  await fileSystem.syncAll();
}

async function loseFragment(): Promise<void> {
  const [record] = await real.metadata.segments(0, 1);
  const { segmentId, generation, nodes } = record!;
  await real.nodes[nodes[0]! - 1]!.fragments.free(real.metadata.term, [
    { segmentId, position: 0, generation },
  ]);
}

it('a sound volume is sound', async () => {
  await write('f', 500_000);
  await new VolumeCheck().phase(view(), fastWorld());
});

it('a fragment that is not there is found', async () => {
  await write('f', 500_000);
  await loseFragment();
  await expect(new VolumeCheck().phase(view(), fastWorld())).rejects.toThrow(/fragment-missing/);
});

it('memory for reads that was not given back is a leak', async () => {
  await new Leaks().phase(view(), fastWorld());
  const buffer = real.reader.takeBuffer(MAX_REQUEST_BYTES)!;
  await expect(new Leaks().phase(view(), fastWorld())).rejects.toBeInstanceOf(CheckFailed);
  buffer.release();
  await new Leaks().phase(view(), fastWorld());
});

it('a segment that stays on its way, too many timers and too many connections are leaks', async () => {
  const leaks = new Leaks();
  await write('f', 100_000);
  const lost = { ...view(), segmentSlots: real.slotCount + 1 } as ClusterView;
  await expect(leaks.phase(lost, fastWorld())).rejects.toThrow(/segment buffers/);
  await expect(leaks.phase(view({ liveTimers: 400 }), fastWorld())).rejects.toThrow(/400 timers/);
  await expect(leaks.phase(view({ openConnections: 30 }), fastWorld())).rejects.toThrow(/30 connections/);
});
