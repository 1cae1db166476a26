/**
 * How hard the cleaner works: hardly at all while there is room and users are at work, and with all it has when writers are about to wait for it.
 * Pure.
 */

/** Segments that are read at once. */
const MOST_ACTIVE = 4;
/** Before each batch that is read, at no urgency. */
const LONGEST_PAUSE_MS = 8;
/** From here on nothing is held back. */
const FULL_WORK = 0.75;

export interface Headroom {
  readonly blocks: number;
  readonly beginBlocks: number;
}

/** 0: where cleaning begins; 1: users have to wait. */
export function urgency({ blocks, beginBlocks }: Headroom): number {
  return Math.min(1, Math.max(0, 1 - blocks / Math.max(1, beginBlocks)));
}

export function segmentsAtOnce(urgent: number): number {
  return Math.min(MOST_ACTIVE, 1 + Math.floor((urgent / FULL_WORK) * (MOST_ACTIVE - 1)));
}

/** While users do nothing there is nobody to yield to. */
export function pauseMs(urgent: number, usersAreBusy: boolean): number {
  if (!usersAreBusy || urgent >= FULL_WORK) return 0;
  return LONGEST_PAUSE_MS * (1 - urgent);
}
