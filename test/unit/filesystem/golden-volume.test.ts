/**
 * Volumes as earlier versions left them on the disks, crashed, with something left in the journal (scripts/golden-volume.mjs made them): every
 * version opens them, or says why not.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readVolumeFile, readVolumeKey } from '../../../src/cli/volume/volume-file.ts';
import { volumeLayout } from '../../../src/cli/volume/volume-layout.ts';
import { openEmbeddedCoordinator } from '../../../src/cluster/coordinator-embedded.ts';
import { openVolume, type Volume } from '../../../src/filesystem/volume.ts';
import { realPlatform } from '../../../src/platform/real/real-platform.ts';
import { startStorageNode } from '../../../src/storage/storage-node.ts';
import { makeScratch } from '../scratch.ts';
import { silent } from './harness.ts';

const platform = realPlatform({ log: silent });
const caller = { uid: 0, gid: 0, pid: 1 };
let scratch: string;
let closers: (() => Promise<void>)[] = [];

beforeEach(() => {
  scratch = makeScratch('golden-test');
});

afterEach(async () => {
  for (const close of closers.reverse()) await close();
  closers = [];
  rmSync(scratch, { recursive: true, force: true });
});

function unpack(name: string, ...members: string[]): void {
  const archive = fileURLToPath(new URL(`../../golden/volumes/${name}.tar.gz`, import.meta.url));
  execFileSync('tar', ['-xzf', archive, '-C', scratch, ...members]);
}

async function open(name: string): Promise<Volume> {
  unpack(name);
  const directory = join(scratch, 'volume');
  const layout = volumeLayout(directory);
  const { volumeId, nodes, dataFragments, parityFragments } = readVolumeFile(layout);
  const key = readVolumeKey(layout);
  const database = await platform.databases.open(join(directory, 'coordinator'));
  const coordinator = await openEmbeddedCoordinator(platform, database);
  closers.push(() => coordinator.close());
  for (const id of nodes) {
    const path = join(scratch, `node-${id}.sock`);
    const node = await startStorageNode(platform, {
      directory: join(directory, 'nodes', String(id)),
      nodeId: id,
      volumeId,
      key,
      address: { kind: 'unix', path },
    });
    closers.push(() => node.close());
    await coordinator.put(`nodes/${id}`, Buffer.from(JSON.stringify({ id, address: `unix:${path}` })));
  }
  const volume = await openVolume(platform, {
    coordinator,
    key,
    volumeId,
    dataFragments,
    parityFragments,
    directory: join(directory, 'mount'),
    name: 'test',
    owner: { uid: 0, gid: 0 },
  });
  closers.push(() => volume.close());
  return volume;
}

function pattern(lengthBytes: number, salt: number): Buffer {
  const bytes = Buffer.alloc(lengthBytes);
  for (let at = 0; at + 4 <= lengthBytes; at += 4) bytes.writeUInt32LE(salt * 2 ** 20 + (at >> 9), at);
  return bytes;
}

async function find({ fileSystem }: Volume, ...names: string[]): Promise<number> {
  let inode = 1;
  for (const name of names) {
    const found = await fileSystem.lookup(inode, name, caller);
    if (found === undefined) throw new Error(`${name} is missing`);
    inode = found.inode;
  }
  return inode;
}

async function content(volume: Volume, ...names: string[]): Promise<Buffer> {
  const { fileSystem } = volume;
  const inode = await find(volume, ...names);
  const { sizeBytes } = await fileSystem.getAttributes(inode);
  const handle = await fileSystem.open(inode, 0, caller);
  const parts: Buffer[] = [];
  for (let at = 0; at < sizeBytes; at += 128 * 1024) {
    const read = await fileSystem.read(inode, handle, at, Math.min(128 * 1024, sizeBytes - at));
    for (const part of read.parts) parts.push(Buffer.from(part));
    read.release();
  }
  await fileSystem.release(inode, handle);
  return Buffer.concat(parts);
}

test('a volume of format 1 is opened with everything that was in it, journal included', async () => {
  const volume = await open('v1');
  const large = pattern(600_000, 1);
  pattern(4096, 3).copy(large, 8192);
  expect((await content(volume, 'large')).equals(large)).toBe(true);
  expect((await content(volume, 'hard link')).equals(large)).toBe(true);
  const sparse = Buffer.alloc(3_000_000);
  pattern(5000, 2).copy(sparse, 1_000_000);
  expect((await content(volume, 'sparse')).equals(sparse)).toBe(true);
  expect((await content(volume, 'late')).toString()).toBe('only in the journal\n');
  for (const i of [0, 7, 99]) {
    expect((await content(volume, 'directory', `file ${i}`)).toString()).toBe(`content ${i}\n`);
  }
  const { fileSystem } = volume;
  expect(Buffer.from(await fileSystem.readLink(await find(volume, 'symbolic link'))).toString()).toBe(
    'directory/file 7',
  );
  const colour = await fileSystem.getXattr(await find(volume, 'large'), 'user.colour');
  expect(Buffer.from(colour).toString()).toBe('tartan');
});

test('a volume of a later format is refused with a message that says so', () => {
  unpack('v1', 'volume/volume.json');
  const path = join(scratch, 'volume', 'volume.json');
  writeFileSync(path, readFileSync(path, 'utf8').replace('"formatVersion": 1', '"formatVersion": 2'));
  expect(() => readVolumeFile(volumeLayout(join(scratch, 'volume')))).toThrow('format version 2');
});
