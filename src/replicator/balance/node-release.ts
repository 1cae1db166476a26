/**
 * Makes sure that a node can leave the volume: that nothing is on it, and that nothing will be. It looks, releases the node, waits until everything that may have chosen
 * the node before has ended, and looks again.
 */
import type { FragmentClaims } from '../../log/fragment-claims.ts';
import type { PrimaryManager } from '../../metadata/manager.ts';
import type { Platform } from '../../platform/platform.ts';
import type { SegmentPlaces } from '../heal/segment-places.ts';
import type { DrainSettings } from './drain-settings.ts';

/** What is in the way. */
export type ReleaseObstacle =
  | { readonly kind: 'holds'; readonly bytes: number }
  | { readonly kind: 'journal' }
  /** So many other nodes would be left. */
  | { readonly kind: 'parity'; readonly others: number; readonly needed: number }
  /** What was under way did not end in time. */
  | { readonly kind: 'busy' };

export interface NodeReleaseParts {
  readonly metadata: PrimaryManager;
  readonly places: SegmentPlaces;
  readonly claims: FragmentClaims;
  readonly settings: DrainSettings;
  /** Segments that nodes may have been chosen for. */
  readonly sealedSegments: () => readonly number[];
  /** Nodes that are meant to stay. */
  readonly memberIds: () => readonly number[];
  readonly parityFragments: () => number;
}

const BOUND_MS = 10_000;
const POLL_MS = 20;

/** undefined: it may be struck off the volume's file. Rejects with MetadataUnavailable. */
export async function releaseNode(
  platform: Platform,
  parts: NodeReleaseParts,
  nodeId: number,
): Promise<ReleaseObstacle | undefined> {
  const { metadata, settings } = parts;
  const wasDraining = settings.settings.draining.includes(nodeId);
  const first = obstacle(parts, nodeId);
  if (first !== undefined) return first;
  settings.release(nodeId);
  const isQuiet = await whenQuiet(platform, parts);
  const later = isQuiet ? obstacle(parts, nodeId) : ({ kind: 'busy' } as const);
  if (later !== undefined) {
    settings.takeBack(nodeId, wasDraining);
    return later;
  }
  await metadata.sync();
  return undefined;
}

export function obstacle(parts: NodeReleaseParts, nodeId: number): ReleaseObstacle | undefined {
  const { metadata, places } = parts;
  if (!places.isLoaded) return { kind: 'busy' };
  const others = parts.memberIds().filter((id) => id !== nodeId).length;
  const needed = parts.parityFragments() + 1;
  if (others < needed) return { kind: 'parity', others, needed };
  const bytes = places.bytesHeld(nodeId);
  if (bytes > 0) return { kind: 'holds', bytes };
  return metadata.ensemble.some((member) => member.nodeId === nodeId) ? { kind: 'journal' } : undefined;
}

/** What is on its way now has ended; what begins later knows better. False: not in time. */
async function whenQuiet(platform: Platform, { claims, sealedSegments }: NodeReleaseParts): Promise<boolean> {
  const before = new Set([...sealedSegments(), ...claims.held]);
  const endMs = platform.clock.monotonicMs() + BOUND_MS;
  while ([...sealedSegments(), ...claims.held].some((segmentId) => before.has(segmentId))) {
    if (platform.clock.monotonicMs() >= endMs) return false;
    await platform.timers.sleep(POLL_MS);
  }
  return true;
}
