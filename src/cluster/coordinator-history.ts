/**
 * The coordinator's recent changes, and who waits for the next ones: watchers in this process, and remote callers that poll with patience.
 *
 * Changes are kept in a ring of bounded length. Who asks for older ones than it holds gets everything that is there, and finds the
 * differences himself.
 */
import type { Change, ChangesMessage } from '../format/coordinator-messages.ts';
import type { Platform, Timer } from '../platform/platform.ts';
import type { CoordinatorEntry, CoordinatorEvent } from './coordinator.ts';

const MAX_CHANGES = 1024;

export type HistoryReply = ChangesMessage;

interface Watcher {
  readonly prefix: string;
  readonly listener: (event: CoordinatorEvent) => void;
  /** The present entries have been told. */
  live: boolean;
}

interface Waiter {
  readonly prefix: string;
  readonly answer: () => void;
}

export class ChangeHistory {
  readonly #platform: Platform;
  readonly #entries: () => CoordinatorEntry[];
  readonly #watchers = new Set<Watcher>();
  readonly #waiters = new Set<Waiter>();
  /** Oldest first, without gaps: change number #firstRevision and on. */
  #changes: Change[] = [];
  #firstRevision: number;

  /** `revision` is the last change so far; `entries` gives what is there now. */
  constructor(platform: Platform, revision: number, entries: () => CoordinatorEntry[]) {
    this.#platform = platform;
    this.#entries = entries;
    this.#firstRevision = revision + 1;
  }

  get #revision(): number {
    return this.#firstRevision + this.#changes.length - 1;
  }

  add(change: Change): void {
    this.#changes.push(change);
    if (this.#changes.length > MAX_CHANGES) {
      const dropped = this.#changes.length >> 1;
      this.#changes = this.#changes.slice(dropped);
      this.#firstRevision += dropped;
    }
    for (const watcher of [...this.#watchers]) {
      if (watcher.live && change.key.startsWith(watcher.prefix)) watcher.listener(eventOf(change));
    }
    for (const waiter of [...this.#waiters]) if (change.key.startsWith(waiter.prefix)) waiter.answer();
  }

  watch(prefix: string, listener: (event: CoordinatorEvent) => void): () => void {
    const watcher: Watcher = { prefix, listener, live: false };
    this.#watchers.add(watcher);
    queueMicrotask(() => {
      if (!this.#watchers.has(watcher)) return;
      watcher.live = true;
      for (const change of this.#present(prefix)) if (this.#watchers.has(watcher)) listener(eventOf(change));
    });
    return () => {
      this.#watchers.delete(watcher);
    };
  }

  changesSince(prefix: string, sinceRevision: number, waitMs: number): Promise<HistoryReply> {
    const reply = this.#reply(prefix, sinceRevision);
    if (reply.complete || reply.changes.length > 0 || waitMs === 0) return Promise.resolve(reply);
    return new Promise((resolve) => {
      let timer: Timer | undefined;
      const waiter: Waiter = {
        prefix,
        answer: () => {
          timer?.cancel();
          this.#waiters.delete(waiter);
          resolve(this.#reply(prefix, sinceRevision));
        },
      };
      timer = this.#platform.timers.after(waitMs, waiter.answer);
      this.#waiters.add(waiter);
    });
  }

  /** Answers everybody who waits. */
  close(): void {
    this.#watchers.clear();
    for (const waiter of [...this.#waiters]) waiter.answer();
  }

  #reply(prefix: string, sinceRevision: number): HistoryReply {
    const revision = this.#revision;
    if (sinceRevision === 0 || sinceRevision < this.#firstRevision - 1 || sinceRevision > revision) {
      return { complete: true, revision, changes: this.#present(prefix) };
    }
    const since = this.#changes.slice(sinceRevision - this.#firstRevision + 1);
    return { complete: false, revision, changes: since.filter(({ key }) => key.startsWith(prefix)) };
  }

  #present(prefix: string): Change[] {
    return this.#entries().filter(({ key }) => key.startsWith(prefix));
  }
}

export function eventOf({ key, version, value }: Change): CoordinatorEvent {
  return value === undefined ? { kind: 'delete', key } : { kind: 'put', entry: { key, version, value } };
}
