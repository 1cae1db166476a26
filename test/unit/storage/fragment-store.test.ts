import { spawnSync } from 'node:child_process';
import {
  closeSync,
  cpSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { BLOCK_BYTES, MIB } from '../../../src/base/units.ts';
import type { FragmentName } from '../../../src/format/storage-messages.ts';
import { MachineError } from '../../../src/platform/platform.ts';
import { FragmentStore, type FragmentStoreOptions } from '../../../src/storage/fragment-store.ts';
import { StorageError, StorageUnusable } from '../../../src/storage/storage-error.ts';
import { logged, type MadeFragment, makeFragment, platform, scratchDirectory, volumeId } from './support.ts';

const SEGMENT = 3 * 2 ** 32 + 1;

function openStore(
  directory: string,
  options: Partial<FragmentStoreOptions> = {},
  machine = platform,
): Promise<FragmentStore> {
  return FragmentStore.open(machine, {
    directory,
    nodeId: 1,
    volumeId,
    logFileBytes: 2 * MIB,
    growBytes: MIB,
    reserveBytes: 0,
    ...options,
  });
}

const nameOf = ({ description }: MadeFragment): FragmentName => description;

function put(store: FragmentStore, { description, payload }: MadeFragment) {
  return store.put(description, payload);
}

async function read(store: FragmentStore, fragment: MadeFragment): Promise<Buffer> {
  const into = platform.memory.allocate(fragment.payload.length);
  await store.get(nameOf(fragment), 0, fragment.description.fragmentBlocks, into);
  return into;
}

async function expectHeld(store: FragmentStore, fragment: MadeFragment): Promise<void> {
  expect((await read(store, fragment)).equals(fragment.payload)).toBe(true);
}

async function reasonOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return 'none';
  } catch (error) {
    if (error instanceof StorageError) return error.refusal.reason;
    throw error;
  }
}

/** Overwrites bytes of a log file behind the store's back. */
function damage(directory: string, fileId: number, offset: number, bytes = Buffer.from('damaged!')): void {
  const descriptor = openSync(join(directory, `${String(fileId).padStart(8, '0')}.tlog`), 'r+');
  writeSync(descriptor, bytes, 0, bytes.length, offset);
  closeSync(descriptor);
}

/** What a crash leaves: the directory as it is, without the store's closing. The index first: it may lag behind, never run ahead. */
function copyOf(directory: string): string {
  const copy = scratchDirectory();
  cpSync(join(directory, 'index'), join(copy, 'index'), { recursive: true });
  for (const name of readdirSync(directory)) {
    if (name !== 'index') cpSync(join(directory, name), join(copy, name), { recursive: true });
  }
  return copy;
}

describe('a fragment store', () => {
  test('returns what was put, whole and in ranges, before and after a restart', async () => {
    const directory = scratchDirectory();
    const fragment = makeFragment(SEGMENT, 2, 256);
    let store = await openStore(directory);
    await put(store, fragment);
    for (let round = 0; round < 2; round++) {
      await expectHeld(store, fragment);
      const into = platform.memory.allocate(3 * BLOCK_BYTES);
      await store.get(nameOf(fragment), 253, 3, into);
      expect(into.equals(fragment.payload.subarray(253 * BLOCK_BYTES))).toBe(true);
      expect(await store.describe(nameOf(fragment))).toEqual(fragment.description);
      await store.close();
      store = await openStore(directory);
    }
    await store.close();
  });

  test('holds the longest fragment, whose header takes two pages', async () => {
    const store = await openStore(scratchDirectory(), { logFileBytes: 16 * MIB });
    const fragment = makeFragment(SEGMENT, 0, 1056);
    const { location } = await put(store, fragment);
    expect(location.payloadOffset).toBe(3 * BLOCK_BYTES);
    await expectHeld(store, fragment);
    expect(store.usedBytes).toBe(1058 * BLOCK_BYTES);
    await store.close();
  });

  test('takes the same put twice, also at the same time, and stores it once', async () => {
    const store = await openStore(scratchDirectory());
    const fragment = makeFragment(SEGMENT, 0, 4);
    const replies = await Promise.all([put(store, fragment), put(store, fragment), put(store, fragment)]);
    expect(new Set(replies.map((reply) => reply.location.payloadOffset)).size).toBe(1);
    expect(store.usedBytes).toBe(5 * BLOCK_BYTES);
    await store.close();
  });

  test('replaces a fragment by a higher generation and refuses a lower one', async () => {
    const directory = scratchDirectory();
    let store = await openStore(directory);
    const first = makeFragment(SEGMENT, 0, 4, { generation: 1 });
    const second = makeFragment(SEGMENT, 0, 6, { generation: 2 });
    await put(store, first);
    await put(store, second);
    await expectHeld(store, second);
    expect(await reasonOf(read(store, first))).toBe('missing');
    expect(await reasonOf(put(store, first))).toBe('conflict');
    expect(store.usedBytes).toBe(7 * BLOCK_BYTES);
    await store.close();
    rmSync(join(directory, 'index'), { recursive: true });
    store = await openStore(directory);
    await expectHeld(store, second);
    expect(store.usedBytes).toBe(7 * BLOCK_BYTES);
    await store.close();
  });

  test('refuses a payload that does not match its checksums, and says which block', async () => {
    const store = await openStore(scratchDirectory());
    const fragment = makeFragment(SEGMENT, 0, 4);
    fragment.payload[2 * BLOCK_BYTES + 17]! ^= 1;
    await expect(put(store, fragment)).rejects.toMatchObject({
      refusal: { reason: 'corrupt', blockIndex: 2 },
    });
    expect(await reasonOf(put(store, { ...fragment, payload: fragment.payload.subarray(BLOCK_BYTES) }))).toBe(
      'invalid',
    );
    expect(store.usedBytes).toBe(0);
    await store.close();
  });

  test('never returns a block that has changed on the disk', async () => {
    const directory = scratchDirectory();
    const store = await openStore(directory);
    const fragment = makeFragment(SEGMENT, 0, 8);
    const { location } = await put(store, fragment);
    damage(directory, location.fileId, location.payloadOffset + 5 * BLOCK_BYTES + 100);
    const into = platform.memory.allocate(8 * BLOCK_BYTES);
    await expect(store.get(nameOf(fragment), 0, 8, into)).rejects.toMatchObject({
      refusal: { reason: 'corrupt', blockIndex: 5 },
    });
    await store.get(nameOf(fragment), 0, 5, into);
    expect(store.statistics().corruptBlocks).toBe(1);
    await store.close();
  });

  test('answers corrupt when the header cannot be read, and missing for what it never had', async () => {
    const directory = scratchDirectory();
    const store = await openStore(directory);
    const fragment = makeFragment(SEGMENT, 0, 2);
    const { location } = await put(store, fragment);
    damage(directory, location.fileId, location.payloadOffset - BLOCK_BYTES + 50);
    expect(await reasonOf(read(store, fragment))).toBe('corrupt');
    expect(await reasonOf(read(store, makeFragment(SEGMENT, 1, 2)))).toBe('missing');
    expect(await reasonOf(read(store, makeFragment(SEGMENT, 0, 2, { generation: 1 })))).toBe('missing');
    await store.close();
  });

  test('takes a put again that replaces damage, and keeps it through crashes, lost indexes and a later free', async () => {
    for (const where of ['payload', 'header'] as const) {
      const directory = scratchDirectory();
      const store = await openStore(directory);
      const fragment = makeFragment(SEGMENT, 0, 100);
      const neighbour = makeFragment(SEGMENT + 1, 0, 3);
      const { location } = await put(store, fragment);
      await put(store, neighbour);
      const offset = where === 'payload' ? 70 * BLOCK_BYTES : -BLOCK_BYTES + 50;
      damage(directory, location.fileId, location.payloadOffset + offset);
      const used = store.usedBytes;
      const replaced = await put(store, fragment);
      expect(replaced.location).not.toEqual(location);
      expect(store.usedBytes).toBe(used);
      await expectHeld(store, fragment);
      const crashed = copyOf(directory);
      const withoutIndex = copyOf(directory);
      rmSync(join(withoutIndex, 'index'), { recursive: true });
      await store.free(1, [nameOf(fragment)]);
      const freed = copyOf(directory);
      await store.close();
      for (const copy of [crashed, withoutIndex]) {
        const again = await openStore(copy);
        await expectHeld(again, fragment);
        await expectHeld(again, neighbour);
        expect(again.usedBytes).toBe(used);
        await again.close();
      }
      const again = await openStore(freed);
      expect(await reasonOf(read(again, fragment))).toBe('missing');
      await expectHeld(again, neighbour);
      await again.close();
    }
  });

  test('lists fragments in order, in pages, whether they are in the database yet or not', async () => {
    const directory = scratchDirectory();
    let store = await openStore(directory);
    for (const id of [5, 1, 3]) await put(store, makeFragment(id, 0, 1));
    await store.close();
    store = await openStore(directory);
    for (const id of [2, 4, 2 ** 33]) await put(store, makeFragment(id, 1, 1));
    await store.free(1, [{ segmentId: 3, position: 0, generation: 0 }]);
    const seen: number[] = [];
    let after = { segmentId: 0, position: 0 };
    for (;;) {
      const { fragments, more } = await store.list(after.segmentId, after.position, 2);
      seen.push(...fragments.map((fragment) => fragment.segmentId));
      if (!more) break;
      after = fragments.at(-1)!;
    }
    expect(seen).toEqual([1, 2, 4, 5, 2 ** 33]);
    await store.close();
  });

  test('shares log files by read-only descriptors from which located fragments can be read', async () => {
    const store = await openStore(scratchDirectory());
    const fragment = makeFragment(SEGMENT, 3, 4);
    await put(store, fragment);
    const { fileId, payloadOffset } = store.locate(nameOf(fragment));
    const file = await store.shareLogFile(fileId);
    const into = platform.memory.allocate(4 * BLOCK_BYTES);
    expect(readSync(file.descriptor!, into, 0, into.length, payloadOffset)).toBe(into.length);
    expect(into.equals(fragment.payload)).toBe(true);
    expect(() => writeSync(file.descriptor!, into, 0, BLOCK_BYTES, 0)).toThrow('EBADF');
    expect(await reasonOf(store.shareLogFile(99))).toBe('missing');
    await store.close();
  });

  test('refuses puts and frees of terms before the promised one, also after a restart', async () => {
    const directory = scratchDirectory();
    let store = await openStore(directory);
    const old = makeFragment(SEGMENT, 0, 1, { term: 4 });
    await put(store, old);
    await store.fence(5);
    for (let round = 0; round < 2; round++) {
      expect(await reasonOf(put(store, makeFragment(SEGMENT, 1, 1, { term: 4 })))).toBe('fenced');
      expect(await reasonOf(store.free(4, [nameOf(old)]))).toBe('fenced');
      expect(await reasonOf(store.fence(4))).toBe('fenced');
      await expectHeld(store, old);
      await store.close();
      store = await openStore(directory);
    }
    await store.fence(5);
    expect(store.term).toBe(5);
    await store.close();
  });

  test('a term is promised when it is on the disk, also to who asks again while it gets there or after it did not', async () => {
    let whenWritten: () => Promise<void> = async () => undefined;
    const disk = Object.assign(Object.create(platform.disk), {
      open: async (...args: Parameters<typeof platform.disk.open>) => {
        const file = await platform.disk.open(...args);
        const write = file.write.bind(file);
        if (!args[0].endsWith('state.slot')) return file;
        return Object.assign(file, {
          write: async (...parts: Parameters<typeof write>) => {
            await whenWritten();
            return write(...parts);
          },
        });
      },
    });
    const directory = scratchDirectory();
    const store = await openStore(directory, {}, { ...platform, disk });
    whenWritten = () => Promise.reject(new MachineError('EIO', 'the disk fails'));
    expect(await reasonOf(store.fence(5))).toBe('ioError');
    expect(await reasonOf(store.fence(5))).toBe('ioError');
    expect(await reasonOf(store.fence(4))).toBe('fenced');

    let goOn: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    whenWritten = () => held;
    const answered: string[] = [];
    const fences = ['first', 'again'].map((who) => store.fence(5).then(() => answered.push(who)));
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(answered).toEqual([]);
    const crashed = copyOf(directory);
    goOn();
    await Promise.all(fences);
    const promised = copyOf(directory);
    await store.close();

    for (const [copy, term] of [
      [crashed, 0],
      [promised, 5],
    ] as const) {
      const after = await openStore(copy);
      expect(after.term).toBe(term);
      await after.close();
    }
  });

  test('counts a fragment as freed once, however many frees of it come at the same time', async () => {
    const store = await openStore(scratchDirectory());
    await put(store, makeFragment(SEGMENT, 0, 1));
    const { usedBytes } = store;
    const fragment = makeFragment(SEGMENT, 1, 3);
    await put(store, fragment);
    await Promise.all([1, 2, 3].map(() => store.free(1, [nameOf(fragment)])));
    expect(store.usedBytes).toBe(usedBytes);
    expect(store.statistics().fragments).toBe(1);
    await store.close();
  });

  test('counts a fragment as freed once that one request names twice', async () => {
    const store = await openStore(scratchDirectory());
    const fragment = makeFragment(SEGMENT, 1, 3);
    await put(store, fragment);
    expect(await store.free(1, [nameOf(fragment), nameOf(fragment)])).toBe(1);
    expect(store.usedBytes).toBe(0);
    expect(store.statistics().fragments).toBe(0);
    await store.close();
  });

  test('counts a fragment as freed once that is freed while its successor is being stored', async () => {
    const store = await openStore(scratchDirectory());
    const other = makeFragment(SEGMENT, 0, 256, { generation: 1 });
    await put(store, other);
    const { usedBytes } = store;
    const old = makeFragment(SEGMENT, 1, 3, { generation: 0 });
    await put(store, old);
    const freeing = store.free(1, [nameOf(old)]);
    const putting = put(store, makeFragment(SEGMENT, 1, 256, { generation: 1 }));
    await Promise.all([freeing, putting]);
    expect(store.usedBytes).toBe(2 * usedBytes);
    expect(store.statistics().fragments).toBe(2);
    await store.close();
  });

  test('refuses a late put of a fragment that was freed before it arrived', async () => {
    const store = await openStore(scratchDirectory());
    const late = makeFragment(SEGMENT, 0, 1);
    expect(await store.free(1, [nameOf(late)])).toBe(0);
    expect(await reasonOf(put(store, late))).toBe('conflict');
    const under = makeFragment(SEGMENT, 1, 1);
    const putting = put(store, under);
    expect(await store.free(1, [nameOf(under)])).toBe(1);
    await putting;
    expect(store.usedBytes).toBe(0);
    await store.close();
  });

  test('does not open the directory of another node or volume', async () => {
    const directory = scratchDirectory();
    await (await openStore(directory)).close();
    await expect(openStore(directory, { nodeId: 2 })).rejects.toBeInstanceOf(StorageUnusable);
    await expect(openStore(directory, { volumeId: Buffer.alloc(16, 1) })).rejects.toBeInstanceOf(
      StorageUnusable,
    );
    await (await openStore(directory)).close();
  });
});

describe('space of a fragment store', () => {
  test('is shared in equal parts by stores that fill the same disk', async () => {
    const alone = await openStore(scratchDirectory());
    let sharers = 4;
    const sharing = await openStore(scratchDirectory(), { diskSharers: () => sharers });
    // Other programs use the disk between the two looks; the log files in use count whole.
    const ratio = alone.freeBytes / sharing.freeBytes;
    expect(ratio).toBeGreaterThan(3.5);
    expect(ratio).toBeLessThan(4.5);
    const before = sharing.freeBytes;
    sharers = 8;
    expect(before / sharing.freeBytes).toBeGreaterThan(1.8);
    await alone.close();
    await sharing.close();
  });

  test('is counted exactly with headers, and the limit refuses what would exceed it', async () => {
    const capacityBytes = 10 * 5 * BLOCK_BYTES;
    const store = await openStore(scratchDirectory(), { capacityBytes });
    const fragments = Array.from({ length: 11 }, (_, i) => makeFragment(SEGMENT + i, 0, 4));
    const results = await Promise.all(fragments.map((fragment) => reasonOf(put(store, fragment))));
    expect(results.filter((reason) => reason === 'none')).toHaveLength(10);
    expect(results[10]).toBe('full');
    expect(store.usedBytes).toBe(capacityBytes);
    expect(store.freeBytes).toBe(0);
    await store.free(1, [nameOf(fragments[3]!)]);
    expect(store.freeBytes).toBe(5 * BLOCK_BYTES);
    await put(store, fragments[10]!);
    expect(store.statistics()).toMatchObject({
      usedBytes: capacityBytes,
      freeBytes: 0,
      fragments: 10,
      capacityBytes,
    });
    await store.close();
  });

  test('comes back to the disk: holes are punched and files without live fragments removed', async () => {
    const directory = scratchDirectory();
    const store = await openStore(directory);
    const fragments = Array.from({ length: 12 }, (_, i) => makeFragment(SEGMENT + i, 0, 127));
    for (const fragment of fragments) await put(store, fragment);
    expect(store.statistics().logFiles).toBe(4);
    const descriptors = await store.shareLogFile(1);
    await store.free(1, fragments.slice(0, 11).map(nameOf));
    await store.close();
    expect(descriptors.direct).toBe(true);
    const left = readdirSync(directory).filter((name) => name.endsWith('.tlog'));
    expect(left).toEqual(['00000004.tlog']);
    expect(statSync(join(directory, left[0]!)).blocks * 512).toBeLessThanOrEqual(MIB + 512 * 1024);
    const again = await openStore(directory);
    await expectHeld(again, fragments[11]!);
    const next = makeFragment(SEGMENT + 50, 0, 127);
    await put(again, next);
    await expectHeld(again, next);
    await again.close();
  });

  test('on a full disk refuses puts, keeps what it has, and takes puts again after frees', async (context) => {
    if (process.getuid?.() !== 0) return context.skip('mounting a small file system takes root');
    const { small, unmount } = mountSmall(48);
    try {
      const store = await openStore(small, {
        reserveBytes: 8 * MIB,
        logFileBytes: 8 * MIB,
        growBytes: 2 * MIB,
      });
      const held: MadeFragment[] = [];
      for (let i = 0; i < 100; i++) {
        const fragment = makeFragment(SEGMENT + i, 0, 255);
        const reason = await reasonOf(put(store, fragment));
        if (reason === 'full') break;
        expect(reason).toBe('none');
        held.push(fragment);
      }
      expect(held.length).toBeGreaterThan(20);
      expect(held.length).toBeLessThan(48);
      expect(store.freeBytes).toBeLessThan(MIB);
      for (const fragment of held) await expectHeld(store, fragment);
      await store.free(1, held.slice(0, 9).map(nameOf));
      const more = makeFragment(SEGMENT + 500, 0, 255);
      await put(store, more);
      await store.close();
      const again = await openStore(small, {
        reserveBytes: 8 * MIB,
        logFileBytes: 8 * MIB,
        growBytes: 2 * MIB,
      });
      for (const fragment of [...held.slice(9), more]) await expectHeld(again, fragment);
      await again.close();
    } finally {
      unmount();
    }
  });

  test('on a disk that others filled to the last byte, frees still work and make room', async (context) => {
    if (process.getuid?.() !== 0) return context.skip('mounting a small file system takes root');
    const { small, unmount } = mountSmall(48);
    try {
      const store = await openStore(small, {
        reserveBytes: 8 * MIB,
        logFileBytes: 8 * MIB,
        growBytes: 2 * MIB,
      });
      const held = Array.from({ length: 20 }, (_, i) => makeFragment(SEGMENT + i, 0, 255));
      for (const fragment of held) await put(store, fragment);
      expect(() => writeFileSync(join(small, 'other'), Buffer.alloc(64 * MIB))).toThrow('ENOSPC');
      expect(await store.free(1, held.slice(0, 15).map(nameOf))).toBe(15);
      for (const fragment of held.slice(15)) await expectHeld(store, fragment);
      await store.close();
      const again = await openStore(small, { reserveBytes: MIB, logFileBytes: 8 * MIB, growBytes: 2 * MIB });
      expect(again.statistics().fragments).toBe(5);
      await put(again, makeFragment(SEGMENT + 500, 0, 255));
      await again.close();
    } finally {
      unmount();
    }
  });
});

describe('after a crash a fragment store', () => {
  test('has everything that was acknowledged, though the index was never written', async () => {
    const directory = scratchDirectory();
    const store = await openStore(directory);
    const fragments = Array.from({ length: 20 }, (_, i) => makeFragment(SEGMENT + i, i % 5, 1 + (i % 40)));
    for (const fragment of fragments) await put(store, fragment);
    const freed = fragments.splice(4, 3);
    await store.free(1, freed.map(nameOf));
    const again = await openStore(copyOf(directory));
    for (const fragment of fragments) await expectHeld(again, fragment);
    for (const fragment of freed) expect(await reasonOf(read(again, fragment))).toBe('missing');
    expect(again.usedBytes).toBe(store.usedBytes);
    expect(again.statistics().fragments).toBe(17);
    await again.close();
    await store.close();
  });

  test('cuts a torn fragment off and goes on behind the whole ones', async () => {
    const directory = scratchDirectory();
    const store = await openStore(directory);
    const whole = makeFragment(SEGMENT, 0, 8);
    const torn = makeFragment(SEGMENT + 1, 0, 8);
    const behind = makeFragment(SEGMENT + 2, 0, 8);
    await put(store, whole);
    const { location } = await put(store, torn);
    await put(store, behind);
    for (const where of [location.payloadOffset + 7 * BLOCK_BYTES, location.payloadOffset - BLOCK_BYTES]) {
      const copy = copyOf(directory);
      damage(copy, location.fileId, where);
      const again = await openStore(copy);
      expect(await reasonOf(read(again, torn))).toBe('missing');
      await expectHeld(again, whole);
      await expectHeld(again, behind);
      expect(again.usedBytes).toBe(18 * BLOCK_BYTES);
      await put(again, torn);
      await expectHeld(again, torn);
      await again.close();
    }
    await store.close();
  });

  test('rebuilds a lost index from the log files, without what was freed', async () => {
    const directory = scratchDirectory();
    let store = await openStore(directory);
    const fragments = Array.from({ length: 12 }, (_, i) => makeFragment(SEGMENT + i, 0, 100));
    for (const fragment of fragments) await put(store, fragment);
    const freed = fragments.splice(2, 5);
    await store.free(1, freed.map(nameOf));
    const crashed = copyOf(directory);
    const used = store.usedBytes;
    await store.close();
    for (const place of [directory, crashed]) {
      rmSync(join(place, 'index'), { recursive: true });
      store = await openStore(place);
      for (const fragment of fragments) await expectHeld(store, fragment);
      for (const fragment of freed) expect(await reasonOf(read(store, fragment))).toBe('missing');
      expect(store.usedBytes).toBe(used);
      await store.close();
    }
  });

  test('rebuilds an index that cannot be opened any more', async () => {
    const directory = scratchDirectory();
    let store = await openStore(directory);
    const fragment = makeFragment(SEGMENT, 0, 10);
    await put(store, fragment);
    await store.close();
    for (const name of readdirSync(join(directory, 'index'))) {
      if (name.startsWith('MANIFEST') || name.endsWith('.ldb'))
        writeFileSync(join(directory, 'index', name), 'rotten');
    }
    store = await openStore(directory);
    expect(logged.events).toContain('fragment-index-damaged');
    await expectHeld(store, fragment);
    await store.close();
  });

  test('does not take a fragment that a user stored as file contents for one of its own', async () => {
    const directory = scratchDirectory();
    let store = await openStore(directory);
    const inner = makeFragment(SEGMENT, 0, 2);
    const { location } = await put(store, inner);
    await store.close();
    const descriptor = openSync(join(directory, '00000001.tlog'), 'r');
    const image = Buffer.alloc(3 * BLOCK_BYTES);
    readSync(descriptor, image, 0, image.length, location.payloadOffset - BLOCK_BYTES);
    closeSync(descriptor);
    const outer = makeFragment(SEGMENT + 1, 0, 3);
    image.copy(outer.payload);
    platform.kernels.crc32cBlocks(outer.payload, BLOCK_BYTES, outer.description.checksums, 0);
    store = await openStore(directory);
    const outerAt = (await put(store, outer)).location;
    await store.free(1, [nameOf(inner)]);
    await store.close();
    damage(directory, outerAt.fileId, outerAt.payloadOffset - BLOCK_BYTES);
    rmSync(join(directory, 'index'), { recursive: true });
    store = await openStore(directory);
    expect((await store.list(0, 0, 10)).fragments).toEqual([]);
    await store.close();
  });

  test('survives one rotten copy of its state', async () => {
    const directory = scratchDirectory();
    let store = await openStore(directory);
    await store.fence(7);
    await store.close();
    rotState(directory, [0]);
    store = await openStore(directory);
    expect(store.term).toBe(7);
    await store.close();
  });
});

/** Damages copies of the store's state. */
function rotState(directory: string, copies: readonly number[]): void {
  for (const copy of copies) {
    const descriptor = openSync(join(directory, 'state.slot'), 'r+');
    writeSync(descriptor, Buffer.from('rot'), 0, 3, copy * BLOCK_BYTES + 30);
    closeSync(descriptor);
  }
}

describe('a fragment store that lost its state', () => {
  /** Of a store with a fragment put in term 7. */
  async function lostStore(lose: (directory: string) => void) {
    const directory = scratchDirectory();
    const held = makeFragment(SEGMENT, 0, 3, { term: 7 });
    const store = await openStore(directory);
    await store.fence(7);
    await put(store, held);
    await store.close();
    lose(directory);
    return { directory, held };
  }

  const challengeOf = async (store: FragmentStore, term: number): Promise<number> => {
    const error: unknown = await store.fence(term).catch((each: unknown) => each);
    if (!(error instanceof StorageError) || error.refusal.reason !== 'forgotten')
      throw new Error(`not forgotten: ${error}`);
    return error.refusal.challenge;
  };

  test.each([
    ['rotten', (directory: string) => rotState(directory, [0, 1])],
    [
      "rotten, as are the log files' first pages",
      (directory: string) => {
        rotState(directory, [0, 1]);
        damage(directory, 1, 0);
      },
    ],
    ['missing', (directory: string) => rmSync(join(directory, 'state.slot'))],
  ])(
    'serves reads and what is new; what it holds stays until a primary renews the term (state %s)',
    async (_, lose) => {
      const { directory, held } = await lostStore(lose);
      let store = await openStore(directory);
      await expectHeld(store, held);
      const fresh = makeFragment(SEGMENT + 1, 0, 3, { term: 6 });
      await put(store, fresh);
      await put(store, held); // the same again changes nothing
      const newer = makeFragment(SEGMENT, 0, 3, { term: 6, generation: 1 });
      expect(await reasonOf(put(store, newer))).toBe('busy');
      const other = makeFragment(SEGMENT, 0, 3, { term: 6, salt: 1 });
      expect(await reasonOf(put(store, other))).toBe('busy');
      expect(await reasonOf(store.free(6, [nameOf(held)]))).toBe('busy');
      const earlier = await challengeOf(store, 6);
      await store.close();
      store = await openStore(directory);
      expect(await reasonOf(store.pledge(6, earlier))).toBe('forgotten');
      expect(await reasonOf(store.free(6, [nameOf(held)]))).toBe('busy');
      const challenge = await challengeOf(store, 6);
      expect(challenge).not.toBe(earlier);
      await Promise.all([store.pledge(8, challenge), store.pledge(8, challenge)]);
      expect(store.term).toBe(8);
      expect(await reasonOf(store.pledge(7, challenge))).toBe('fenced');
      expect(await reasonOf(put(store, newer))).toBe('fenced');
      await expectHeld(store, held);
      expect(await store.free(8, [nameOf(fresh)])).toBe(1);
      await store.close();
      store = await openStore(directory);
      expect(store.term).toBe(8);
      expect(await reasonOf(store.free(7, [nameOf(held)]))).toBe('fenced');
      await expectHeld(store, held);
      await store.close();
    },
  );

  test('begins anew when it holds nothing, and says what to do when nothing says whose the log files are', async () => {
    const empty = scratchDirectory();
    await (await openStore(empty)).close();
    rotState(empty, [0, 1]);
    const store = await openStore(empty);
    await store.fence(1);
    await store.close();
    const { directory } = await lostStore((each) => {
      rotState(each, [0, 1]);
      damage(each, 1, 0);
      rmSync(join(each, 'index'), { recursive: true });
    });
    const refused = openStore(directory);
    await expect(refused).rejects.toBeInstanceOf(StorageUnusable);
    await expect(refused).rejects.toThrow(`remove what is in ${directory} and start the node`);
    for (const name of readdirSync(directory)) rmSync(join(directory, name), { recursive: true });
    await (await openStore(directory)).close();
  });

  test.each([true, false])(
    'keeps what lies in a log file whose first page is empty, since a disk may have lost that (known to the index: %s)',
    async (isIndexed) => {
      const directory = scratchDirectory();
      const store = await openStore(directory);
      await store.fence(1);
      const held = makeFragment(SEGMENT, 0, 3);
      await put(store, held);
      const left = isIndexed ? directory : copyOf(directory);
      await store.close();
      damage(left, 1, 0, Buffer.alloc(BLOCK_BYTES));
      const again = await openStore(left);
      await expectHeld(again, held);
      await again.close();
    },
  );

  test('with a log file gone misses what lay in it, and takes it again', async () => {
    const directory = scratchDirectory();
    let store = await openStore(directory);
    await store.fence(1);
    const held = makeFragment(SEGMENT, 0, 3);
    await put(store, held);
    await store.close();
    rmSync(join(directory, '00000001.tlog'));
    for (let start = 0; start < 2; start++) {
      store = await openStore(directory);
      expect(await reasonOf(read(store, held))).toBe('missing');
      await store.close();
    }
    store = await openStore(directory);
    await put(store, held);
    await expectHeld(store, held);
    await store.close();
    store = await openStore(directory);
    await expectHeld(store, held);
    await store.close();
  });

  test('does not take the log files of another node for its own', async () => {
    const { directory } = await lostStore((each) => rotState(each, [0, 1]));
    await expect(openStore(directory, { nodeId: 2 })).rejects.toBeInstanceOf(StorageUnusable);
  });
});

/** A file system of this many MiB in a file. */
function mountSmall(sizeMib: number): { small: string; unmount: () => void } {
  const base = scratchDirectory();
  const small = join(base, 'mounted');
  const image = join(base, 'image');
  const run = (command: string, ...args: string[]) => {
    const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' });
    if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
  };
  writeFileSync(image, '');
  mkdirSync(small);
  truncateSync(image, sizeMib * MIB);
  run('mkfs.ext4', '-q', '-m', '0', image);
  run('mount', '-o', 'loop', image, small);
  return { small, unmount: () => run('umount', small) };
}
