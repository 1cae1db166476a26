/**
 * What the reference model tells of its changes: in the terms in which they become durable, each right after it was made. A write, a cut or a hole of a
 * regular file comes first, then what names and attributes became. crash-history.ts listens.
 */
export interface ModelObserver {
  /** Names, attributes without sizes and times, targets or xattrs changed: one step that is there as a whole or not at all. */
  named(): void;
  /** Blocks [firstBlock, endBlock) have new contents; what was written ends at `endBytes` (0: inside the file). */
  wrote(inode: number, firstBlock: number, endBlock: number, endBytes: number): void;
  /** The size became smaller. `cutsBlock`: it ends inside a block that is no hole, and the rest of that is zeros now. */
  cut(inode: number, sizeBytes: number, cutsBlock: boolean): void;
  grew(inode: number, sizeBytes: number): void;
  /** Blocks [firstBlock, endBlock) are holes. */
  punched(inode: number, firstBlock: number, endBlock: number): void;
  /** Before it is named: the file takes the place of another one. */
  replaces(inode: number): void;
}
