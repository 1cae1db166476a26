/**
 * Durable segments on their way into the metadata, one after the other: waits while the metadata has a backlog, and tries again what it refused
 * for now. What a commit is, is the owner's affair. Bounded by the slots of the writer that the segments come from.
 */
import type { DurableSegment } from '../log/log.ts';
import { type MetadataManager, MetadataUnavailable } from '../metadata/metadata.ts';
import type { Platform } from '../platform/platform.ts';

/** Pause before a commit that the metadata refused is tried again. */
const RETRY_MS = 100;

export class CommitQueue {
  readonly #platform: Platform;
  readonly #metadata: Pick<MetadataManager, 'backlog'>;
  readonly #commit: (segment: DurableSegment) => void;
  readonly #queue: DurableSegment[] = [];
  #waiting = false;
  #closed = false;
  /** The metadata refused a commit for now. Who waits for it may want to fail. */
  onRefused: (reason: MetadataUnavailable) => void = () => undefined;

  constructor(
    platform: Platform,
    metadata: Pick<MetadataManager, 'backlog'>,
    commit: (segment: DurableSegment) => void,
  ) {
    this.#platform = platform;
    this.#metadata = metadata;
    this.#commit = commit;
  }

  push(segment: DurableSegment): void {
    this.#queue.push(segment);
    this.#pump();
  }

  /** What is queued is not committed any more. */
  close(): void {
    this.#closed = true;
  }

  #pump(): void {
    while (this.#queue.length > 0 && !this.#waiting && !this.#closed) {
      const backlog = this.#metadata.backlog();
      if (backlog !== undefined) {
        this.#pauseUntil(backlog);
        return;
      }
      try {
        this.#commit(this.#queue[0]!);
      } catch (error) {
        if (!(error instanceof MetadataUnavailable)) throw error;
        this.#pauseUntil(this.#platform.timers.sleep(RETRY_MS));
        this.onRefused(error);
        return;
      }
      this.#queue.shift();
    }
  }

  #pauseUntil(ready: Promise<void>): void {
    this.#waiting = true;
    const resume = () => {
      this.#waiting = false;
      this.#pump();
    };
    // A backlog that is refused shows again, as the reason, when the commit is tried.
    ready.then(resume, () => this.#platform.timers.after(RETRY_MS, resume));
  }
}
