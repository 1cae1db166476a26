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

import { OperationContext } from './operation-context.ts';
import type { FuseOperations, Stat, Statfs } from './package.ts';
import { toBytes, toText } from './paths.ts';

const UNCHANGED_ID = 0xffffffff;

export function fuseNativeOperations(fileSystem: FileSystem, log: Logger): FuseOperations {
  const context = new OperationContext(fileSystem, log);
  return {
    ...attributeOperations(context),
    ...nameOperations(context),
    ...fileOperations(context),
    ...xattrOperations(context),
  };
}

/** Attributes, and the file system as a whole. */
function attributeOperations(
  context: OperationContext,
): Pick<FuseOperations, 'statfs' | 'getattr' | 'truncate' | 'ftruncate' | 'chown' | 'chmod' | 'utimens'> {
  const { caller, files, fileSystem, paths } = context;
  return {
    statfs: (_path, done) =>
      context.run('statfs', done, async () => {
        return statfsOf(await fileSystem.statistics());
      }),
    getattr: (path, done) =>
      context.run('getattr', done, () =>
        paths.at(path, async (inode) => statOf(await fileSystem.getAttributes(inode))),
      ),
    truncate: (path, sizeBytes, done) =>
      context.run('truncate', done, () => context.change(path, { sizeBytes })),
    ftruncate: (_path, descriptor, sizeBytes, done) =>
      context.run('ftruncate', done, async () => {
        const { inode } = files.get(descriptor);
        await fileSystem.setAttributes(inode, { sizeBytes }, caller);
      }),
    chown: (path, uid, gid, done) =>
      context.run('chown', done, () => {
        const changes: AttributeChanges = {};
        if (uid !== UNCHANGED_ID) changes.uid = uid;
        if (gid !== UNCHANGED_ID) changes.gid = gid;
        return context.change(path, changes);
      }),
    chmod: (path, mode, done) => context.run('chmod', done, () => context.change(path, { mode })),
    utimens: (path, atimeMs, mtimeMs, done) =>
      context.run('utimens', done, () =>
        context.change(path, { atime: timeOf(atimeMs), mtime: timeOf(mtimeMs) }),
      ),
  };
}

/** Names. */
function nameOperations(
  context: OperationContext,
): Pick<
  FuseOperations,
  'readdir' | 'readlink' | 'mknod' | 'mkdir' | 'symlink' | 'link' | 'unlink' | 'rmdir' | 'rename'
> {
  const { caller, fileSystem, paths } = context;
  return {
    readdir: (path, done) =>
      context.run('readdir', done, () => paths.at(path, (inode) => list(fileSystem, inode))),
    readlink: (path, done) =>
      context.run('readlink', done, () =>
        paths.at(path, async (inode) => Buffer.from(await fileSystem.readLink(inode)).toString('utf8')),
      ),
    mknod: (path, mode, device, done) =>
      context.run('mknod', done, () =>
        context.make(path, async (p, n) => fileSystem.makeNode(p, n, mode, device, caller)),
      ),
    mkdir: (path, mode, done) =>
      context.run('mkdir', done, () =>
        context.make(path, async (p, n) => fileSystem.makeDirectory(p, n, mode, caller)),
      ),
    symlink: (target, path, done) =>
      context.run('symlink', done, () =>
        context.make(path, async (p, n) =>
          fileSystem.symbolicLink(p, n, Buffer.from(target, 'utf8'), caller),
        ),
      ),
    link: (from, path, done) =>
      context.run('link', done, () =>
        paths.at(from, (inode) => context.make(path, async (p, n) => fileSystem.link(inode, p, n, caller))),
      ),
    unlink: (path, done) =>
      context.run('unlink', done, () =>
        paths.parentOf(path, async (p, n) => fileSystem.unlink(p, n, caller)),
      ),
    rmdir: (path, done) =>
      context.run('rmdir', done, () =>
        paths.parentOf(path, async (p, n) => fileSystem.removeDirectory(p, n, caller)),
      ),
    rename: (from, to, done) =>
      context.run('rename', done, () =>
        paths.parentOf(from, (fromParent, fromName) =>
          paths.parentOf(to, async (p, n) => fileSystem.rename(fromParent, fromName, p, n, 0, caller)),
        ),
      ),
  };
}

/** Open files. */
function fileOperations(
  context: OperationContext,
): Pick<FuseOperations, 'open' | 'create' | 'release' | 'flush' | 'fsync' | 'fsyncdir' | 'read' | 'write'> {
  const { caller, files, fileSystem, paths } = context;
  return {
    open: (path, flags, done) =>
      context.run('open', done, () =>
        paths.at(path, async (inode) => files.add(inode, await fileSystem.open(inode, flags, caller))),
      ),
    create: (path, mode, done) =>
      context.run('create', done, async () => {
        // The package leaves the flags out; a new file needs none.
        const created = await paths.parentOf(path, async (p, n) => fileSystem.create(p, n, mode, 0, caller));
        fileSystem.forget(created.attributes.inode, 1);
        return files.add(created.attributes.inode, created.handle);
      }),
    release: (_path, descriptor, done) =>
      context.run('release', done, async () => {
        const { inode, handle } = files.remove(descriptor);
        await fileSystem.release(inode, handle);
      }),
    flush: (_path, descriptor, done) =>
      context.run('flush', done, async () => {
        const { inode, handle } = files.get(descriptor);
        await fileSystem.flush(inode, handle);
      }),
    fsync: (_path, dataOnly, descriptor, done) =>
      context.run('fsync', done, async () => {
        const { inode, handle } = files.get(descriptor);
        await fileSystem.fsync(inode, handle, dataOnly !== 0);
      }),
    fsyncdir: (path, _dataOnly, _descriptor, done) =>
      context.run('fsyncdir', done, () =>
        paths.at(path, async (inode) => fileSystem.fsyncDirectory(inode, 0)),
      ),
    read: (_path, descriptor, into, length, offset, done) =>
      context.count('read', done, async () => {
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
      context.count('write', done, async () => {
        const { inode, handle } = files.get(descriptor);
        await fileSystem.write(inode, handle, offset, [from.subarray(0, length)], false);
        return length;
      }),
  };
}

/** Extended attributes. */
function xattrOperations(
  context: OperationContext,
): Pick<FuseOperations, 'getxattr' | 'setxattr' | 'listxattr' | 'removexattr'> {
  const { fileSystem, paths } = context;
  return {
    getxattr: (path, name, _position, done) =>
      context.run('getxattr', done, () =>
        paths.at(path, async (inode) => Buffer.from(await fileSystem.getXattr(inode, toBytes(name)))),
      ),
    setxattr: (path, name, value, _position, flags, done) =>
      context.run('setxattr', done, () =>
        paths.at(path, async (inode) => {
          // Access control lists, which nobody would obey here.
          if (name.startsWith('system.')) throw posixOutcome('EOPNOTSUPP');
          await fileSystem.setXattr(inode, toBytes(name), Uint8Array.from(value), flags);
        }),
      ),
    listxattr: (path, done) =>
      context.run('listxattr', done, () =>
        paths.at(path, async (inode) => (await fileSystem.listXattrs(inode)).map(toText)),
      ),
    removexattr: (path, name, done) =>
      context.run('removexattr', done, () =>
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
