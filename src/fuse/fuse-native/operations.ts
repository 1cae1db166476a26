/**
 * The package's path-based operations, on the inode-based file system.
 *
 * What the package cannot do is missing here, too: it tells no caller, so everything new belongs to the user of this process;
 * it passes the access time for the modification time in utimens; names have to be UTF-8; there is no fallocate, no seeking for
 * holes and no rename with flags.
 */
import { posixOutcome } from '../../base/errno.ts';
import { MAX_NAME_BYTES } from '../../base/limits.ts';
import { BLOCK_BYTES } from '../../base/units.ts';
import type { AttributeChanges, Attributes, FileSystem, TimeValue } from '../../filesystem/file-system.ts';
import type { Logger } from '../../platform/platform.ts';
import { errnoOf } from '../unexpected.ts';
import { OpenFiles } from './open-files.ts';
import type { Callback, FuseOperations, Stat, Statfs } from './package.ts';
import { Paths, toBytes, toText } from './paths.ts';

const UNCHANGED_ID = 0xffffffff;

export function fuseNativeOperations(fileSystem: FileSystem, log: Logger): FuseOperations {
  const caller = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0, pid: process.pid };
  const paths = new Paths(fileSystem, caller);
  const files = new OpenFiles();

  /** Runs an operation and calls back once. `value` goes along with a result of 0. */
  function run<T>(operation: string, done: Callback<T>, work: () => Promise<T>): void {
    work().then(
      (value) => done(0, value),
      (error: unknown) => done(-errnoOf(error, log, { operation })),
    );
  }

  /** The same for those whose value is the result itself. */
  function count(operation: string, done: Callback, work: () => Promise<number>): void {
    work().then(done, (error: unknown) => done(-errnoOf(error, log, { operation })));
  }

  async function change(path: string, changes: AttributeChanges): Promise<void> {
    await paths.at(path, (inode) => fileSystem.setAttributes(inode, changes, caller));
  }

  /** A new inode, whose look-up count nobody holds. */
  async function make(path: string, how: (parent: number, name: string) => Attributes | Promise<Attributes>) {
    const made = await paths.parentOf(path, how);
    fileSystem.forget(made.inode, 1);
  }

  return {
    statfs: (_path, done) =>
      run('statfs', done, async () => {
        return statfsOf(await fileSystem.statistics());
      }),
    getattr: (path, done) =>
      run('getattr', done, () =>
        paths.at(path, async (inode) => statOf(await fileSystem.getAttributes(inode))),
      ),
    readdir: (path, done) => run('readdir', done, () => paths.at(path, (inode) => list(fileSystem, inode))),
    readlink: (path, done) =>
      run('readlink', done, () =>
        paths.at(path, async (inode) => Buffer.from(await fileSystem.readLink(inode)).toString('utf8')),
      ),
    truncate: (path, sizeBytes, done) => run('truncate', done, () => change(path, { sizeBytes })),
    ftruncate: (_path, descriptor, sizeBytes, done) =>
      run('ftruncate', done, async () => {
        const { inode } = files.get(descriptor);
        await fileSystem.setAttributes(inode, { sizeBytes }, caller);
      }),
    chown: (path, uid, gid, done) =>
      run('chown', done, () => {
        const changes: AttributeChanges = {};
        if (uid !== UNCHANGED_ID) changes.uid = uid;
        if (gid !== UNCHANGED_ID) changes.gid = gid;
        return change(path, changes);
      }),
    chmod: (path, mode, done) => run('chmod', done, () => change(path, { mode })),
    utimens: (path, atimeMs, mtimeMs, done) =>
      run('utimens', done, () => change(path, { atime: timeOf(atimeMs), mtime: timeOf(mtimeMs) })),
    mknod: (path, mode, device, done) =>
      run('mknod', done, () => make(path, async (p, n) => fileSystem.makeNode(p, n, mode, device, caller))),
    mkdir: (path, mode, done) =>
      run('mkdir', done, () => make(path, async (p, n) => fileSystem.makeDirectory(p, n, mode, caller))),
    symlink: (target, path, done) =>
      run('symlink', done, () =>
        make(path, async (p, n) => fileSystem.symbolicLink(p, n, Buffer.from(target, 'utf8'), caller)),
      ),
    link: (from, path, done) =>
      run('link', done, () =>
        paths.at(from, (inode) => make(path, async (p, n) => fileSystem.link(inode, p, n, caller))),
      ),
    unlink: (path, done) =>
      run('unlink', done, () => paths.parentOf(path, async (p, n) => fileSystem.unlink(p, n, caller))),
    rmdir: (path, done) =>
      run('rmdir', done, () =>
        paths.parentOf(path, async (p, n) => fileSystem.removeDirectory(p, n, caller)),
      ),
    rename: (from, to, done) =>
      run('rename', done, () =>
        paths.parentOf(from, (fromParent, fromName) =>
          paths.parentOf(to, async (p, n) => fileSystem.rename(fromParent, fromName, p, n, 0, caller)),
        ),
      ),
    open: (path, flags, done) =>
      run('open', done, () =>
        paths.at(path, async (inode) => files.add(inode, await fileSystem.open(inode, flags, caller))),
      ),
    create: (path, mode, done) =>
      run('create', done, async () => {
        // The package leaves the flags out; the model of a new file needs none.
        const created = await paths.parentOf(path, async (p, n) => fileSystem.create(p, n, mode, 0, caller));
        fileSystem.forget(created.attributes.inode, 1);
        return files.add(created.attributes.inode, created.handle);
      }),
    release: (_path, descriptor, done) =>
      run('release', done, async () => {
        const { inode, handle } = files.remove(descriptor);
        await fileSystem.release(inode, handle);
      }),
    flush: (_path, descriptor, done) =>
      run('flush', done, async () => {
        const { inode, handle } = files.get(descriptor);
        await fileSystem.flush(inode, handle);
      }),
    fsync: (_path, dataOnly, descriptor, done) =>
      run('fsync', done, async () => {
        const { inode, handle } = files.get(descriptor);
        await fileSystem.fsync(inode, handle, dataOnly !== 0);
      }),
    fsyncdir: (path, _dataOnly, _descriptor, done) =>
      run('fsyncdir', done, () => paths.at(path, async (inode) => fileSystem.fsyncDirectory(inode, 0))),
    read: (_path, descriptor, into, length, offset, done) =>
      count('read', done, async () => {
        const { inode, handle } = files.get(descriptor);
        const result = await fileSystem.read(inode, handle, offset, length);
        let at = 0;
        for (const part of result.parts) {
          into.set(part, at);
          at += part.length;
        }
        result.release();
        return at;
      }),
    write: (_path, descriptor, from, length, offset, done) =>
      count('write', done, async () => {
        const { inode, handle } = files.get(descriptor);
        await fileSystem.write(inode, handle, offset, [from.subarray(0, length)], false);
        return length;
      }),
    getxattr: (path, name, _position, done) =>
      run('getxattr', done, () =>
        paths.at(path, async (inode) => Buffer.from(await fileSystem.getXattr(inode, toBytes(name)))),
      ),
    setxattr: (path, name, value, _position, flags, done) =>
      run('setxattr', done, () =>
        paths.at(path, async (inode) => {
          // Access control lists, which nobody would obey here.
          if (name.startsWith('system.')) throw posixOutcome('EOPNOTSUPP');
          await fileSystem.setXattr(inode, toBytes(name), Uint8Array.from(value), flags);
        }),
      ),
    listxattr: (path, done) =>
      run('listxattr', done, () =>
        paths.at(path, async (inode) => (await fileSystem.listXattrs(inode)).map(toText)),
      ),
    removexattr: (path, name, done) =>
      run('removexattr', done, () =>
        paths.at(path, async (inode) => fileSystem.removeXattr(inode, toBytes(name))),
      ),
  };
}

async function list(fileSystem: FileSystem, inode: number): Promise<string[]> {
  const names: string[] = [];
  await fileSystem.readDirectory(inode, 0, 0n, false, (entry) => {
    names.push(toText(entry.name));
    return true;
  });
  return names;
}

function timeOf(milliseconds: number): TimeValue {
  const seconds = Math.floor(milliseconds / 1000);
  return { seconds, nanoseconds: (milliseconds - seconds * 1000) * 1_000_000 };
}

function statOf(attributes: Attributes): Stat {
  const millisecondsOf = (seconds: number, nanoseconds: number) =>
    seconds * 1000 + Math.floor(nanoseconds / 1_000_000);
  return {
    mode: attributes.mode,
    uid: attributes.uid,
    gid: attributes.gid,
    size: attributes.sizeBytes,
    nlink: attributes.linkCount,
    ino: attributes.inode,
    rdev: attributes.rdev,
    blksize: BLOCK_BYTES,
    blocks: attributes.blocks512,
    atime: millisecondsOf(attributes.atimeSeconds, attributes.atimeNanoseconds),
    mtime: millisecondsOf(attributes.mtimeSeconds, attributes.mtimeNanoseconds),
    ctime: millisecondsOf(attributes.ctimeSeconds, attributes.ctimeNanoseconds),
  };
}

/** The package's counters have 32 bits, so a large volume is told in larger units. */
function statfsOf(statistics: Awaited<ReturnType<FileSystem['statistics']>>): Statfs {
  let unit = 1;
  while (statistics.totalBlocks / unit > 0xffffffff) unit *= 2;
  const scaled = (blocks: number) => Math.floor(blocks / unit);
  const limited = (inodes: number) => Math.min(inodes, 0xffffffff);
  return {
    bsize: BLOCK_BYTES * unit,
    frsize: BLOCK_BYTES * unit,
    blocks: scaled(statistics.totalBlocks),
    bfree: scaled(statistics.freeBlocks),
    bavail: scaled(statistics.availableBlocks),
    files: limited(statistics.inodes),
    ffree: limited(statistics.freeInodes),
    favail: limited(statistics.freeInodes),
    namemax: MAX_NAME_BYTES,
  };
}
