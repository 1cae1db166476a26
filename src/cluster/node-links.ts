/**
 * All storage nodes of a volume, as this process sees them (see nodes.ts). The list is the coordinator's; what it last said is kept, so
 * that an absent coordinator changes nothing for nodes that are known.
 */
import type { Platform, Slab } from '../platform/platform.ts';
import { type Coordinator, CoordinatorUnavailable, coordinatorKeys } from './coordinator.ts';
import { Link, type NodeLinkOptions } from './node-link.ts';
import { decodeNodeRecord } from './node-record.ts';
import type { NodeLink, NodeLinks } from './nodes.ts';

export interface NodeLinksOptions {
  /** The volume's key. */
  readonly key: Uint8Array;
  /** Memory to share with nodes on this machine. */
  readonly slab?: Slab;
  readonly pingIntervalMs?: number;
  readonly slowAfterMs?: number;
}

const DEFAULT_PING_INTERVAL_MS = 200;
const DEFAULT_SLOW_AFTER_MS = 600;
const SETTLE_POLL_MS = 10;

export function nodeLinks(
  platform: Platform,
  coordinator: Coordinator,
  options: NodeLinksOptions,
): NodeLinks {
  return new Links(platform, coordinator, {
    ...options,
    pingIntervalMs: options.pingIntervalMs ?? DEFAULT_PING_INTERVAL_MS,
    slowAfterMs: options.slowAfterMs ?? DEFAULT_SLOW_AFTER_MS,
  });
}

class Links implements NodeLinks {
  readonly #platform: Platform;
  readonly #coordinator: Coordinator;
  readonly #options: NodeLinkOptions;
  readonly #links = new Map<number, Link>();
  readonly #listeners = new Set<(link: NodeLink) => void>();
  readonly #unwatch: () => void;
  /** The coordinator has said which nodes there are. */
  #listed = false;

  constructor(platform: Platform, coordinator: Coordinator, options: NodeLinkOptions) {
    this.#platform = platform;
    this.#coordinator = coordinator;
    this.#options = options;
    this.#unwatch = coordinator.watch(coordinatorKeys.nodePrefix, (event) => {
      if (event.kind === 'put') this.#onRecord(event.entry.key, event.entry.value);
      else this.#onRemoved(event.key);
    });
  }

  get links(): ReadonlyMap<number, NodeLink> {
    return this.#links;
  }

  onChange(listener: (link: NodeLink) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async settle(timeoutMs: number): Promise<void> {
    const endMs = this.#platform.clock.monotonicMs() + timeoutMs;
    try {
      const entries = await this.#coordinator.list(coordinatorKeys.nodePrefix);
      for (const { key, value } of entries) this.#onRecord(key, value);
      this.#listed = true;
    } catch (error) {
      if (!(error instanceof CoordinatorUnavailable)) throw error;
    }
    while (!this.#allSettled() && this.#platform.clock.monotonicMs() < endMs) {
      await this.#platform.timers.sleep(SETTLE_POLL_MS);
    }
  }

  async reach(nodeIds: readonly number[]): Promise<boolean> {
    const attempts: Promise<boolean>[] = [];
    for (const id of nodeIds) {
      const link = this.#links.get(id);
      if (link?.state === 'down') attempts.push(link.tryNow());
    }
    return (await Promise.all(attempts)).includes(true);
  }

  close(): void {
    this.#unwatch();
    this.#listeners.clear();
    for (const link of this.#links.values()) link.close();
    this.#links.clear();
  }

  #allSettled(): boolean {
    if (!this.#listed) return false;
    for (const link of this.#links.values()) if (link.state !== 'up' && !link.isAway) return false;
    return true;
  }

  #onRecord(key: string, value: Uint8Array): void {
    const record = decodeNodeRecord(value);
    if (record === undefined || key !== coordinatorKeys.node(record.id)) {
      this.#platform.log.warn('node-record-unusable', { key });
      return;
    }
    this.#listed = true;
    const known = this.#links.get(record.id);
    if (known !== undefined) {
      known.update(record);
      return;
    }
    const link = new Link(this.#platform, record, this.#options, (changed) => this.#notify(changed));
    this.#links.set(record.id, link);
    link.start();
    this.#notify(link);
  }

  #onRemoved(key: string): void {
    const id = Number(key.slice(coordinatorKeys.nodePrefix.length));
    const link = this.#links.get(id);
    if (link === undefined) return;
    this.#links.delete(id);
    const wasDown = link.state === 'down';
    link.close();
    if (wasDown) this.#notify(link);
  }

  #notify(link: NodeLink): void {
    for (const listener of [...this.#listeners]) listener(link);
  }
}
