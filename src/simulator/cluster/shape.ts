/** What a simulated cluster is made of: drawn from the seed within what a scenario asks for, and printed with a failure. */
import { MAX_PARITY, MAX_REQUEST_BYTES } from '../../base/limits.ts';
import { BLOCK_BYTES, MIB } from '../../base/units.ts';
import type { PlanPolicy } from '../../replicator/plan/contract.ts';
import type { Dice } from '../contract.ts';

export interface ClusterShape {
  readonly nodes: number;
  /** The last of them join while the load goes on; until then the volume does not know them. */
  readonly lateNodes: number;
  readonly dataFragments: number;
  readonly parityFragments: number;
  /** Everything on one machine, over Unix sockets; otherwise a machine for each process, over TCP. */
  readonly oneMachine: boolean;
  /** What fragments may take on each node. */
  readonly capacityBytes: number;
  /** Of full segments: small ones make rare paths common. */
  readonly segmentBlocks: number;
  readonly slotCount: number;
  /** How long a node is down before it is rebuilt elsewhere; absent: as always. */
  readonly graceMs?: number;
  /** How layouts are chosen; absent: as always. */
  readonly layoutPolicy?: Partial<PlanPolicy>;
}

/** Bounds that a scenario sets; what it leaves out is drawn freely. */
export interface ShapeLimits {
  readonly minNodes?: number;
  readonly maxNodes?: number;
  readonly lateNodes?: number;
  readonly parityFragments?: number;
  /** At most twice as many nodes as there is parity: with as many away as the parity bears, it cannot be had. */
  readonly isScarce?: boolean;
  /** Nodes beyond the width of a segment, if there are so many; absent: one or none. */
  readonly spareNodes?: number;
  readonly oneMachine?: boolean;
  readonly capacityBytes?: number;
  readonly graceMs?: number;
  /** How long another layout has to be the choice before it is taken. */
  readonly layoutSettleMs?: number;
  /** One of them: where room is worth little, nothing is laid out anew if adding or dropping parity does. */
  readonly spaceWeights?: readonly (number | undefined)[];
  /** Of what the planner may choose. */
  readonly layoutLimits?: Partial<PlanPolicy>;
}

const REQUEST_BLOCKS = MAX_REQUEST_BYTES / BLOCK_BYTES;
const ROOMY_BYTES = 256 * MIB;

function drawParity(dice: Dice, nodes: number): number {
  if (nodes < 5 || dice.chance(0.6)) return 1;
  return nodes >= 6 && dice.chance(0.3) ? 3 : 2;
}

function drawScarceParity(dice: Dice, nodes: number): number {
  const least = Math.ceil(nodes / 2);
  return least + dice.below(Math.min(MAX_PARITY, nodes - 1) - least + 1);
}

function drawLayoutPolicy(
  dice: Dice,
  { layoutSettleMs, spaceWeights, layoutLimits }: ShapeLimits,
): Partial<PlanPolicy> | undefined {
  if (layoutLimits !== undefined) return layoutLimits;
  if (layoutSettleMs !== undefined) return { settleMs: layoutSettleMs, quietMs: 2 * layoutSettleMs };
  const spaceWeight = spaceWeights === undefined ? undefined : dice.pick(spaceWeights);
  return spaceWeight === undefined ? undefined : { spaceWeight };
}

export function drawShape(dice: Dice, limits: ShapeLimits): ClusterShape {
  const minNodes = limits.minNodes ?? 3;
  const maxNodes = limits.maxNodes ?? 6;
  const nodes = minNodes + dice.below(maxNodes - minNodes + 1);
  const { lateNodes = 0 } = limits;
  const draw = limits.isScarce === true ? drawScarceParity : drawParity;
  const parityFragments = limits.parityFragments ?? draw(dice, nodes - lateNodes);
  const widest = nodes - lateNodes - parityFragments;
  const narrower = dice.chance(0.3) && widest > 2 ? widest - 1 : widest;
  const dataFragments = Math.max(1, limits.spareNodes === undefined ? narrower : widest - limits.spareNodes);
  const segmentBlocks = dice.pick([24, 40, 60, 96]);
  const layoutPolicy = drawLayoutPolicy(dice, limits);
  return {
    nodes,
    lateNodes,
    dataFragments,
    parityFragments,
    oneMachine: limits.oneMachine ?? dice.chance(0.2),
    capacityBytes: limits.capacityBytes ?? ROOMY_BYTES,
    segmentBlocks,
    // A landing has room for a whole request; with few slots more, the pipeline is often full.
    slotCount: Math.ceil(REQUEST_BLOCKS / (segmentBlocks - 1)) + 3 + dice.below(6),
    ...(limits.graceMs === undefined ? {} : { graceMs: limits.graceMs }),
    ...(layoutPolicy === undefined ? {} : { layoutPolicy }),
  };
}
