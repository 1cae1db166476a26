/**
 * How long each node was up and how long it was away, as the primary's links saw it: what p is measured from. Remembered over restarts by its owner;
 * while no primary runs, nobody looks, and nothing counts. A node that hangs is away: what lies on it cannot be read from it.
 *
 * Durable a little after a node comes or goes, and every few minutes otherwise; a crash forgets what was seen since.
 */
import { MAX_NODES } from '../../base/limits.ts';
import type { NodeLink, NodeLinks } from '../../cluster/nodes.ts';
import type { NodeTimesEntry } from '../../format/availability-state.ts';
import type { Platform, Timer } from '../../platform/platform.ts';
import {
  fleetPrior,
  type MeasuredUnavailability,
  measureUnavailability,
  NOTHING_SEEN,
  observe,
  type UpDownRecord,
} from '../model/measured.ts';

export interface NodeTimesParts {
  readonly links: NodeLinks;
  /** False: not now. */
  readonly save: (entries: readonly NodeTimesEntry[]) => boolean;
}

const SAVE_EVERY_MS = 10 * 60_000;
const SAVE_SOON_MS = 5_000;

interface Seen {
  record: UpDownRecord;
  isUp: boolean;
  sinceMs: number;
}

export class NodeTimes {
  readonly #platform: Platform;
  readonly #parts: NodeTimesParts;
  readonly #nodes = new Map<number, Seen>();
  readonly #unsubscribe: () => void;
  #timer: Timer | undefined;
  #saveAtMs = Number.POSITIVE_INFINITY;
  #closed = false;

  constructor(platform: Platform, parts: NodeTimesParts, entries: readonly NodeTimesEntry[]) {
    this.#platform = platform;
    this.#parts = parts;
    const sinceMs = platform.clock.monotonicMs();
    for (const { nodeId, ...record } of entries) {
      this.#nodes.set(nodeId, { record, isUp: this.#isUp(nodeId), sinceMs });
    }
    for (const nodeId of parts.links.links.keys()) this.#seen(nodeId);
    this.#unsubscribe = parts.links.onChange((link) => this.#onLink(link));
    this.#saveWithin(SAVE_EVERY_MS);
  }

  /** Of every node that is listed or was seen. A node that was never seen is believed to be like the others. */
  measured(): Map<number, MeasuredUnavailability> {
    for (const nodeId of this.#parts.links.links.keys()) this.#seen(nodeId);
    const records = new Map([...this.#nodes].map(([nodeId, seen]) => [nodeId, this.#upToNow(seen)]));
    const found = new Map<number, MeasuredUnavailability>();
    for (const [nodeId, record] of records) {
      const others = [...records].filter(([id]) => id !== nodeId).map(([, other]) => other);
      found.set(nodeId, measureUnavailability(record, fleetPrior(others)));
    }
    return found;
  }

  #isUp(nodeId: number): boolean {
    return this.#parts.links.links.get(nodeId)?.state === 'up';
  }

  #seen(nodeId: number): Seen {
    let seen = this.#nodes.get(nodeId);
    if (seen === undefined) {
      const sinceMs = this.#platform.clock.monotonicMs();
      seen = { record: NOTHING_SEEN, isUp: this.#isUp(nodeId), sinceMs };
      this.#nodes.set(nodeId, seen);
    }
    return seen;
  }

  #upToNow({ record, isUp, sinceMs }: Seen, ended = false): UpDownRecord {
    const durationMs = this.#platform.clock.monotonicMs() - sinceMs;
    return observe(record, { state: isUp ? 'up' : 'down', durationMs, ended });
  }

  #onLink(link: NodeLink): void {
    const seen = this.#seen(link.id);
    const isUp = link.state === 'up';
    if (seen.isUp === isUp) return;
    seen.record = this.#upToNow(seen, true);
    seen.isUp = isUp;
    seen.sinceMs = this.#platform.clock.monotonicMs();
    this.#saveWithin(SAVE_SOON_MS);
  }

  #saveWithin(delayMs: number): void {
    const atMs = this.#platform.clock.monotonicMs() + delayMs;
    if (this.#closed || atMs >= this.#saveAtMs) return;
    this.#saveAtMs = atMs;
    this.#timer?.cancel();
    this.#timer = this.#platform.timers.after(delayMs, () => {
      this.#saveAtMs = Number.POSITIVE_INFINITY;
      this.#saveWithin(this.#save() ? SAVE_EVERY_MS : SAVE_SOON_MS);
    });
  }

  #save(): boolean {
    const { links } = this.#parts.links;
    const entries: NodeTimesEntry[] = [];
    for (const [nodeId, seen] of this.#nodes) {
      // Who is not listed any more is forgotten.
      if (links.has(nodeId)) entries.push({ nodeId, ...this.#upToNow(seen) });
      else this.#nodes.delete(nodeId);
    }
    return this.#parts.save(entries.slice(0, MAX_NODES));
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#unsubscribe();
  }
}
