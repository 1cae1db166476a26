/** Which mount of the kernel's table a path lies in. Pure. */
import type { MountEntry } from '../../fuse/mount-table.ts';

/** `path` is absolute and resolved. The last of several at one place is the visible one. */
export function containingMount(path: string, table: readonly MountEntry[]): MountEntry | undefined {
  let best: MountEntry | undefined;
  for (const entry of table) {
    const prefix = entry.mountPoint === '/' ? '/' : `${entry.mountPoint}/`;
    if (path !== entry.mountPoint && !path.startsWith(prefix)) continue;
    if (best === undefined || entry.mountPoint.length >= best.mountPoint.length) best = entry;
  }
  return best;
}
