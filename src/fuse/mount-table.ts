/**
 * The mount table of this process's namespace, /proc/self/mountinfo. Reading it never touches a mounted file system, so it
 * answers also where stat(2) would wait for a dead or busy one.
 */
import { readFileSync } from 'node:fs';

export interface MountEntry {
  /** major:minor, the name of its directory in /sys/class/bdi. */
  readonly device: string;
  readonly mountPoint: string;
  readonly type: string;
  readonly source: string;
}

export function readMountTable(): MountEntry[] {
  return parseMountTable(readFileSync('/proc/self/mountinfo', 'utf8'));
}

/** The uppermost mount at a path. */
export function mountAt(mountPoint: string): MountEntry | undefined {
  return readMountTable().findLast((entry) => entry.mountPoint === mountPoint);
}

/** Lines as in proc(5): `36 35 98:0 /root /mount/point options [tags...] - type source superoptions`. */
export function parseMountTable(text: string): MountEntry[] {
  const entries: MountEntry[] = [];
  for (const line of text.split('\n')) {
    const [before, after] = line.split(' - ', 2);
    if (before === undefined || after === undefined) continue;
    const [, , device, , mountPoint] = before.split(' ');
    const [type, source] = after.split(' ');
    if (device === undefined || mountPoint === undefined || type === undefined || source === undefined)
      continue;
    entries.push({ device, mountPoint: unescapePath(mountPoint), type, source: unescapePath(source) });
  }
  return entries;
}

/** Space, tab, newline and backslash are written in octal; other bytes are as they are. */
function unescapePath(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
