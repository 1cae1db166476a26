import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CommandFailure } from '../../../src/cli/failure.ts';
import { addNodes } from '../../../src/cli/volume/more-nodes.ts';
import {
  changeVolumeFile,
  createVolume,
  readVolumeFile,
  readVolumeKey,
  volumeFileProblem,
} from '../../../src/cli/volume/volume-file.ts';
import { type VolumeLayout, volumeLayout } from '../../../src/cli/volume/volume-layout.ts';

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
