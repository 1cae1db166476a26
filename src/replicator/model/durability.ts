/**
 * Mean time to data loss of groups whose nodes can be lost for good and are rebuilt. Pure.
 *
 * The Markov chain of Patterson, Gibson and Katz ("A case for redundant arrays of inexpensive disks", 1988) for any number of parity
 * fragments: state j is "j nodes lost, not rebuilt yet"; state m + 1 is the loss of data. It compares layouts; it does not foretell
 * years, since real lifetimes are not exponential (Greenan, Plank and Wylie, "Mean time to meaningless", 2010).
 */
import { assert } from '../../base/assert.ts';

export interface DurabilityQuestion {
  /** Nodes that a group's segments are spread over. */
  readonly nodes: number;
  readonly parityFragments: number;
  readonly groups: number;
  /** Mean time until a node with its data is lost for good. */
  readonly nodeLifetimeMs: number;
  /** Mean time from the loss of a node until its fragments are rebuilt. Lost nodes are rebuilt one after the other. */
  readonly rebuildMs: number;
}

/** Mean time to the first loss of data in any of the groups, in milliseconds. */
export function meanTimeToDataLossMs(question: DurabilityQuestion): number {
  const { nodes, parityFragments, groups, nodeLifetimeMs, rebuildMs } = question;
  assert(parityFragments >= 0 && nodes > parityFragments, `${nodes} nodes with parity ${parityFragments}`);
  assert(
    groups >= 1 && nodeLifetimeMs > 0 && rebuildMs > 0,
    'groups, lifetime and rebuild time are positive',
  );
  // Mean first passage from j to j + 1 lost, by the one below it: only positive terms, so nothing cancels.
  let passageMs = 0;
  let totalMs = 0;
  for (let lost = 0; lost <= parityFragments; lost++) {
    const nextLossMs = nodeLifetimeMs / (nodes - lost);
    passageMs = lost === 0 ? nextLossMs : nextLossMs + (nextLossMs / rebuildMs) * passageMs;
    totalMs += passageMs;
  }
  // Groups lose data independently at a nearly constant rate.
  return totalMs / groups;
}
