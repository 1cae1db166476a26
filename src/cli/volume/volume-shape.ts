/**
 * The stripe shape that a number of nodes and of parity fragments gives, and what is wrong with impossible ones. Pure.
 */
import { MAX_NODES, MAX_PARITY } from '../../base/limits.ts';

export const DEFAULT_NODES = 5;
export const DEFAULT_PARITY = 1;
/** Wider stripes gain little space and cost more to rebuild: with more nodes several stripe groups are formed. */
export const MAX_DATA_FRAGMENTS = 8;

export interface StripeShape {
  readonly dataFragments: number;
  readonly parityFragments: number;
}

/** Returns the problem in words for an impossible request. */
export function stripeShape(nodes: number, parity: number): StripeShape | string {
  if (nodes < 1 || nodes > MAX_NODES) return `--nodes ${nodes}: a volume has 1 to ${MAX_NODES} nodes`;
  if (parity < 0 || parity > MAX_PARITY) return `--parity ${parity}: a volume has 0 to ${MAX_PARITY} parity`;
  if (nodes < parity + 1) {
    return (
      `--parity ${parity} needs at least ${parity + 1} nodes and there are ${nodes}: ` +
      `use --nodes ${parity + 1} or --parity ${nodes - 1}`
    );
  }
  return { dataFragments: Math.min(nodes - parity, MAX_DATA_FRAGMENTS), parityFragments: parity };
}
