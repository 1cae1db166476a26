/**
 * The nodes of an open volume that are to be emptied, as it is now: one object that all who choose nodes share. They keep what they hold until it is
 * moved, and get nothing new unless too few others are left for full parity. Those of them that are about to leave the volume are released: they get nothing
 * at all. Who keeps them durable changes them; it tells who must know.
 */
export interface Draining {
  readonly draining: readonly number[];
  /** Of those. */
  readonly released: readonly number[];
}

export class DrainingNodes {
  #ids: ReadonlySet<number> = new Set();
  #released: ReadonlySet<number> = new Set();
  readonly #listeners = new Set<() => void>();

  /** Ascending. */
  get ids(): readonly number[] {
    return [...this.#ids].sort((a, b) => a - b);
  }

  has(nodeId: number): boolean {
    return this.#ids.has(nodeId);
  }

  replace({ draining, released }: Draining): void {
    this.#ids = new Set(draining);
    this.#released = new Set(released);
    for (const listener of [...this.#listeners]) listener();
  }

  /** Those of `nodes` that new fragments, or copies of the journal, go to: also draining ones when the others are too few for so much parity. */
  placeable<Node extends { readonly id: number }>(nodes: Node[], parityFragments: number): Node[] {
    if (this.#ids.size === 0) return nodes;
    const others = nodes.filter(({ id }) => !this.#ids.has(id));
    return others.length > parityFragments ? others : nodes.filter(({ id }) => !this.#released.has(id));
  }

  /** Returns the unsubscribe function. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
