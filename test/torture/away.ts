/** Who is away, by whose doing: nodes that lanes hold, and the times in which the mount gave nobody an answer. */
export class Away {
  readonly #nodes = new Set<number>();
  #everythingBack: Promise<void> | undefined;

  /** The first of them that nobody has; it counts as away until `giveBack`. */
  take(preference: readonly number[]): number {
    const id = preference.find((each) => !this.#nodes.has(each));
    if (id === undefined) throw new Error('more lanes than nodes');
    this.#nodes.add(id);
    return id;
  }

  giveBack(id: number): void {
    this.#nodes.delete(id);
  }

  /** While everything is down no more nodes are taken: they would be too many. */
  async withEverythingDown(work: () => Promise<void>): Promise<void> {
    const back = work();
    this.#everythingBack = back.catch(() => undefined);
    await back;
    this.#everythingBack = undefined;
  }

  async untilEverythingIsBack(): Promise<void> {
    while (this.#everythingBack !== undefined) await this.#everythingBack;
  }
}
