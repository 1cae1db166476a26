/**
 * The operations that paired runs apply: plain records whose numbers are taken modulo what there is, so that any sequence that somebody draws or shrinks
 * to is a valid one. What each does is in paired-run.ts and paired-files.ts; workloads and tests draw them as they like.
 */
export const NAMES = ['a', 'b', 'c', 'd', 'n'.repeat(256)];

/** One operation. Meaning of the numbers depends on `kind`; see PairedRun.apply. */
export interface Operation {
  readonly kind: Kind;
  readonly node: number;
  readonly name: number;
  readonly other: number;
  readonly offset: number;
  readonly length: number;
}

/** How often each kind is worth doing. */
export const WEIGHTS = {
  create: 3,
  makeDirectory: 1,
  makeNode: 1,
  symbolicLink: 1,
  link: 1,
  unlink: 2,
  removeDirectory: 1,
  rename: 2,
  lookup: 2,
  forget: 1,
  open: 3,
  release: 2,
  read: 6,
  write: 14,
  writeBlocks: 10,
  truncate: 4,
  fsync: 3,
  fsyncDirectory: 1,
  flush: 1,
  allocate: 1,
  punch: 3,
  zeroRange: 2,
  seek: 3,
  chmod: 1,
  setTimes: 1,
  setXattr: 1,
  removeXattr: 1,
  listing: 1,
  syncAll: 1,
  pause: 3,
} as const;
export type Kind = keyof typeof WEIGHTS;
