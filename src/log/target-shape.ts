/**
 * What new segments of an open volume aim for, as it is now: their shape, and the groups of nodes that they keep within. One object that all who lay out
 * segments or count their room share. It changes when the owner's availability asks for another layout; who keeps numbers that follow from the shape is told.
 */
import { assert } from '../base/assert.ts';
import { MAX_NODES, MAX_PARITY } from '../base/limits.ts';
import type { NodeGroups } from '../cluster/node-groups.ts';
import type { Shape } from './segment-layout.ts';

export interface TargetLayout extends Shape {
  /** None: any nodes share segments. */
  readonly groups: NodeGroups;
}

export class TargetShape implements TargetLayout {
  #shape: Shape;
  #groups: () => NodeGroups = () => [];
  readonly #listeners = new Set<() => void>();

  constructor(shape: Shape) {
    this.#shape = checked(shape);
  }

  get dataFragments(): number {
    return this.#shape.dataFragments;
  }

  get parityFragments(): number {
    return this.#shape.parityFragments;
  }

  get groups(): NodeGroups {
    return this.#groups();
  }

  /** Asked each time: groups follow which nodes the volume has. */
  groupBy(groups: () => NodeGroups): void {
    this.#groups = groups;
  }

  /** Segments that have nodes already keep their layout. */
  change(shape: Shape): void {
    const { dataFragments, parityFragments } = checked(shape);
    if (isSameShape(this, shape)) return;
    this.#shape = { dataFragments, parityFragments };
    for (const listener of this.#listeners) listener();
  }

  /** Returns the unsubscribe function. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

export function isSameShape(a: Shape, b: Shape): boolean {
  return a.dataFragments === b.dataFragments && a.parityFragments === b.parityFragments;
}

function checked(shape: Shape): Shape {
  const { dataFragments: k, parityFragments: m } = shape;
  assert(k >= 1 && m >= 0 && m <= MAX_PARITY && k + m <= MAX_NODES, `a shape of ${k}+${m}`);
  return shape;
}
