/**
 * How much a fragment store holds and may still take: exact for the capacity limit, which counts fragments with their headers; as of the last
 * look for the disk, which others may fill too.
 */
import type { Platform } from '../platform/platform.ts';
import type { LogFiles } from './log-files.ts';

const REFRESH_MS = 1000;

export class SpaceAccount {
  usedBytes = 0;
  /** Freed, and not yet given back to the disk: told by the reclaimer. */
  pendingBytes: () => number = () => 0;
  readonly #platform: Platform;
  readonly #logs: LogFiles;
  readonly #limitBytes: number | undefined;
  readonly #diskSharers: () => number;
  /** Of puts under way: not yet counted as used. */
  #reservedBytes = 0;
  /** Of those, what has no place in a log file yet. */
  #unplacedBytes = 0;
  #askedMs = 0;

  constructor(platform: Platform, logs: LogFiles, limitBytes: number | undefined, diskSharers: () => number) {
    this.#platform = platform;
    this.#logs = logs;
    this.#limitBytes = limitBytes;
    this.#diskSharers = diskSharers;
  }

  get freeBytes(): number {
    const limit = this.#limitBytes ?? Number.MAX_SAFE_INTEGER;
    const share = Math.floor(this.#logs.diskFreeBytes / this.#diskSharers());
    const disk = share + this.#logs.allocatedBytes + this.pendingBytes();
    return Math.max(0, Math.min(limit - this.usedBytes - this.#reservedBytes, disk - this.#unplacedBytes));
  }

  get capacityBytes(): number {
    return this.#limitBytes ?? this.usedBytes + this.freeBytes;
  }

  /** Sets space aside while `run` makes it used. */
  async reserving<T>(lengthBytes: number, run: () => Promise<T>): Promise<T> {
    this.#reservedBytes += lengthBytes;
    try {
      return await run();
    } finally {
      this.#reservedBytes -= lengthBytes;
    }
  }

  /** The same for the disk: while `run` finds a place in a log file. */
  async placing<T>(lengthBytes: number, run: () => Promise<T>): Promise<T> {
    this.#unplacedBytes += lengthBytes;
    try {
      return await run();
    } finally {
      this.#unplacedBytes -= lengthBytes;
    }
  }

  /** Asks the disk anew if that was long ago. In the background: freeBytes follows. */
  refresh(): void {
    const nowMs = this.#platform.clock.monotonicMs();
    if (nowMs - this.#askedMs < REFRESH_MS) return;
    this.#askedMs = nowMs;
    this.#logs.refreshSpace().catch((error: unknown) => {
      this.#platform.log.warn('space-unknown', { why: String(error) });
    });
  }
}
