/** A directory tree as it is: names, inodes, links, content. */
import { lstatSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { readDirectly } from './bytes.ts';

export interface ScannedEntry {
  readonly kind: 'file' | 'directory';
  readonly inode: number;
  readonly links: number;
  /** Empty for a directory. */
  readonly content: Buffer;
}
export type Scan = ReadonlyMap<string, ScannedEntry>;

export function scanTree(root: string): Scan {
  const found = new Map<string, ScannedEntry>();
  const visit = (below: string): void => {
    for (const name of readdirSync(join(root, below))) {
      const path = join(below, name);
      const { ino, nlink, size, ...status } = lstatSync(join(root, path));
      const directory = status.mode !== undefined && (status.mode & 0o170000) === 0o040000;
      found.set(path, {
        kind: directory ? 'directory' : 'file',
        inode: ino,
        links: nlink,
        content: directory ? Buffer.alloc(0) : readDirectly(join(root, path), size + 1),
      });
      if (directory) visit(path);
    }
  };
  visit('');
  return found;
}
