/** A fragment store on a machine that is killed and loses power at any moment, several times over. */
import { expect, test } from 'vitest';
import { BLOCK_BYTES, KIB } from '../../../src/base/units.ts';
import type { FragmentName } from '../../../src/format/storage-messages.ts';
import type { Platform } from '../../../src/platform/platform.ts';
import type { Dice } from '../../../src/simulator/contract.ts';
import { FragmentStore } from '../../../src/storage/fragment-store.ts';
import { StorageError } from '../../../src/storage/storage-error.ts';
import { type MadeFragment, makeFragment, volumeId } from '../storage/support.ts';
import { DIRECTORY, type DiskBed, diskBed, underSeeds } from './disk-bed.ts';

const LIVES = 6;
const DISK_BYTES = 4 * 1024 * KIB;

/** What is known of a fragment. Between its beginning and its end, an operation may have happened or not. */
interface Known {
  readonly fragment: MadeFragment;
  state: 'putting' | 'held' | 'freeing' | 'freed';
}

function openStore(platform: Platform): Promise<FragmentStore> {
  return FragmentStore.open(platform, {
    directory: `${DIRECTORY}/store`,
    nodeId: 1,
    volumeId,
    logFileBytes: 256 * KIB,
    growBytes: 64 * KIB,
    reserveBytes: 0,
  });
}

const nameOf = ({ description }: MadeFragment): FragmentName => description;

async function put(store: FragmentStore, known: Known[], segmentId: number, dice: Dice): Promise<void> {
  const entry: Known = {
    fragment: makeFragment(segmentId, dice.below(3), 1 + dice.below(12)),
    state: 'putting',
  };
  known.push(entry);
  const { description, payload } = entry.fragment;
  try {
    await store.put(description, payload);
    entry.state = 'held';
  } catch (error) {
    // What is refused may be there all the same.
    if (!(error instanceof StorageError) || error.refusal.reason !== 'full') throw error;
  }
}

async function free(store: FragmentStore, entries: readonly Known[]): Promise<void> {
  for (const entry of entries) entry.state = 'freeing';
  await store.free(
    1,
    entries.map(({ fragment }) => nameOf(fragment)),
  );
  for (const entry of entries) entry.state = 'freed';
}

/** Until its machine is no more. */
async function load(
  store: FragmentStore,
  known: Known[],
  lane: number,
  life: number,
  dice: Dice,
): Promise<void> {
  for (let count = 0; ; count++) {
    const segmentId = 1 + lane + 4 * (count + 10_000 * life);
    await put(store, known, segmentId, dice);
    const held = known.filter(
      ({ fragment, state }) => state === 'held' && fragment.description.segmentId % 4 === (1 + lane) % 4,
    );
    if (held.length > 5) await free(store, held.slice(0, 1 + dice.below(held.length)));
  }
}

async function stateOf(
  store: FragmentStore,
  fragment: MadeFragment,
  platform: Platform,
): Promise<'held' | 'freed'> {
  const into = platform.memory.allocate(fragment.payload.length);
  try {
    await store.get(nameOf(fragment), 0, fragment.description.fragmentBlocks, into);
  } catch (error) {
    if (error instanceof StorageError && error.refusal.reason === 'missing') return 'freed';
    throw error;
  }
  expect(into.equals(fragment.payload)).toBe(true);
  return 'held';
}

/** After a restart everything is as it was acknowledged, and what was not is decided for good. */
async function check(store: FragmentStore, known: readonly Known[], platform: Platform): Promise<void> {
  let heldBytes = 0;
  for (const entry of known) {
    const found = await stateOf(store, entry.fragment, platform);
    const { segmentId, position } = entry.fragment.description;
    if (entry.state === 'held' || entry.state === 'freed')
      expect([segmentId, position, found]).toEqual([segmentId, position, entry.state]);
    entry.state = found;
    if (found === 'held') heldBytes += entry.fragment.payload.length + BLOCK_BYTES;
  }
  expect(store.usedBytes).toBe(heldBytes);
}

async function live(bed: DiskBed, known: Known[], life: number, dice: Dice): Promise<void> {
  await bed.run(async (_, platform) => {
    const store = await openStore(platform);
    await check(store, known, platform);
    for (let lane = 0; lane < 3; lane++)
      load(store, known, lane, life, dice.fork(`lane ${lane}`)).catch((error: unknown) =>
        bed.world.fail('crash', error as Error),
      );
    await platform.timers.sleep(dice.exponential(20));
  });
  if (dice.chance(0.3)) bed.kill();
  else bed.losePower();
}

test('what was acknowledged is there after any number of crashes, and what was freed is not', async () => {
  const outcomes = await underSeeds(7, async (seed) => {
    const bed = await diskBed(seed, { capacityBytes: DISK_BYTES });
    const dice = bed.world.dice.fork('test');
    const known: Known[] = [];
    for (let life = 0; life < LIVES; life++) {
      try {
        await live(bed, known, life, dice.fork(`life ${life}`));
      } catch (error) {
        throw new Error(`seed ${seed}, life ${life}: ${error}`, { cause: error });
      }
    }
    await bed.run(async (_, platform) => {
      const store = await openStore(platform);
      await check(store, known, platform);
      await store.close();
    });
    return known.length;
  });
  expect(Math.min(...outcomes)).toBeGreaterThan(20);
});
