/**
 * How long each node was up and how long it was away, as the primary's links saw it, and the same for each failure domain that several nodes share, which is away while
 * all of these are: what p is measured from. Remembered over restarts by its owner;
 * while no primary runs, nobody looks, and nothing counts. A node that hangs is away: what lies on it cannot be read from it.
 *
 * Durable a little after a node comes or goes, and every few minutes otherwise; a crash forgets what was seen since.
 */
import { MAX_NODES } from '../../base/limits.ts';
import type { NodeLinks } from '../../cluster/nodes.ts';
import type { DomainTimesEntry, NodeTimesEntry } from '../../format/availability-state.ts';
import type { Platform, Timer } from '../../platform/platform.ts';
import {
  DOMAIN_PRIOR,
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
  readonly save: (nodes: readonly NodeTimesEntry[], domains: readonly DomainTimesEntry[]) => boolean;
}

const SAVE_EVERY_MS = 10 * 60_000;
const SAVE_SOON_MS = 5_000;

interface Seen {
  record: UpDownRecord;
  isUp: boolean;
  sinceMs: number;
}

/** Times up and down of things that are told apart by a key. */
class Watched<Key> {
  readonly #platform: Platform;
  readonly #isUp: (key: Key) => boolean;
  readonly #seen = new Map<Key, Seen>();

  constructor(platform: Platform, isUp: (key: Key) => boolean) {
    this.#platform = platform;
    this.#isUp = isUp;
  }

  /** From now on, with what is remembered of it, unless it is watched already. */
  watch(key: Key, record: UpDownRecord = NOTHING_SEEN): void {
    if (this.#seen.has(key)) return;
    this.#seen.set(key, { record, isUp: this.#isUp(key), sinceMs: this.#platform.clock.monotonicMs() });
  }

  /** True: it came or went. */
  look(key: Key): boolean {
    this.watch(key);
    const seen = this.#seen.get(key)!;
    const isUp = this.#isUp(key);
    if (seen.isUp === isUp) return false;
    seen.record = this.#upToNow(seen, true);
    seen.isUp = isUp;
    seen.sinceMs = this.#platform.clock.monotonicMs();
    return true;
  }

  /** Who is not to be kept is forgotten. */
  records(isKept: (key: Key) => boolean = () => true): Map<Key, UpDownRecord> {
    const records = new Map<Key, UpDownRecord>();
    for (const [key, seen] of this.#seen) {
      if (isKept(key)) records.set(key, this.#upToNow(seen));
      else this.#seen.delete(key);
    }
    return records;
  }

  #upToNow({ record, isUp, sinceMs }: Seen, ended = false): UpDownRecord {
    const durationMs = this.#platform.clock.monotonicMs() - sinceMs;
    return observe(record, { state: isUp ? 'up' : 'down', durationMs, ended });
  }
}

/** Each by what was seen of it; what was never seen is believed to be like the others. */
function measureAll<Key>(
  records: ReadonlyMap<Key, UpDownRecord>,
  basis?: UpDownRecord,
): Map<Key, MeasuredUnavailability> {
  const found = new Map<Key, MeasuredUnavailability>();
  for (const [key, record] of records) {
    const others = [...records].filter(([other]) => other !== key).map(([, other]) => other);
    found.set(key, measureUnavailability(record, fleetPrior(others, basis)));
  }
  return found;
}

export class NodeTimes {
  readonly #platform: Platform;
  readonly #parts: NodeTimesParts;
  readonly #nodes: Watched<number>;
  readonly #domains: Watched<string>;
  readonly #unsubscribe: () => void;
  #timer: Timer | undefined;
  #saveAtMs = Number.POSITIVE_INFINITY;
  #closed = false;

  constructor(
    platform: Platform,
    parts: NodeTimesParts,
    nodes: readonly NodeTimesEntry[],
    domains: readonly DomainTimesEntry[] = [],
  ) {
    this.#platform = platform;
    this.#parts = parts;
    this.#nodes = new Watched(platform, (nodeId) => this.#isUp(nodeId));
    this.#domains = new Watched(platform, (domain) =>
      (this.#shared().get(domain) ?? []).some((nodeId) => this.#isUp(nodeId)),
    );
    for (const { nodeId, ...record } of nodes) this.#nodes.watch(nodeId, record);
    for (const { domain, ...record } of domains) this.#domains.watch(domain, record);
    this.#watchListed();
    this.#unsubscribe = parts.links.onChange(({ id }) => this.#onLink(id));
    this.#saveWithin(SAVE_EVERY_MS);
  }

  /** Of every node that is listed or was seen. */
  measured(): Map<number, MeasuredUnavailability> {
    this.#watchListed();
    return measureAll(this.#nodes.records());
  }

  /** Of every domain that several listed nodes share. */
  measuredDomains(): Map<string, MeasuredUnavailability> {
    this.#watchListed();
    const shared = this.#shared();
    return measureAll(
      this.#domains.records((domain) => shared.has(domain)),
      DOMAIN_PRIOR,
    );
  }

  /** The nodes of each domain that has several. */
  #shared(): Map<string, number[]> {
    const { links } = this.#parts.links;
    const found = new Map<string, number[]>();
    for (const nodeId of links.keys()) {
      const { domain } = links.get(nodeId)!;
      const known = found.get(domain);
      if (known === undefined) found.set(domain, [nodeId]);
      else known.push(nodeId);
    }
    for (const [domain, nodeIds] of found) if (nodeIds.length < 2) found.delete(domain);
    return found;
  }

  #watchListed(): void {
    for (const nodeId of this.#parts.links.links.keys()) this.#nodes.watch(nodeId);
    for (const domain of this.#shared().keys()) this.#domains.watch(domain);
  }

  #isUp(nodeId: number): boolean {
    return this.#parts.links.links.get(nodeId)?.state === 'up';
  }

  #onLink(nodeId: number): void {
    const changed = [this.#nodes.look(nodeId)];
    for (const domain of this.#shared().keys()) changed.push(this.#domains.look(domain));
    if (changed.includes(true)) this.#saveWithin(SAVE_SOON_MS);
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
    const shared = this.#shared();
    const nodes = [...this.#nodes.records((nodeId) => links.has(nodeId))];
    const domains = [...this.#domains.records((domain) => shared.has(domain))];
    return this.#parts.save(
      nodes.slice(0, MAX_NODES).map(([nodeId, record]) => ({ nodeId, ...record })),
      domains.slice(0, MAX_NODES).map(([domain, record]) => ({ domain, ...record })),
    );
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#unsubscribe();
  }
}
