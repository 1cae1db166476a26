/**
 * Mounts a file system through the npm package fuse-native and libfuse 2: slower and with fewer features than the kernel protocol
 * spoken directly, and independent of it.
 *
 * The package does not tell when somebody else unmounts, so the mount table is looked at from time to time.
 */
import type { Logger, Timers } from '../../platform/platform.ts';
import { deferred } from '../deferred.ts';
import type { FuseMount, MountOptions } from '../mount.ts';
import { MountError } from '../mount-error.ts';
import { prepareMountPoint } from '../mount-point.ts';
import { mountAt } from '../mount-table.ts';
import { type UnmountOptions, unmount } from '../unmount.ts';
import { fuseNativeOperations } from './operations.ts';
import { loadFuseNative } from './package.ts';

const MOUNT_TABLE_INTERVAL_MS = 500;

/** Other users are let in only when asked for: the package does not say who makes a file, so it would belong to us. */
export async function mountThroughFuseNative(options: MountOptions): Promise<FuseMount> {
  const { fileSystem, log, timers, volumeName } = options;
  if (options.readOnly === true)
    throw new MountError('failed', 'the front end fuse-native cannot mount read-only');
  const FuseNative = loadFuseNative();
  const mountPoint = await prepareMountPoint(options.mountPoint, timers);
  const fuse = new FuseNative(mountPoint, fuseNativeOperations(fileSystem, log), {
    // The package joins options with commas: this adds use_ino, so that hard links are told apart from copies.
    fsname: `${volumeName.replaceAll(',', '_')},use_ino`,
    subtype: 'tartan',
    defaultPermissions: true,
    allowOther: options.allowOther ?? false,
    timeout: false,
  });
  await new Promise<void>((resolve, reject) => {
    fuse.mount((error) => (error === null ? resolve() : reject(refused(mountPoint, error))));
  });
  log.info('fuse-native-mounted', { mountPoint });
  return new PackageMount(mountPoint, timers, log);
}

function refused(mountPoint: string, cause: Error): MountError {
  return new MountError('failed', `fuse-native cannot mount on ${mountPoint}: ${cause.message}`, { cause });
}

class PackageMount implements FuseMount {
  readonly mountPoint: string;
  readonly closed: Promise<void>;
  readonly #closed = deferred<void>();

  constructor(mountPoint: string, timers: Timers, log: Logger) {
    this.mountPoint = mountPoint;
    this.closed = this.#closed.promise;
    const look = () => {
      if (mountAt(mountPoint) !== undefined) {
        timers.after(MOUNT_TABLE_INTERVAL_MS, look);
        return;
      }
      log.info('fuse-native-unmounted', { mountPoint });
      this.#closed.resolve();
    };
    look();
  }

  /** Not by the package: it unmounts lazily always. */
  async unmount(options: UnmountOptions = {}): Promise<void> {
    await unmount(this.mountPoint, options);
    if (options.lazy !== true) await this.closed;
  }
}
