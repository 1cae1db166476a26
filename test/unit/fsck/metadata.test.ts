/** Each check of the metadata finds what it is for, and a repair takes it away, also for the journal's replay. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { BlockRuns, RedoSink } from '../../../src/format/journal-entry.ts';
import * as keys from '../../../src/format/metadata-keys.ts';
import { entryKey, inodeKey, keyLetters, perInodeKey } from '../../../src/format/metadata-keys.ts';
import * as records from '../../../src/format/metadata-records.ts';
import { encodeSegmentRecord } from '../../../src/format/segment-record.ts';
import type { FindingKind } from '../../../src/fsck/findings.ts';
import { nameHash } from '../../../src/metadata/directory-table.ts';
import type { MetadataState } from '../../../src/metadata/state.ts';
import { nativeKernels } from '../../../src/platform/native/native-kernels.ts';
import { CheckWorld, makeSample, populated, type Sample, volumeId } from './world.ts';

const { crc32c } = nativeKernels;
const hash = nameHash(Number.parseInt(volumeId.slice(0, 8), 16));
const ABSENT = 999_999;

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
  expect(summary).toMatchObject({ inodes: 7, errors: 0, warnings: 0, repaired: 0 });
});

test('a check of a volume in use is not misled by what goes on', async () => {
  ({ world } = await populated());
  const { fileSystem } = world.volume!;
  const caller = { uid: 0, gid: 0, pid: 1 };
  let over = false;
  const busy = (async () => {
    for (let i = 0; !over; i++) {
      await world.writeFile(`busy-${i}`, 20_000 * (1 + (i % 9)));
      if (i % 3 === 0) await fileSystem.syncAll();
      if (i >= 5) await fileSystem.unlink(1, `busy-${i - 5}`, caller);
      if (i % 4 === 0) await fileSystem.rename(1, `busy-${i}`, 1, `busy-${i}`, 0, caller);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  })();
  for (let round = 0; round < 4; round++) {
    const { findings } = await world.check({ data: round % 2 === 0, settleMs: 300 });
    expect(findings).toEqual([]);
  }
  over = true;
  await busy;
});

type Damage = (redo: RedoSink, state: MetadataState, sample: Sample) => void;

interface Case {
  readonly what: string;
  readonly damage: Damage;
  /** All that is found by the first check. */
  readonly found: readonly FindingKind[];
  /** What no repair helps against; then the damage is undone. */
  readonly left?: readonly FindingKind[];
  readonly undo?: Damage;
}

function editInode(
  redo: RedoSink,
  state: MetadataState,
  inode: number,
  changes: Partial<records.InodeRecord>,
): void {
  const record = { ...state.inodes.get(inode)!, ...changes };
  redo.setRecord(inodeKey(inode), records.encodeInode(record, crc32c));
}

function editEntry(
  redo: RedoSink,
  state: MetadataState,
  parent: number,
  name: string,
  changes: Partial<records.EntryRecord>,
): void {
  const entry = state.directories.find(parent, name)!;
  redo.setRecord(entryKey(parent, entry.cookie), records.encodeEntry({ ...entry, ...changes }, crc32c));
}

function dropEntry(redo: RedoSink, state: MetadataState, parent: number, name: string): void {
  redo.setRecord(entryKey(parent, state.directories.find(parent, name)!.cookie), undefined);
}

/** A copy of the first chunk of a file, changed. */
function editChunk(
  redo: RedoSink,
  state: MetadataState,
  inode: number,
  edit: (pairs: Float64Array) => void,
): void {
  const pairs = state.extents.chunk(inode, 0)!.pairs.slice();
  edit(pairs);
  redo.setRecord(keys.chunkKey(inode, 0), records.encodeChunk(pairs, crc32c));
}

function firstSegment(state: MetadataState, inode: number) {
  return state.segments.records.get(state.extents.chunk(inode, 0)!.pairs[0]!)!;
}

/** A segment that a writer has not committed. */
const UNCOMMITTED = 1000 * 2 ** 32;

function oneBlockOf(inode: number): BlockRuns {
  return {
    runCount: 1,
    inodes: Float64Array.of(inode),
    fileBlocks: Float64Array.of(0),
    blockIndexes: Uint32Array.of(3),
    counts: Uint32Array.of(1),
    checksumIndexes: Uint32Array.of(0),
    checksums: Uint32Array.of(crc32c(Buffer.alloc(4096, 7))),
  };
}

const plain = records.encodePlain(Buffer.alloc(0), crc32c);

const cases: readonly Case[] = [
  {
    what: 'a segment that counts a live block too many',
    damage: (redo, state, { a }) => {
      const record = firstSegment(state, a);
      const more = { ...record, liveBlocks: record.liveBlocks - 1 };
      redo.setRecord(keys.segmentKey(record.segmentId), encodeSegmentRecord(more, crc32c));
    },
    found: ['segment-live-wrong'],
  },
  {
    what: 'a segment in use that is listed as dead',
    damage: (redo, state, { a }) => {
      const { segmentId } = firstSegment(state, a);
      redo.setRecord(keys.deadSegmentKey(segmentId), plain);
    },
    found: ['segment-dead-wrongly'],
  },
  {
    what: 'a dead mark without a segment',
    damage: (redo) => redo.setRecord(keys.deadSegmentKey(5), plain),
    found: ['mark-unowned'],
  },
  {
    what: 'totals that are wrong',
    damage: (redo, state) => {
      const totals = { ...state.totalsRecord(), inodes: 77, mappedBlocks: 1, nextInode: 3 };
      redo.setRecord(keyLetters.totals, records.encodeTotals(totals, crc32c));
    },
    found: ['totals-wrong'],
  },
  {
    what: 'bytes kept inline for a segment that needs none',
    damage: (redo) => {
      const block = { inode: 2, fileBlock: 0, checksum: 0, bytes: Buffer.alloc(4096) };
      redo.setRecord(keys.inlineBlockKey(7, 0), records.encodeInlineBlock(block, crc32c));
    },
    found: ['inline-unowned'],
  },
  {
    what: 'an inode that counts mapped blocks wrongly',
    damage: (redo, state, { a }) => editInode(redo, state, a, { mappedBlocks: 3 }),
    found: ['mapped-count-wrong'],
  },
  {
    what: 'totals that count reserved blocks wrongly',
    damage: (redo, state) => {
      const totals = { ...state.totalsRecord(), reservedBlocks: 12_345 };
      redo.setRecord(keyLetters.totals, records.encodeTotals(totals, crc32c));
    },
    found: ['totals-wrong'],
  },
  {
    what: 'an inode that counts reserved blocks wrongly',
    damage: (redo, state, { b }) => {
      redo.reserveBlocks(b, 0, 100);
      editInode(redo, state, b, { reservedBlocks: 3 });
    },
    found: ['reserved-count-wrong'],
  },
  {
    what: 'a reservation that its inode does not know of, all of it written',
    damage: (redo, _, { b }) =>
      redo.setRecord(perInodeKey(keyLetters.reservation, b), records.encodeReservation([0, 2], crc32c)),
    found: ['reserved-count-wrong'],
  },
  {
    what: 'an inode that lost its reservation',
    damage: (redo, _, { a }) => redo.setRecord(perInodeKey(keyLetters.reservation, a), undefined),
    found: ['reserved-count-wrong', 'totals-wrong'],
  },
  {
    what: 'a reservation of an inode that is not there',
    damage: (redo) =>
      redo.setRecord(perInodeKey(keyLetters.reservation, ABSENT), records.encodeReservation([0, 2], crc32c)),
    found: ['mark-unowned'],
  },
  {
    what: 'a file that is shorter than its extents',
    damage: (redo, state, { a }) => editInode(redo, state, a, { sizeBytes: 5000 }),
    found: ['extent-beyond-size'],
  },
  {
    what: 'a file that counts a link too many',
    damage: (redo, state, { a }) => editInode(redo, state, a, { linkCount: 9 }),
    found: ['links-wrong'],
  },
  {
    what: 'a name of nothing',
    damage: (redo, state, { top, a }) => {
      const time = state.inodes.get(a)!;
      redo.addEntry(top, 'nothing', ABSENT, 0o100000, time.mtimeSeconds, 0);
    },
    found: ['entry-dangling'],
  },
  {
    what: 'an entry that says another type than its inode',
    damage: (redo, state, { top }) => editEntry(redo, state, top, 'b', { type: 0o060000 }),
    found: ['entry-type-wrong'],
  },
  {
    what: 'an entry in a slot where no look-up finds it',
    damage: (redo, state, { top }) => {
      const entry = state.directories.find(top, 'b')!;
      redo.setRecord(entryKey(top, entry.cookie), undefined);
      redo.setRecord(entryKey(top, hash('b') + 1000), records.encodeEntry(entry, crc32c));
    },
    found: ['entry-misplaced'],
  },
  {
    what: 'a name that is there twice',
    damage: (redo, state, { top, a }) => {
      const first = state.directories.find(top, 'b')!;
      editEntry(redo, state, top, 'b', { overflow: true });
      const second = { ...first, inode: a, overflow: false };
      redo.setRecord(entryKey(top, first.cookie + 1), records.encodeEntry(second, crc32c));
      editInode(redo, state, top, { sizeBytes: state.inodes.get(top)!.sizeBytes + 1 });
    },
    found: ['entry-twice'],
  },
  {
    what: 'a directory that counts entries and links wrongly',
    damage: (redo, state, { dir }) => editInode(redo, state, dir, { sizeBytes: 12, linkCount: 7 }),
    found: ['directory-count-wrong'],
  },
  {
    what: 'a directory whose .. is another one',
    damage: (redo, state, { dir }) => editInode(redo, state, dir, { parent: 4711 }),
    found: ['directory-parent-wrong'],
  },
  {
    what: 'entries in something that is no directory',
    damage: (redo, _, { a, b }) => {
      const entry = { inode: a, type: 0o100000, overflow: false, name: 'x' };
      redo.setRecord(entryKey(b, hash('x')), records.encodeEntry(entry, crc32c));
    },
    found: ['entry-unowned'],
  },
  {
    what: 'a file without a name',
    damage: (redo, state, { top }) => {
      dropEntry(redo, state, top, 'b');
      editInode(redo, state, top, { sizeBytes: state.inodes.get(top)!.sizeBytes - 1 });
    },
    found: ['inode-unreachable'],
  },
  {
    what: 'a directory without a name',
    damage: (redo, state, { top }) => {
      dropEntry(redo, state, top, 'dir');
      const { sizeBytes, linkCount } = state.inodes.get(top)!;
      editInode(redo, state, top, { sizeBytes: sizeBytes - 1, linkCount: linkCount - 1 });
    },
    found: ['inode-unreachable'],
  },
  {
    what: 'a deleted file that nobody would free',
    damage: (redo, state, { top, a }) => {
      dropEntry(redo, state, top, 'b');
      editInode(redo, state, top, { sizeBytes: state.inodes.get(top)!.sizeBytes - 1 });
      editInode(redo, state, state.inodes.get(a)!.inode + 1, { linkCount: 0 });
    },
    found: ['inode-unlisted'],
  },
  {
    what: 'a file with names on the list of deleted ones',
    damage: (redo, _, { a }) => redo.setRecord(perInodeKey(keyLetters.orphan, a), plain),
    found: ['mark-unowned'],
  },
  {
    what: 'directories that contain each other',
    damage: (redo, state, { top, dir }) => {
      dropEntry(redo, state, top, 'dir');
      const { sizeBytes, linkCount } = state.inodes.get(top)!;
      editInode(redo, state, top, { sizeBytes: sizeBytes - 1, linkCount: linkCount - 1 });
      redo.addEntry(dir, 'self', dir, 0o040000, 0, 0);
      editInode(redo, state, dir, { parent: dir });
    },
    found: ['directory-cycle'],
  },
  {
    what: 'a directory with two names',
    damage: (redo, _, { top, dir }) => redo.addEntry(top, 'dir-too', dir, 0o040000, 0, 0),
    found: ['entry-twice'],
  },
  {
    what: 'a value of an attribute that is not listed',
    damage: (redo, _, { b }) => redo.setRecord(keys.xattrKey(b, 'user.odd'), plain),
    found: ['attribute-unowned'],
  },
  {
    what: 'attributes of an inode that is not there',
    damage: (redo) => redo.setRecord(keys.xattrKey(ABSENT, 'user.odd'), plain),
    found: ['attribute-unowned'],
  },
  {
    what: 'an attribute without a value',
    damage: (redo, _, { b }) => redo.setRecord(keys.xattrKey(b, 'user.shape'), undefined),
    found: ['attribute-lost'],
  },
  {
    what: 'an inode that does not know of its attributes',
    damage: (redo, state, { b }) => editInode(redo, state, b, { hasXattrs: false }),
    found: ['attribute-flag-wrong'],
  },
  {
    what: 'a symbolic link without a target',
    damage: (redo, _, { link }) => redo.setRecord(perInodeKey(keyLetters.symlink, link), undefined),
    found: ['target-lost'],
    left: ['target-lost'],
    undo: (redo, _, { link }) => redo.putValue(perInodeKey(keyLetters.symlink, link), Buffer.from('../a')),
  },
  {
    what: 'extents of an inode that is not there',
    damage: (redo, state, { a }) => {
      const pairs = new Float64Array(2);
      pairs[0] = firstSegment(state, a).segmentId;
      pairs[1] = (firstSegment(state, a).dataBlocks - 1) * 2 ** 32;
      redo.setRecord(keys.chunkKey(ABSENT, 0), records.encodeChunk(pairs, crc32c));
    },
    found: ['extent-shared', 'extent-unowned', 'segment-live-wrong', 'totals-wrong', 'extent-mismatch'],
  },
  {
    what: 'an extent to a segment that is not there',
    damage: (redo, state, { a }) => editChunk(redo, state, a, (pairs) => (pairs[2] = 4242)),
    found: ['extent-lost', 'segment-live-wrong'],
    left: ['extent-lost'],
    undo: (redo, state, { a }) => editChunk(redo, state, a, (pairs) => (pairs[2] = pairs[0]!)),
  },
  {
    what: 'an extent behind the end of its segment',
    damage: (redo, state, { a }) =>
      editChunk(redo, state, a, (pairs) => (pairs[3] = 1000 * 2 ** 32 + (pairs[3]! % 2 ** 32))),
    found: ['extent-out-of-segment', 'segment-live-wrong'],
    left: ['extent-out-of-segment'],
    undo: (redo, state, { a }) =>
      editChunk(
        redo,
        state,
        a,
        (pairs) => (pairs[3] = pairs[3]! - (1000 - (Math.floor(pairs[1]! / 2 ** 32) + 1)) * 2 ** 32),
      ),
  },
  {
    what: 'an inode of no known type',
    damage: (redo, state, { top, a }) => {
      const { mtimeSeconds } = state.inodes.get(a)!;
      const changes = { sizeBytes: 0, mappedBlocks: 0, reservedBlocks: 0, linkCount: 1, mode: 0o050644 };
      redo.newInode({ ...state.inodes.get(a)!, ...changes, inode: state.nextInode });
      redo.addEntry(top, 'odd', state.nextInode - 1, 0o050000, mtimeSeconds, 0);
    },
    found: ['inode-unusable'],
    left: ['inode-unusable'],
    undo: (redo, state, { top }) => {
      const { inode } = state.directories.find(top, 'odd')!;
      redo.removeEntry(top, 'odd', 0, 0);
      redo.deleteInode(inode);
    },
  },
  {
    what: 'a block that no segment holds yet, without its bytes in the metadata',
    damage: (redo, _, { b }) => {
      redo.commitInline(UNCOMMITTED, Buffer.alloc(4096, 7), oneBlockOf(b));
      redo.setRecord(keys.inlineBlockKey(UNCOMMITTED, 3), undefined);
    },
    found: ['inline-lost'],
    left: ['inline-lost'],
    undo: (redo, _, { b }) => redo.unmapBlocks(b, 0, 1),
  },
  {
    what: 'an extent with a checksum of other bytes',
    damage: (redo, state, { a }) => editChunk(redo, state, a, (pairs) => (pairs[3]! += 1)),
    found: ['extent-mismatch'],
    left: ['extent-mismatch'],
    undo: (redo, state, { a }) => editChunk(redo, state, a, (pairs) => (pairs[3]! -= 1)),
  },
];

describe('one by one, in a volume with a sample for each', () => {
  let shared: CheckWorld;
  const samples: Sample[] = [];
  beforeAll(async () => {
    shared = await CheckWorld.open();
    for (const { what } of cases) samples.push(await makeSample(shared, what, 0.2));
    // Whatever lies in the journal only is written out by the next opening.
    await shared.remount();
    await shared.rest();
  });
  afterAll(async () => {
    await shared.close();
  });

  const found = async (repair: boolean) => {
    const { findings } = await shared.check({ repair });
    return { kinds: findings.map(({ kind }) => kind), findings };
  };

  test.each(cases)('$what: found, and put right as far as it can be', async (one) => {
    const sample = samples[cases.indexOf(one)]!;
    shared.damage((redo, state) => one.damage(redo, state, sample));
    const before = await found(false);
    expect(before.kinds).toEqual(one.found);
    expect(before.findings.every(({ repaired }) => !repaired)).toBe(true);
    const { findings } = await found(true);
    const stays = findings.filter(({ repaired }) => !repaired).map(({ kind }) => kind);
    const { left = [] } = one;
    expect([...new Set(stays)]).toEqual(expect.arrayContaining([...left]));
    expect((await found(false)).kinds).toEqual(left);
    if (one.undo === undefined) return;
    shared.damage((redo, state) => one.undo?.(redo, state, sample));
    await found(true);
    expect((await found(false)).kinds).toEqual([]);
  });

  test('and replaying the journal comes to the same', async () => {
    await shared.crash();
    expect((await found(false)).kinds).toEqual([]);
  });
});

test('a path says which file a problem is about', async () => {
  const { world: opened, sample } = await populated();
  world = opened;
  await world.rest();
  world.damage((redo, state) => editInode(redo, state, sample.deep, { linkCount: 3 }));
  expect((await world.check()).findings).toMatchObject([
    { subject: '/sample/dir/deep', ids: { inode: sample.deep } },
  ]);
});

test('what has lost its name is found in lost+found, with what is below it', async () => {
  const { world: opened, sample } = await populated();
  world = opened;
  await world.rest();
  world.damage((redo, state) => dropEntry(redo, state, sample.top, 'dir'));
  await world.check({ repair: true });
  await world.remount();
  const { metadata } = world;
  const lost = metadata.lookup(1, 'lost+found')!;
  expect(metadata.lookup(lost, `#${sample.dir}`)).toBe(sample.dir);
  expect(metadata.lookup(sample.dir, 'deep')).toBe(sample.deep);
});

test('while files are used names are looked at and left alone', async () => {
  const { world: opened, sample } = await populated();
  world = opened;
  world.damage((redo, state) => editInode(redo, state, sample.a, { linkCount: 9 }));
  expect((await world.check({ repair: true })).findings).toMatchObject([
    { kind: 'links-wrong', repairable: true, repaired: false },
  ]);
});

test('a lost root directory is found, nothing below it is thrown away meanwhile, and a repair makes it anew', async () => {
  const { world: opened, sample } = await populated();
  world = opened;
  await world.rest();
  world.damage((redo) => redo.setRecord(inodeKey(1), undefined));
  expect((await world.check()).findings).toMatchObject([
    { kind: 'inode-unusable', subject: '/', repairable: true, repaired: false },
  ]);
  const repaired = await world.check({ repair: true });
  expect(repaired.findings.map(({ kind }) => kind)).toEqual(['inode-unusable', 'directory-count-wrong']);
  expect(repaired.summary).toMatchObject({ repaired: 2, errors: 0 });
  await world.remount();
  expect((await world.check({ data: true })).findings).toEqual([]);
  expect(world.metadata.lookup(1, 'sample')).toBe(sample.top);
});

test('bytes kept in the metadata that the primary lost are taken from a replica', async () => {
  const { world: opened, sample } = await populated();
  world = opened;
  await world.rest();
  world.damage((redo) => redo.commitInline(UNCOMMITTED, Buffer.alloc(4096, 7), oneBlockOf(sample.b)));
  expect((await world.check()).findings).toEqual([]);
  await world.dropFromStore([keys.inlineBlockKey(UNCOMMITTED, 3)]);
  const found = await world.check();
  expect(found.findings).toMatchObject([
    {
      kind: 'inline-lost',
      subject: '/sample/b',
      detail: 'bytes 0 to 4095 were kept in the metadata and are not there',
    },
  ]);
  expect((await world.check({ repair: true })).summary).toMatchObject({ repaired: 1, errors: 0 });
  await world.remount();
  expect((await world.readFile(sample.b, 4096)).equals(Buffer.alloc(4096, 7))).toBe(true);
  expect((await world.check({ data: true })).findings).toEqual([]);
});

test('a file whose extents lead nowhere reads as an error there, and can be deleted', async () => {
  const { world: opened, sample } = await populated();
  world = opened;
  await world.rest();
  world.damage((redo, state) => editChunk(redo, state, sample.a, (pairs) => (pairs[2] = 4242)));
  expect((await world.check({ repair: true })).summary).toMatchObject({ errors: 1 });
  await world.remount();
  const { fileSystem } = world.volume!;
  const caller = { uid: 0, gid: 0, pid: 1 };
  await fileSystem.lookup(sample.top, 'a', caller);
  const handle = await fileSystem.open(sample.a, 0, caller);
  const result = await fileSystem.read(sample.a, handle, 0, 4096);
  result.release();
  const lost = (async () => fileSystem.read(sample.a, handle, 4096, 4096))();
  await expect(lost).rejects.toMatchObject({ code: 'EIO' });
  await fileSystem.release(sample.a, handle);
  await fileSystem.unlink(sample.top, 'a', caller);
  await fileSystem.unlink(sample.dir, 'a-too', caller);
  fileSystem.forget(sample.a, 1);
  await fileSystem.syncAll();
  expect((await world.check()).findings).toEqual([]);
});

test('records that cannot be read are taken from a replica, and nothing that they speak of goes before', async () => {
  const { world: opened, sample } = await populated();
  world = opened;
  await world.rest();
  const { segmentId } = world.damage((_, state) => firstSegment(state, sample.b));
  const { cookie } = world.damage((_, state) => state.directories.find(sample.top, 'a')!);
  await world.damageStore([
    inodeKey(sample.b),
    entryKey(sample.top, cookie),
    keys.chunkKey(sample.deep, 0),
    keys.segmentKey(segmentId),
    perInodeKey(keyLetters.xattrNames, sample.b),
    keys.xattrKey(sample.b, 'user.shape'),
    perInodeKey(keyLetters.symlink, sample.link),
    perInodeKey(keyLetters.reservation, sample.a),
  ]);
  const { findings } = await world.check();
  expect(findings.filter(({ kind }) => kind === 'record-damaged')).toHaveLength(8);
  const repaired = await world.check({ repair: true });
  expect(repaired.summary).toMatchObject({ repaired: 8, errors: 0 });
  expect((await world.check({ data: true })).findings).toEqual([]);
  await world.remount();
  expect(world.metadata.listXattrs(sample.b)).toEqual(['user.colour', 'user.shape']);
});
