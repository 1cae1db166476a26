/** Block maps for look-ups of extents, pooled: a read keeps one until its checksums were compared. */
import { MAX_REQUEST_BYTES } from '../base/limits.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import { newBlockMap } from '../metadata/extent-runs.ts';
import type { BlockMap } from '../metadata/metadata.ts';

/** Blocks that an unaligned request of the largest length touches. */
export const MAX_REQUEST_BLOCKS = MAX_REQUEST_BYTES / BLOCK_BYTES + 1;
/** Maps kept for reuse; more are made when more reads are under way. */
const MAX_IDLE = 64;

export class BlockMapPool {
  readonly #idle: BlockMap[] = [];

  take(): BlockMap {
    return this.#idle.pop() ?? newBlockMap(MAX_REQUEST_BLOCKS);
  }

  give(map: BlockMap): void {
    if (this.#idle.length < MAX_IDLE) this.#idle.push(map);
  }
}
