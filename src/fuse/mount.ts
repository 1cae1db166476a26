/**
 * Mounts a file system through the kernel's FUSE protocol, and takes the mount down.
 *
 * Whoever mounts keeps the file system: it is not closed here. A mount also ends when somebody else unmounts it, which
 * `closed` tells.
 */
import { posixOutcome } from '../base/errno.ts';
import type { FileSystem } from '../filesystem/file-system.ts';
import type { Logger, Timers } from '../platform/platform.ts';
import { Channel, fuseAddon, type TransportFactory } from './channel.ts';
import { attachDevice } from './device.ts';
import { MountError } from './mount-error.ts';
import { prepareMountPoint } from './mount-point.ts';
import { mountAt } from './mount-table.ts';
import { entryInvalidation, inodeInvalidation } from './notify.ts';
import { tunePageCache } from './page-cache.ts';
import { Session } from './session.ts';
import { detach, isPrivileged, type UnmountOptions, unmount } from './unmount.ts';

export interface MountOptions {
  readonly fileSystem: FileSystem;
  readonly mountPoint: string;
  /** Shown as the device in mount tables. */
  readonly volumeName: string;
  readonly log: Logger;
  readonly timers: Timers;
  readonly readOnly?: boolean;
  /** Users other than the one who mounts may use it. Default: true for root. */
  readonly allowOther?: boolean;
}

/** A mounted file system, whichever front end serves it. */
export interface FuseMount {
  /** Absolute, without symbolic links. */
  readonly mountPoint: string;
  /** Resolves when it is no longer mounted, by us or by others, and no request will come any more. */
  readonly closed: Promise<void>;
  /** Throws MountError 'in-use' while files are open in it, unless lazy. */
  unmount(options?: UnmountOptions): Promise<void>;
}

/** What only the kernel protocol offers: caches of the kernel follow changes made elsewhere. */
export interface NativeFuseMount extends FuseMount {
  /** Attributes, and cached pages in the range (length 0: to the end); offset -1: attributes only. */
  invalidateInode(inode: number, offsetBytes: number, lengthBytes: number): Promise<void>;
  invalidateEntry(parent: number, name: string): Promise<void>;
}

export async function mountFileSystem(options: MountOptions): Promise<NativeFuseMount> {
  const { log } = options;
  const mountPoint = await prepareMountPoint(options.mountPoint, options.timers);
  const descriptor = await attachDevice({
    source: options.volumeName,
    mountPoint,
    readOnly: options.readOnly ?? false,
    allowOther: options.allowOther ?? isPrivileged(),
  });
  const connect: TransportFactory = (...ends) => new Channel(descriptor, ...ends);
  const session = new Session(connect, options);
  try {
    const terms = await session.initialized;
    log.info('fuse-mounted', { mountPoint, protocolMinor: terms.minor, maxWriteBytes: terms.maxWriteBytes });
  } catch (cause) {
    await detach(mountPoint);
    session.close();
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new MountError('kernel-too-old', `cannot mount on ${mountPoint}: ${reason}`, { cause });
  }
  const device = mountAt(mountPoint)?.device;
  if (device !== undefined) tunePageCache(device, log);
  fuseAddon().fuseSetIoFlusher();
  return new KernelMount(mountPoint, session);
}

/** Notifications that wait for their turn; more throw EAGAIN. */
const MAX_NOTIFICATIONS = 1024;

class KernelMount implements NativeFuseMount {
  readonly mountPoint: string;
  readonly closed: Promise<void>;
  readonly #session: Session;
  /** One notification under way at a time: each may hold a thread of the pool for long. */
  #notifications = 0;
  #lastNotification: Promise<unknown> = Promise.resolve();

  constructor(mountPoint: string, session: Session) {
    this.mountPoint = mountPoint;
    this.closed = session.ended;
    this.#session = session;
  }

  async unmount(options: UnmountOptions = {}): Promise<void> {
    await unmount(this.mountPoint, options);
    if (options.lazy !== true) await this.closed;
  }

  invalidateInode(inode: number, offsetBytes: number, lengthBytes: number): Promise<void> {
    return this.#notify(inodeInvalidation(inode, offsetBytes, lengthBytes));
  }

  invalidateEntry(parent: number, name: string): Promise<void> {
    return this.#notify(entryInvalidation(parent, name));
  }

  /** What the kernel does not know it need not forget, so its refusal is no failure. */
  async #notify(message: Uint8Array): Promise<void> {
    if (this.#notifications === MAX_NOTIFICATIONS) throw posixOutcome('EAGAIN');
    this.#notifications += 1;
    const sent = this.#lastNotification.then(() => this.#session.notify(message));
    this.#lastNotification = sent;
    await sent;
    this.#notifications -= 1;
  }
}
