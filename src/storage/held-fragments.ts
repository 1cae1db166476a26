/**
 * Which fragments a store holds, and every count that follows from it: of the index, of each log file, of the space used. Here alone the index changes.
 *
 * A fragment is held from the turn in which its write is over until the turn in which its tombstone is durable, and is counted once in between, however
 * often it is freed or replaced. Who may put and free, and in which order, is for fragment-store.ts to say; giving the space back is the reclaimer's.
 */
import { assert } from '../base/assert.ts';
import type { IndexedFragment } from '../format/storage-index.ts';
import type { FragmentKey, FragmentName } from '../format/storage-messages.ts';
import type { Tombstone } from '../format/storage-tombstones.ts';
import type { FragmentIndex } from './fragment-index.ts';
import { type FragmentReader, fragmentLengthBytes } from './fragment-reader.ts';
import type { IndexCheckpoints } from './index-checkpoints.ts';
import type { LogFile } from './log-file.ts';
import type { Claim, LogFiles } from './log-files.ts';
import type { Reclaimer } from './reclaimer.ts';
import type { SpaceAccount } from './space-account.ts';
import { StorageError } from './storage-error.ts';
import { RING_PAGES, type TombstoneRing } from './tombstone-ring.ts';

export interface HeldFragmentsParts {
  readonly index: FragmentIndex;
  readonly logs: LogFiles;
  readonly ring: TombstoneRing;
  readonly space: SpaceAccount;
  readonly reader: FragmentReader;
  readonly reclaimer: Reclaimer;
  readonly checkpoints: IndexCheckpoints;
}

export class HeldFragments {
  readonly #index: FragmentIndex;
  readonly #logs: LogFiles;
  readonly #ring: TombstoneRing;
  readonly #space: SpaceAccount;
  readonly #reader: FragmentReader;
  readonly #reclaimer: Reclaimer;
  readonly #checkpoints: IndexCheckpoints;
  /** By place: fragments whose tombstones are being written. */
  readonly #burying = new Map<string, Promise<void>>();
  #count = 0;

  /** Counts what the log files hold already. */
  constructor({ index, logs, ring, space, reader, reclaimer, checkpoints }: HeldFragmentsParts) {
    this.#index = index;
    this.#logs = logs;
    this.#ring = ring;
    this.#space = space;
    this.#reader = reader;
    this.#reclaimer = reclaimer;
    this.#checkpoints = checkpoints;
    for (const log of logs.byId.values()) {
      space.usedBytes += log.liveBytes;
      this.#count += log.liveFragments;
    }
  }

  get count(): number {
    return this.#count;
  }

  /** Whatever its generation. */
  at(segmentId: number, position: number): IndexedFragment | undefined {
    return this.#index.get(segmentId, position);
  }

  /** Refuses with missing. */
  find(name: FragmentName): IndexedFragment {
    const entry = this.#index.get(name.segmentId, name.position);
    if (entry?.generation === name.generation) return entry;
    const { segmentId, position, generation } = name;
    throw new StorageError(
      { reason: 'missing' },
      `no fragment ${segmentId}/${position} generation ${generation}`,
    );
  }

  logOf(entry: IndexedFragment): LogFile {
    const log = this.#logs.byId.get(entry.fileId);
    assert(log !== undefined, 'an indexed fragment lies in an open log file');
    return log;
  }

  /** The claim was written. Returns what it replaces, which is to be buried. */
  add(
    { log, offset }: Claim,
    { segmentId, position }: FragmentKey,
    entry: IndexedFragment,
  ): IndexedFragment | undefined {
    const lengthBytes = fragmentLengthBytes(entry);
    // Not what was held before the write: that may have been freed meanwhile.
    const replaced = this.#index.get(segmentId, position);
    // Replaced in the same turn: the index names the new one from here on.
    this.#index.put(segmentId, position, entry);
    log.liveFragments++;
    log.liveBytes += lengthBytes;
    log.written(offset);
    this.#count++;
    this.#space.usedBytes += lengthBytes;
    this.#checkpoints.note(lengthBytes);
    return replaced;
  }

  /** Makes it durable that these are gone, then forgets them and has their space reclaimed. What is on its way to that already is waited for. */
  async bury(held: readonly (FragmentKey & IndexedFragment)[]): Promise<void> {
    const fresh = held.filter((fragment) => !this.#burying.has(placeOf(fragment)));
    const underWay = held.map((fragment) => this.#burying.get(placeOf(fragment)));
    const work = this.#buryNow(fresh);
    for (const fragment of fresh) this.#burying.set(placeOf(fragment), work);
    try {
      await Promise.all([work, ...underWay]);
    } finally {
      for (const fragment of fresh) this.#burying.delete(placeOf(fragment));
    }
  }

  async #buryNow(held: readonly (FragmentKey & IndexedFragment)[]): Promise<void> {
    if (held.length === 0) return;
    const tombstones = held.map((fragment): Tombstone => {
      const { segmentId, position, generation, fileId, headerOffset } = fragment;
      return {
        segmentId,
        position,
        generation,
        fileId,
        headerOffset,
        lengthBytes: fragmentLengthBytes(fragment),
      };
    });
    await this.#ring.write(tombstones, () => {
      for (const tombstone of tombstones) this.#forget(tombstone);
    });
    if (this.#ring.pagesInUse > RING_PAGES / 2) this.#ring.onFull?.();
  }

  #forget({ segmentId, position, fileId, headerOffset, lengthBytes }: Tombstone): void {
    const entry = this.#index.get(segmentId, position);
    if (entry?.fileId === fileId && entry.headerOffset === headerOffset)
      this.#index.delete(segmentId, position);
    const log = this.#logs.byId.get(fileId);
    assert(log !== undefined, 'a fragment is forgotten before its log file is removed');
    log.liveFragments--;
    log.liveBytes -= lengthBytes;
    this.#count--;
    this.#space.usedBytes -= lengthBytes;
    this.#reader.forget(fileId, headerOffset);
    this.#reclaimer.add({ fileId, offset: headerOffset, lengthBytes });
    this.#checkpoints.note(0);
  }
}

/** Two generations of one fragment lie in different places. */
export function placeOf({ fileId, headerOffset }: IndexedFragment): string {
  return `${fileId}/${headerOffset}`;
}
