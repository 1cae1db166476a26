/** Which node gets one parity fragment more of a segment that stays as it is. */
import type { NodeGroups } from '../cluster/node-groups.ts';
import { extendSegment, type PlacementNode } from '../cluster/placement.ts';
import type { SegmentRecord } from '../format/segment-record.ts';
import { storedFragmentBytes } from '../log/writable-nodes.ts';
import type { ParityAddition } from './parity-change.ts';

export interface ParityHolders {
  readonly record: SegmentRecord;
  /** As many as it is to have. */
  readonly parityFragments: number;
  /** Nodes that answer, as they are at the moment of the choice. */
  readonly up: () => readonly PlacementNode[];
  /** Those of them that new fragments may go to. */
  readonly takers: () => readonly PlacementNode[];
  readonly groups: () => NodeGroups;
}

export function nextParityHolder(holders: ParityHolders): ParityAddition['nextNode'] {
  const { dataFragments, fragmentBlocks } = holders.record;
  const width = dataFragments + holders.parityFragments;
  const fragmentBytes = storedFragmentBytes(fragmentBlocks, width);
  return (nodes, refused) => {
    const takers = new Set(holders.takers().map(({ id }) => id));
    return extendSegment(holders.up(), {
      ...{ nodes, width, fragmentBytes },
      canTake: (nodeId) => takers.has(nodeId) && !refused.has(nodeId),
      groups: holders.groups(),
    });
  };
}
