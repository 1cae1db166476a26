/**
 * Of two primaries that both believe, only the newer can commit: the older one, once it is awake and can reach everybody again, is made
 * to write and to sync, which must fail, and in time.
 */
import { ErrnoError } from '../../base/errno.ts';
import { type FileSystem, ROOT_INODE } from '../../filesystem/file-system.ts';
import type { SimulatedCluster } from '../cluster/simulated-cluster.ts';
import { CheckFailed, type MountedFileSystem, type SimulatedProcess, type World } from '../contract.ts';

const ANSWER_BOUND_MS = 45_000;
const O_RDWR_CREAT = 0o102;
const BLOCK = Buffer.alloc(4096, 0xdd);
const CALLER = { uid: 0, gid: 0, pid: 1 };

/** Begins when the newer mount serves; ends by killing the older one. */
export function watchDeposed(
  world: World,
  cluster: SimulatedCluster,
  old: MountedFileSystem,
  process: SimulatedProcess,
): void {
  const begin = (): boolean => {
    const { mount } = cluster;
    if (!process.alive) return true;
    if (mount === undefined || mount.generation <= old.generation) return false;
    void probe(world, old.volume.fileSystem, () => process.alive).then(() => process.kill());
    return true;
  };
  if (begin()) return;
  const unlisten = cluster.onMountChange(() => {
    if (begin()) unlisten();
  });
}

async function probe(world: World, fileSystem: FileSystem, lives: () => boolean): Promise<void> {
  const bound = world.scheduler.after(ANSWER_BOUND_MS, () => {
    if (lives())
      world.fail('liveness', new Error(`a deposed mount has not answered in ${ANSWER_BOUND_MS} ms`));
  });
  try {
    const name = `deposed-${Math.floor(world.scheduler.nowMs)}`;
    const { attributes, handle } = await fileSystem.create(ROOT_INODE, name, 0o644, O_RDWR_CREAT, CALLER);
    await fileSystem.write(attributes.inode, handle, 0, [BLOCK], false);
    await fileSystem.fsync(attributes.inode, handle, false);
    world.fail('correctness', new CheckFailed('a mount that was deposed has committed what it wrote'));
  } catch (error) {
    if (!(error instanceof ErrnoError)) throw error;
    world.trace.event('deposed-mount-refused', { code: error.code });
  } finally {
    bound.cancel();
  }
}
