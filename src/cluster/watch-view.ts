/**
 * What a watcher was told so far, so that after a gap (a lost connection, a history that does not reach back) it can be told the
 * differences, each once.
 */
import type { CoordinatorEntry, CoordinatorEvent } from './coordinator.ts';

export class WatchView {
  readonly #listener: (event: CoordinatorEvent) => void;
  readonly #versions = new Map<string, number>();

  constructor(listener: (event: CoordinatorEvent) => void) {
    this.#listener = listener;
  }

  put(entry: CoordinatorEntry): void {
    const known = this.#versions.get(entry.key);
    if (known !== undefined && known >= entry.version) return;
    this.#versions.set(entry.key, entry.version);
    this.#listener({ kind: 'put', entry });
  }

  delete(key: string): void {
    if (this.#versions.delete(key)) this.#listener({ kind: 'delete', key });
  }

  /** Everything there is now: what is missing was deleted meanwhile. */
  replace(entries: readonly CoordinatorEntry[]): void {
    const present = new Set(entries.map(({ key }) => key));
    for (const key of [...this.#versions.keys()]) if (!present.has(key)) this.delete(key);
    for (const entry of entries) this.put(entry);
  }
}
