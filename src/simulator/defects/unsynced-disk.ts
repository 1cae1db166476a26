/** A disk that calls everything durable at once. */
import type { Disk, DiskFile } from '../../platform/platform.ts';
import type { SimulatedProcess } from '../contract.ts';

export function withoutSyncs(process: SimulatedProcess): SimulatedProcess {
  const { disk } = process.platform;
  const platform = { ...process.platform, disk: unsyncedDisk(disk) };
  return new Proxy(process, {
    get: (target, name) => {
      if (name === 'platform') return platform;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

function unsyncedDisk(disk: Disk): Disk {
  return {
    open: async (path, options) => unsyncedFile(await disk.open(path, options)),
    makeDirectory: (path) => disk.makeDirectory(path),
    list: (path) => disk.list(path),
    exists: (path) => disk.exists(path),
    remove: (path) => disk.remove(path),
    rename: (from, to) => disk.rename(from, to),
    syncDirectory: (path) => disk.syncDirectory(path),
    readSmallFile: (path) => disk.readSmallFile(path),
    writeSmallFile: (path, bytes) => disk.writeSmallFile(path, bytes),
    space: (path) => disk.space(path),
  };
}

function unsyncedFile(file: DiskFile): DiskFile {
  return {
    path: file.path,
    direct: file.direct,
    descriptor: file.descriptor,
    read: (buffers, position) => file.read(buffers, position),
    readThen: (into, position, done) => file.readThen(into, position, done),
    write: (buffers, position) => file.write(buffers, position),
    readSync: (buffer, position) => file.readSync(buffer, position),
    writeSync: (buffer, position) => file.writeSync(buffer, position),
    sync: () => Promise.resolve(),
    allocate: (position, length) => file.allocate(position, length),
    punchHole: (position, length) => file.punchHole(position, length),
    truncate: (length) => file.truncate(length),
    size: () => file.size(),
    close: () => file.close(),
  };
}
