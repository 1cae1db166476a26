/**
 * Gives the space of freed fragments back to the disk, behind the frees: punches holes, empties files in which nothing lives, then has the index
 * checkpointed, and only then releases the tombstones. That order is what makes a free survive the loss of the index: a freed fragment has a
 * durable tombstone until its header is durably unreadable.
 */
import type { Platform } from '../platform/platform.ts';
import type { LogFile } from './log-file.ts';
import type { LogFiles } from './log-files.ts';
import type { TombstoneRing } from './tombstone-ring.ts';

export interface Region {
  readonly fileId: number;
  readonly offset: number;
  readonly lengthBytes: number;
}

const DELAY_MS = 50;
const RETRY_MS = 1000;

export class Reclaimer {
  readonly #platform: Platform;
  readonly #logs: LogFiles;
  readonly #ring: TombstoneRing;
  readonly #checkpoint: (releasedTombstones: number, removedFiles: readonly number[]) => Promise<void>;
  #pending: Region[] = [];
  #pendingBytes = 0;
  #scheduled = false;
  #running: Promise<void> | undefined;
  #closed = false;

  constructor(
    platform: Platform,
    logs: LogFiles,
    ring: TombstoneRing,
    checkpoint: (releasedTombstones: number, removedFiles: readonly number[]) => Promise<void>,
  ) {
    this.#platform = platform;
    this.#logs = logs;
    this.#ring = ring;
    this.#checkpoint = checkpoint;
    ring.onFull = () => this.#runInBackground();
  }

  /** Freed, and not yet given back to the disk. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /** Nothing names the region any more. Its tombstone, if it needs one, is durable. */
  add(region: Region): void {
    this.#pending.push(region);
    this.#pendingBytes += region.lengthBytes;
    if (this.#scheduled || this.#closed) return;
    this.#scheduled = true;
    this.#platform.timers.after(DELAY_MS, () => {
      this.#scheduled = false;
      this.#runInBackground();
    });
  }

  #runInBackground(): void {
    if (this.#closed) return;
    this.run().catch((error: unknown) => {
      this.#platform.log.warn('reclaim-failed', { why: String(error) });
      this.#platform.timers.after(RETRY_MS, () => this.#runInBackground());
    });
  }

  /** Reclaims everything that is pending now. Rejects with what the machine said; everything then stays pending. */
  async run(): Promise<void> {
    while (this.#running !== undefined) await this.#running.catch(() => undefined); // its caller was told
    this.#running = this.#runOnce().finally(() => {
      this.#running = undefined;
    });
    await this.#running;
  }

  async #runOnce(): Promise<void> {
    const regions = this.#pending;
    const serial = this.#ring.appliedSerial;
    this.#pending = [];
    let emptied: LogFile[];
    try {
      emptied = await this.#giveBack(regions);
      await this.#checkpoint(
        serial,
        emptied.map((log) => log.fileId),
      );
    } catch (error) {
      this.#pending = regions.concat(this.#pending);
      throw error;
    }
    for (const region of regions) this.#pendingBytes -= region.lengthBytes;
    this.#ring.release(serial);
    for (const log of emptied) await this.#logs.remove(log);
    await this.#logs.refreshSpace();
  }

  async #giveBack(regions: readonly Region[]): Promise<LogFile[]> {
    const byFile = new Map<LogFile, Region[]>();
    for (const region of regions) {
      const log = this.#logs.byId.get(region.fileId);
      if (log === undefined) continue; // removed as a whole meanwhile
      const list = byFile.get(log);
      if (list === undefined) byFile.set(log, [region]);
      else list.push(region);
    }
    const emptied = [...this.#logs.byId.values()].filter(
      (log) => log.sealed && log.liveFragments === 0 && !log.hasWrites,
    );
    for (const log of emptied) {
      // Other processes may hold descriptors of the file: cutting it gives the space back in spite of them.
      byFile.delete(log);
      await log.file.truncate(0);
      await log.file.sync();
    }
    for (const [log, list] of byFile) {
      for (const { offset, lengthBytes } of merge(list)) await log.file.punchHole(offset, lengthBytes);
      await log.file.sync();
    }
    return emptied;
  }

  /** Stops; what is pending is found again by its tombstones. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#running?.catch(() => undefined); // reported by whoever started it
  }
}

/** Neighbours become one region. */
function merge(regions: readonly Region[]): { offset: number; lengthBytes: number }[] {
  const sorted = regions.toSorted((a, b) => a.offset - b.offset);
  const merged: { offset: number; lengthBytes: number }[] = [];
  for (const { offset, lengthBytes } of sorted) {
    const last = merged.at(-1);
    if (last !== undefined && last.offset + last.lengthBytes === offset) last.lengthBytes += lengthBytes;
    else merged.push({ offset, lengthBytes });
  }
  return merged;
}
