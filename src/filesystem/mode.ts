/** Type bits and flags of inodes and of open(2), as Linux has them. */
export const S_IFMT = 0o170000;
export const S_IFDIR = 0o040000;
export const S_IFREG = 0o100000;
export const S_IFLNK = 0o120000;
export const S_ISGID = 0o2000;
export const PERMISSION_BITS = 0o7777;
export const O_TRUNC = 0o1000;

/** What mknod(2) may make: FIFO, character and block device, regular file, socket. */
const NODE_TYPES: readonly number[] = [0o010000, 0o020000, 0o060000, S_IFREG, 0o140000];

export function isNodeType(mode: number): boolean {
  return NODE_TYPES.includes(mode & S_IFMT);
}

export function isDirectory(mode: number): boolean {
  return (mode & S_IFMT) === S_IFDIR;
}

export function isRegular(mode: number): boolean {
  return (mode & S_IFMT) === S_IFREG;
}
