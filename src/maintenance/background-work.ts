/**
 * The loop that rebuilding, scrubbing, laying out anew and balancing share: batches of tasks, carried out by a few workers, each with memory of its own, until
 * there is nothing that can be done now. What could not be is put off until the next retry. A run's tasks wait for their turn in a limit
 * and a budget that others share; nothing waits any longer once it is closed.
 *
 * Asleep it costs nothing: somebody wakes it, or the timer that `retryInMs` asks for. What there is to do and how it is done is the owner's affair, and
 * so is pausing: it is one more reason to be held up. A bug in a task ends the process, as everywhere.
 */
import type { FragmentClaims } from '../log/fragment-claims.ts';
import { MetadataUnavailable } from '../metadata/metadata.ts';
import type { Platform, Timer } from '../platform/platform.ts';
import type { IoBudget, RateLimit } from './budget.ts';
import { Progress } from './progress.ts';
import { RepairMemory } from './repair-memory.ts';
import type { SharedPieces } from './shared-pieces.ts';

export interface BackgroundWorkParts<Task> {
  readonly workers: number;
  readonly claims: FragmentClaims;
  readonly limit: RateLimit;
  readonly budget: IoBudget;
  /** What they put goes by reference as far as there are any. */
  readonly pieces: SharedPieces;
  /** Whether a batch is worth asking for. Cheap. */
  readonly isNeeded: () => boolean;
  /** Nothing more is begun while it is true. */
  readonly isHeldUp: () => boolean;
  /** What to do next, most urgent first, without what is put off; empty: nothing that can be done now. */
  readonly batch: () => readonly Task[] | Promise<readonly Task[]>;
  /** False: not now; its segment is put off. Adds what it moved to the progress. */
  readonly carryOut: (task: Task, memory: RepairMemory) => Promise<boolean>;
  readonly segmentOf: (task: Task) => number;
  /** When to look again by itself; undefined: when somebody wakes it. */
  readonly retryInMs: () => number | undefined;
  /** Nothing is put off any longer. */
  readonly onRetry?: () => void;
  /** A run is over. May throw MetadataUnavailable. */
  readonly onEnd: (doneTasks: number) => void;
  /** A run ended since the metadata could not be used. */
  readonly onInterrupted: (reason: MetadataUnavailable) => void;
}

/** More would be a volume that nothing works on: then all are tried again. */
const MOST_POSTPONED = 100_000;

export class BackgroundWork<Task> {
  readonly #platform: Platform;
  readonly #parts: BackgroundWorkParts<Task>;
  readonly #memories: RepairMemory[];
  readonly #postponed = new Set<number>();
  readonly progress: Progress;
  #running: Promise<void> | undefined;
  /** Something changed while it was at work. */
  #again = false;
  #timer: Timer | undefined;
  #timerAtMs = Number.POSITIVE_INFINITY;
  #closed = false;
  #endWaiting: () => void = () => undefined;
  readonly #closing = new Promise<void>((resolve) => {
    this.#endWaiting = resolve;
  });

  constructor(platform: Platform, parts: BackgroundWorkParts<Task>) {
    this.#platform = platform;
    this.#parts = parts;
    this.progress = new Progress(platform.clock);
    this.#memories = Array.from(
      { length: parts.workers },
      () => new RepairMemory(platform.memory, parts.pieces),
    );
  }

  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  isPostponed(segmentId: number): boolean {
    return this.#postponed.has(segmentId);
  }

  get postponedCount(): number {
    return this.#postponed.size;
  }

  /** 0 while it is not at work. */
  get bytesPerSecond(): number {
    return this.isRunning ? this.progress.bytesPerSecond : 0;
  }

  /** null: nobody can tell yet. */
  secondsLeft(leftBytes: number): number | null {
    return this.isRunning ? (this.progress.secondsLeft(leftBytes) ?? null) : null;
  }

  /** Looks whether there is something to do now, or when there will be. */
  wake(): void {
    if (this.#closed) return;
    this.#again = this.#running !== undefined;
    if (this.#again) return;
    if (!this.#parts.isNeeded()) {
      this.#lookLater();
      return;
    }
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
      if (this.#again) this.wake();
      else this.#lookLater();
    });
  }

  /** The same, and what was put off is tried again. */
  retryNow(): void {
    this.#postponed.clear();
    this.#parts.onRetry?.();
    this.wake();
  }

  /** Waking it does not put a retry off. */
  #lookLater(): void {
    const delayMs = this.#closed ? undefined : this.#parts.retryInMs();
    if (delayMs === undefined) return;
    const atMs = this.#platform.clock.monotonicMs() + delayMs;
    if (atMs >= this.#timerAtMs) return;
    this.#timer?.cancel();
    this.#timerAtMs = atMs;
    this.#timer = this.#platform.timers.after(delayMs, () => {
      this.#timerAtMs = Number.POSITIVE_INFINITY;
      this.retryNow();
    });
  }

  async #run(): Promise<void> {
    let hasBegun = false;
    let done = 0;
    try {
      while (!this.#isHeldUp()) {
        const queue = [...(await this.#parts.batch())];
        if (queue.length === 0) break;
        if (!hasBegun) this.progress.restart();
        hasBegun = true;
        done += await this.#takeAll(queue);
      }
      this.#parts.onEnd(done);
    } catch (error) {
      if (!(error instanceof MetadataUnavailable)) throw error;
      this.#parts.onInterrupted(error);
    }
  }

  /** Ends when every worker has, also after an error: none keeps using its memory. Returns how many were done. */
  async #takeAll(queue: Task[]): Promise<number> {
    const outcomes = await Promise.allSettled(
      this.#memories.map(async (memory) => {
        try {
          return await this.#take(queue, memory);
        } catch (error) {
          queue.length = 0;
          throw error;
        } finally {
          memory.release();
        }
      }),
    );
    const errors = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason] : []));
    const bug = errors.find((error) => !(error instanceof MetadataUnavailable));
    if (errors.length > 0) throw bug ?? errors[0];
    return outcomes.reduce((sum, outcome) => sum + (outcome.status === 'fulfilled' ? outcome.value : 0), 0);
  }

  async #take(queue: Task[], memory: RepairMemory): Promise<number> {
    for (let done = 0; ; ) {
      const task = this.#isHeldUp() ? undefined : queue.shift();
      if (task === undefined) return done;
      if (await this.#parts.carryOut(task, memory)) done++;
      else {
        if (this.#postponed.size >= MOST_POSTPONED) this.#postponed.clear();
        this.#postponed.add(this.#parts.segmentOf(task));
      }
    }
  }

  #isHeldUp(): boolean {
    return this.#closed || this.#parts.isHeldUp();
  }

  /**
   * For tasks: waits until so many bytes may be moved, of which `nodeBytes` are read and written on the nodes. What it returns is to be called when they have been.
   * undefined: it is held up by now, and nothing is to be begun.
   */
  async turn(lengthBytes: number, nodeBytes = lengthBytes): Promise<(() => void) | undefined> {
    const { limit, budget } = this.#parts;
    const granted = limit.take(lengthBytes).then(() => budget.take(nodeBytes));
    const moved = await Promise.race([granted, this.#closing]);
    return this.#isHeldUp() ? undefined : (moved ?? undefined);
  }

  /** For tasks: does it with the segment's claim. False as well where somebody else has it. */
  async claimed(segmentId: number, act: () => Promise<boolean>): Promise<boolean> {
    const { claims } = this.#parts;
    if (!claims.hold(segmentId)) return false;
    try {
      return await act();
    } finally {
      claims.release(segmentId);
    }
  }

  /** What is under way ends; the metadata still has to be open. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#endWaiting();
    this.#timer?.cancel();
    await this.#running;
  }
}
