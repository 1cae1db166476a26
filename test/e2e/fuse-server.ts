/**
 * A process that mounts the in-memory model, for tests of the front ends. Its argument is the options as JSON; it prints
 * 'mounted' or 'failed CODE' and lives until unmounted. SIGTERM unmounts, SIGUSR1 does so lazily, and SIGUSR2 changes the first
 * file and removes the name 'gone' behind the kernel's back, and then tells the kernel.
 */
import { mountThroughFuseNative } from '../../src/fuse/fuse-native/mount.ts';
import { type FuseMount, mountFileSystem, type NativeFuseMount } from '../../src/fuse/mount.ts';
import { MountError } from '../../src/fuse/mount-error.ts';
import { realLogger } from '../../src/platform/real/logger.ts';
import { realTimers } from '../../src/platform/real/time.ts';
import { MemoryFileSystem } from '../../src/simulator/model/memory-file-system.ts';
import { deferred, hanging } from './fuse-variants.ts';

export interface ServerOptions {
  readonly mountPoint: string;
  /** 'later': every result comes in a later turn. 'hanging': reads of files named hang never end. */
  readonly variant: 'same-turn' | 'later' | 'hanging';
  readonly readOnly?: boolean;
  readonly frontEnd?: 'native' | 'fuse-native';
}

function tellsKernel(mount: FuseMount): mount is NativeFuseMount {
  return 'invalidateInode' in mount;
}

const options = JSON.parse(process.argv[2] ?? '{}') as ServerOptions;
const root = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
function now() {
  const milliseconds = Date.now();
  return { seconds: Math.floor(milliseconds / 1000), nanoseconds: (milliseconds % 1000) * 1_000_000 };
}
const model = new MemoryFileSystem(now, root);
const variants = { 'same-turn': model, later: deferred(model), hanging: hanging(model) };

try {
  const mountWith = options.frontEnd === 'fuse-native' ? mountThroughFuseNative : mountFileSystem;
  const mount = await mountWith({
    fileSystem: variants[options.variant],
    mountPoint: options.mountPoint,
    volumeName: 'model',
    readOnly: options.readOnly ?? false,
    log: realLogger({ level: 'warn' }),
    timers: realTimers,
  });
  const attempt = (lazy: boolean) =>
    mount.unmount({ lazy }).catch((error: MountError) => console.log(`refused ${error.failure}`));
  process.on('SIGTERM', () => attempt(false));
  process.on('SIGUSR1', () => attempt(true));
  process.on('SIGUSR2', async () => {
    if (!tellsKernel(mount)) return;
    model.write(2, 0, 0, [Buffer.from('changed')]);
    model.unlink(1, 'gone');
    await mount.invalidateInode(2, 0, 0);
    await mount.invalidateEntry(1, 'gone');
    // What the kernel does not know it has not to forget.
    await mount.invalidateEntry(1, 'never seen');
    console.log('invalidated');
  });
  console.log('mounted');
  await mount.closed;
  console.log(`closed inodes=${model.inodeCount} handles=${model.openHandleCount}`);
  process.exit(0);
} catch (error) {
  console.log(`failed ${error instanceof MountError ? error.failure : String(error)}`);
  process.exit(1);
}
