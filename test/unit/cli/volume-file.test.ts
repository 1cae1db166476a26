import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CommandFailure } from '../../../src/cli/failure.ts';
import { diskSharers } from '../../../src/cli/process/disk-sharers.ts';
import { registerVolume } from '../../../src/cli/supervisor/registration.ts';
import {
  deleteLeftDirectories,
  deleteNodeDirectory,
  markLetGo,
  strikeOff,
} from '../../../src/cli/volume/fewer-nodes.ts';
import { addNodes } from '../../../src/cli/volume/more-nodes.ts';
import {
  changeVolumeFile,
  createVolume,
  readVolumeFile,
  readVolumeKey,
  volumeFileProblem,
} from '../../../src/cli/volume/volume-file.ts';
import { type VolumeLayout, volumeLayout } from '../../../src/cli/volume/volume-layout.ts';
import type { Coordinator } from '../../../src/cluster/coordinator.ts';

const golden = JSON.parse(
  readFileSync(new URL('../../golden/volume-file.v1.json', import.meta.url), 'utf8'),
) as Record<string, unknown>;
const wanted = {
  name: 'plaid',
  nodes: [1, 2, 3],
  dataFragments: 2,
  parityFragments: 1,
  capacityBytes: null,
  mountPoint: '/mnt/plaid',
  frontend: 'native',
} as const;
let layout: VolumeLayout;

beforeEach(() => {
  mkdirSync('/var/tmp', { recursive: true });
  layout = volumeLayout(join(mkdtempSync('/var/tmp/tartan-volume-file-'), 'volume'));
});
afterEach(() => rmSync(join(layout.directory, '..'), { recursive: true, force: true }));

describe('the volume file', () => {
  test('what version 1 wrote is still understood', () => {
    expect(volumeFileProblem(golden)).toBeUndefined();
  });

  test('a volume that is created reads back, with an id and a key of its own', () => {
    expect(createVolume(layout, wanted)).toBe(true);
    const file = readVolumeFile(layout);
    expect(file).toEqual({ formatVersion: 1, volumeId: expect.stringMatching(/^[0-9a-f]{32}$/), ...wanted });
    expect(readVolumeKey(layout)).toHaveLength(32);
  });

  test('only the owner can read the key', () => {
    createVolume(layout, wanted);
    expect(statSync(layout.keyFile).mode & 0o777).toBe(0o600);
  });

  test('of two creators the first one stays, with its key', () => {
    createVolume(layout, wanted);
    const key = readVolumeKey(layout);
    const { volumeId } = readVolumeFile(layout);
    expect(createVolume(layout, wanted)).toBe(false);
    expect(readVolumeFile(layout).volumeId).toBe(volumeId);
    expect(readVolumeKey(layout)).toEqual(key);
  });

  test('replacing it leaves no draft behind', () => {
    createVolume(layout, wanted);
    changeVolumeFile(layout, (volume) => ({ ...volume, mountPoint: '/mnt/elsewhere' }));
    expect(readVolumeFile(layout).mountPoint).toBe('/mnt/elsewhere');
    expect(readdirSync(layout.directory).sort()).toEqual(['volume.json', 'volume.key']);
  });

  test('of two changes at the same time none is lost', () => {
    createVolume(layout, wanted);
    let asked = 0;
    changeVolumeFile(layout, (volume) => {
      if (asked++ === 0) addNodes(layout, () => 1);
      return { ...volume, mountPoint: '/mnt/elsewhere' };
    });
    expect(readVolumeFile(layout)).toMatchObject({ nodes: [1, 2, 3, 4], mountPoint: '/mnt/elsewhere' });
    expect(readdirSync(layout.directory).sort()).toEqual(['volume.json', 'volume.key']);
  });

  test.each([
    ['an unknown version', { formatVersion: 2 }],
    ['an unknown field', { flavour: 'mint' }],
    ['a node twice', { nodes: [1, 1, 2] }],
    ['no node', { nodes: [] }],
    ['too much parity', { parityFragments: 4 }],
    ['a name with a slash', { name: 'a/b' }],
    ['a relative mount point', { mountPoint: 'mnt' }],
    ['a missing id', { volumeId: undefined }],
    ['a highest number that is none', { highestNode: 0 }],
    ['settings of no node', { nodeSettings: { x: {} } }],
    ['a setting that is not known', { nodeSettings: { 1: { colour: 'red' } } }],
    ['a label that is a number', { nodeSettings: { 1: { domain: '2' } } }],
    ['a node without room', { nodeSettings: { 1: { capacityBytes: 0 } } }],
  ])('%s is refused', (_, change) => {
    expect(volumeFileProblem({ ...golden, ...change })).toEqual(expect.any(String));
  });

  test('a file that is not JSON is refused by name', () => {
    createVolume(layout, wanted);
    writeFileSync(layout.settingsFile, '{');
    expect(() => readVolumeFile(layout)).toThrow(CommandFailure);
    expect(() => readVolumeFile(layout)).toThrow(layout.settingsFile);
  });

  test('a directory without a volume says how to make one', () => {
    expect(() => readVolumeFile(layout)).toThrow('tartan up');
  });
});

describe('fewer nodes', () => {
  test('a number is not given again, and nothing but the node goes', () => {
    createVolume(layout, wanted);
    const before = readVolumeFile(layout);
    const last = Math.max(...before.nodes);
    strikeOff(layout, last);
    const nodes = before.nodes.filter((id) => id !== last);
    expect(readVolumeFile(layout)).toEqual({ ...before, nodes, highestNode: last });
    expect(addNodes(layout, () => 1).added).toEqual([last + 1]);
    strikeOff(layout, nodes[0]!);
    expect(readVolumeFile(layout)).toMatchObject({ highestNode: last + 1 });
    expect(volumeFileProblem(readVolumeFile(layout))).toBeUndefined();
  });

  test('a directory of a node goes with all that is in it; where there is none, nothing is amiss', () => {
    createVolume(layout, wanted);
    mkdirSync(join(layout.nodeDirectory(2), 'storage'), { recursive: true });
    expect(deleteNodeDirectory(layout, 2)).toBeUndefined();
    expect(existsSync(layout.nodeDirectory(2))).toBe(false);
    expect(deleteNodeDirectory(layout, 2)).toBeUndefined();
  });

  test('what a removal left that was cut short is told from a directory that was prepared for a node, or kept', () => {
    createVolume(layout, wanted);
    addNodes(layout, () => 3);
    for (const id of [2, 3, 4, 9]) mkdirSync(join(layout.nodeDirectory(id), 'storage'), { recursive: true });
    markLetGo(layout, 5);
    for (const id of [2, 4]) markLetGo(layout, id);
    // Node 4 stays: the removal got no further.
    for (const id of [2, 3, 5]) strikeOff(layout, id);
    expect(deleteLeftDirectories(layout, readVolumeFile(layout))).toEqual([]);
    expect(readdirSync(join(layout.directory, 'nodes'))).toEqual(['3', '4', '9']);
  });

  test('of a link to a disk, what was on the disk and the link go', () => {
    createVolume(layout, wanted);
    const disk = join(layout.directory, 'disk');
    mkdirSync(join(disk, 'lost+found'), { recursive: true });
    mkdirSync(join(disk, 'storage'));
    mkdirSync(join(layout.directory, 'nodes'));
    symlinkSync(disk, layout.nodeDirectory(2));
    expect(deleteNodeDirectory(layout, 2)).toBeUndefined();
    expect(readdirSync(disk)).toEqual(['lost+found']);
    expect(existsSync(layout.nodeDirectory(2))).toBe(false);
  });
});

test('nodes that are added or removed are counted among those that share a disk', () => {
  createVolume(layout, wanted);
  let nowMs = 0;
  const sharers = diskSharers(layout, 3, () => nowMs);
  expect(sharers()).toBe(3);
  addNodes(layout, () => 2);
  expect(sharers()).toBe(3);
  nowMs += 1_000;
  expect(sharers()).toBe(5);
  writeFileSync(layout.settingsFile, 'no volume');
  nowMs += 1_000;
  expect(sharers()).toBe(5);
});

describe('settings of single nodes', () => {
  test('belong to the nodes that were added with them, and go with them', () => {
    createVolume(layout, wanted);
    const settings = { domain: 'rack1', capacityBytes: 5_000_000 };
    const { added } = addNodes(layout, () => 2, settings);
    addNodes(layout, () => 1);
    const [first, second] = added as [number, number];
    expect(readVolumeFile(layout).nodeSettings).toEqual({ [first]: settings, [second]: settings });
    strikeOff(layout, first);
    expect(readVolumeFile(layout).nodeSettings).toEqual({ [second]: settings });
  });

  test('are told to the coordinator', async () => {
    createVolume(layout, wanted);
    const { added } = addNodes(layout, () => 1, { domain: 'rack1' });
    const puts = new Map<string, unknown>();
    const coordinator = {
      get: () => Promise.resolve(undefined),
      put: (key: string, value: Buffer) => Promise.resolve(puts.set(key, JSON.parse(value.toString()))),
    } as unknown as Coordinator;
    await registerVolume(coordinator, readVolumeFile(layout), layout);
    expect(puts.get(`nodes/${added[0]}`)).toMatchObject({ id: added[0], domain: 'rack1' });
    expect(puts.get('nodes/1')).not.toHaveProperty('domain');
  });
});

describe('more nodes', () => {
  test('have ids above those in use, and pass over directories with data in them', () => {
    createVolume(layout, { ...wanted, nodes: [1, 2, 5] });
    mkdirSync(layout.nodeDirectory(6), { recursive: true });
    mkdirSync(join(layout.nodeDirectory(7), 'storage'), { recursive: true });
    expect(addNodes(layout, () => 2)).toMatchObject({ added: [6, 8] });
    expect(readVolumeFile(layout).nodes).toEqual([1, 2, 5, 6, 8]);
  });

  test('than a volume may have are refused, and none is added', () => {
    createVolume(layout, wanted);
    expect(() => addNodes(layout, () => 30)).toThrow('would have 33 nodes');
    expect(readVolumeFile(layout).nodes).toEqual([1, 2, 3]);
  });
});
