/**
 * After a crash: blocks whose bytes are only in the journal, because their segment was never committed, are written to the log as
 * ordinary data. A block that was overwritten, truncated or removed since is left alone: its extent points elsewhere.
 */

import { newBlockMap } from '../metadata/extent-runs.ts';
import type { MetadataManager } from '../metadata/metadata.ts';
import type { InodeTable } from './inode-state.ts';
import type { WritePath } from './write-path.ts';

export async function recoverInline(
  metadata: MetadataManager,
  inodes: InodeTable,
  writes: WritePath,
): Promise<void> {
  const map = newBlockMap(1);
  for (const { inode, fileBlock, segmentId, blockIndex, bytes } of metadata.takeRecoveredInline()) {
    const committed = metadata.inode(inode);
    if (committed === undefined) continue;
    metadata.mapBlocks(inode, fileBlock, 1, map);
    if (map.segmentIds[0] !== segmentId || map.blockIndexes[0] !== blockIndex) continue;
    const state = inodes.add(committed);
    // Held while it waits for room: the commit of earlier blocks would forget a state that nobody uses.
    await inodes.exclusive(state, () => writes.appendBlocks(state, fileBlock, bytes));
  }
}
