/**
 * A process that mounts the in-memory model, for tests of the front ends. Its argument is the options as JSON; it prints
 * 'mounted' or 'failed CODE' and lives until unmounted. SIGTERM unmounts.
 */
import { mountThroughFuseNative } from '../../src/fuse/fuse-native/mount.ts';
import { mountFileSystem } from '../../src/fuse/mount.ts';
import { MountError } from '../../src/fuse/mount-error.ts';
import { realLogger } from '../../src/platform/real/logger.ts';
import { realTimers } from '../../src/platform/real/time.ts';
import { MemoryFileSystem } from '../model/memory-file-system.ts';
import { deferred, hanging } from './fuse-variants.ts';

export interface ServerOptions {
  readonly mountPoint: string;
  /** 'later': every result comes in a later turn. 'hanging': reads of files named hang never end. */
  readonly variant: 'same-turn' | 'later' | 'hanging';
  readonly readOnly?: boolean;
  readonly frontEnd?: 'native' | 'fuse-native';
}

const options = JSON.parse(process.argv[2] ?? '{}') as ServerOptions;
const root = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
const model = new MemoryFileSystem(undefined, root);
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
  console.log('mounted');
  await mount.closed;
  console.log(`closed inodes=${model.inodeCount} handles=${model.openHandleCount}`);
  process.exit(0);
} catch (error) {
  console.log(`failed ${error instanceof MountError ? error.failure : String(error)}`);
  process.exit(1);
}
