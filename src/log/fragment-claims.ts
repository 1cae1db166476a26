/**
 * Keeps those who put fragments that no record names yet apart from those who free fragments that no record names. Both work in the primary's
 * process; each says which segments it has in hand, before it begins.
 *
 * A held segment's fragments are not taken for orphans. A segment some of whose fragments are being freed cannot be held: a free that is still
 * on its way would take what is put after it. Both are short, so the sets are small.
 */
import { assert } from '../base/assert.ts';

export class FragmentClaims {
  readonly #held = new Set<number>();
  readonly #freeing = new Map<number, number>();
  /** Set by who looks for orphans. */
  onLeftBehind: (nodeId: number) => void = () => undefined;

  /** False: somebody else has it in hand; come back later. */
  hold(segmentId: number): boolean {
    if (this.#held.has(segmentId) || this.#freeing.has(segmentId)) return false;
    this.#held.add(segmentId);
    return true;
  }

  release(segmentId: number): void {
    const was = this.#held.delete(segmentId);
    assert(was, 'a segment is released that was held');
  }

  isHeld(segmentId: number): boolean {
    return this.#held.has(segmentId);
  }

  get held(): readonly number[] {
    return [...this.#held];
  }

  /** To be called in the turn in which it was decided what to free. */
  beginFree(segmentId: number): void {
    this.#freeing.set(segmentId, (this.#freeing.get(segmentId) ?? 0) + 1);
  }

  /** A node could not be told to free something: it holds orphans, though its connection may last. */
  leftBehind(nodeId: number): void {
    this.onLeftBehind(nodeId);
  }

  /** The node has freed it, or will never see the request. */
  endFree(segmentId: number): void {
    const left = (this.#freeing.get(segmentId) ?? 0) - 1;
    assert(left >= 0, 'a free ends once');
    if (left === 0) this.#freeing.delete(segmentId);
    else this.#freeing.set(segmentId, left);
  }
}
