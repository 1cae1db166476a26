/**
 * Brings a fragment store's view up to what its log files and tombstones say, before it serves:
 *
 * 0. A file that the index knows and the disk does not have is forgotten with its fragments.
 * 1. Each file is scanned behind what the index covers; all of it when there is no index. A fragment found there counts if its payload is
 *    whole (a crash leaves torn ones, and none of those was acknowledged), if no tombstone names it, and if no newer generation is known.
 * 2. Tombstones that were not released are applied to the index again, and their regions given back if the headers are still there.
 * 3. What lies between the fragments found, torn or dropped, is given back; the last file is appended to where its fragments end.
 *
 * When the index was lost only the newest files' payloads are read, more than can have been in flight: anything older was whole once.
 */
import { BLOCK_BYTES, MIB } from '../base/units.ts';
import type { IndexedFile } from '../format/storage-index.ts';
import { fragmentHeaderBytes, LOG_FILE_HEADER_BYTES } from '../format/storage-log-file.ts';
import type { FragmentName } from '../format/storage-messages.ts';
import type { Tombstone, TombstonePage } from '../format/storage-tombstones.ts';
import type { DiskFile, Platform } from '../platform/platform.ts';
import type { FragmentIndex } from './fragment-index.ts';
import { type FoundFragment, FragmentScanner } from './fragment-scan.ts';
import type { LogFile } from './log-file.ts';
import type { LogFiles } from './log-files.ts';
import type { Region } from './reclaimer.ts';

/** More than the header buffers let be in flight. */
const VERIFIED_BYTES = 512 * MIB;

export interface RecoveryInput {
  readonly platform: Platform;
  readonly nonce: Buffer;
  readonly index: FragmentIndex;
  /** As of the index's last checkpoint; empty and `rebuilding` when it was lost. */
  readonly indexedFiles: ReadonlyMap<number, IndexedFile>;
  readonly rebuilding: boolean;
  readonly logs: LogFiles;
  /** Those not released. */
  readonly tombstonePages: readonly TombstonePage[];
}

export interface RecoveryReport {
  /** What can be given back to the disk. */
  readonly regions: readonly Region[];
  readonly scannedBytes: number;
  readonly foundFragments: number;
  readonly tornFragments: number;
}

export class FragmentRecovery {
  readonly #input: RecoveryInput;
  readonly #scanner: FragmentScanner;
  /** Newest tombstone of each (segment, position). */
  readonly #tombstones = new Map<string, Tombstone>();
  /** Very fragments that tombstones name, with their places. */
  readonly #buried = new Set<string>();
  readonly #regions: Region[] = [];
  #scannedBytes = 0;
  #found = 0;
  #torn = 0;

  constructor(input: RecoveryInput) {
    this.#input = input;
    this.#scanner = new FragmentScanner(input.platform, input.nonce);
    for (const page of input.tombstonePages) {
      for (const tombstone of page.tombstones) {
        const name = `${tombstone.segmentId}/${tombstone.position}`;
        this.#buried.add(graveOf(tombstone, tombstone, tombstone.headerOffset));
        const known = this.#tombstones.get(name);
        if (known === undefined || known.generation <= tombstone.generation) {
          this.#tombstones.set(name, tombstone);
        }
      }
    }
  }

  async run(): Promise<RecoveryReport> {
    const { logs, indexedFiles, rebuilding } = this.#input;
    const opened: LogFile[] = [];
    for (const fileId of await logs.listIds()) {
      const indexed = indexedFiles.get(fileId);
      const log = await logs.open(fileId, (file) => this.#hasFragments(file, fileId, indexed));
      if (log === undefined) continue;
      if (indexed !== undefined) {
        log.liveBytes = indexed.liveBytes;
        log.liveFragments = indexed.liveFragments;
        log.tailBytes = indexed.indexedTo;
      }
      log.sealed = true;
      opened.push(log);
    }
    await this.#forgetLostFiles();
    const last = opened.at(-1);
    const recent = recentFiles(opened);
    for (const log of opened) {
      if (indexedFiles.get(log.fileId)?.sealed === true) continue;
      await this.#scanEnd(log, !rebuilding || recent.has(log));
    }
    await this.#applyTombstones();
    if (last !== undefined && indexedFiles.get(last.fileId)?.sealed !== true) {
      last.sealed = false;
      logs.resume(last);
    }
    return {
      regions: this.#regions,
      scannedBytes: this.#scannedBytes,
      foundFragments: this.#found,
      tornFragments: this.#torn,
    };
  }

  async #hasFragments(file: DiskFile, fileId: number, indexed: IndexedFile | undefined): Promise<boolean> {
    if (indexed !== undefined && indexed.liveFragments > 0) return true;
    return (await this.#scanner.next(file, fileId, LOG_FILE_HEADER_BYTES, await file.size())) !== undefined;
  }

  /** What the index says of files that are not there any more is not so: their fragments are missing, and will be stored again by others. */
  async #forgetLostFiles(): Promise<void> {
    const { platform, index, indexedFiles, logs } = this.#input;
    for (const [fileId, { liveFragments }] of indexedFiles) {
      if (logs.byId.has(fileId) || liveFragments === 0) continue;
      const fragments = await index.forgetFile(fileId);
      platform.log.error('log-file-lost', { path: logs.path(fileId), fragments });
    }
  }

  async #scanEnd(log: LogFile, verify: boolean): Promise<void> {
    const from = log.tailBytes;
    this.#scannedBytes += log.allocatedBytes - from;
    for (;;) {
      const found = await this.#scanner.next(log.file, log.fileId, log.tailBytes, log.allocatedBytes);
      if (found === undefined) break;
      const { headerOffset, headerBytes, description } = found;
      const gap = headerOffset - log.tailBytes;
      if (gap > 0) this.#giveBack(log, log.tailBytes, gap);
      const taken = await this.#take(log, found, verify);
      // One that was never whole may not have reached its end: others may have been appended there after an earlier crash.
      const lengthBytes =
        taken === 'void' ? headerBytes : headerBytes + description.fragmentBlocks * BLOCK_BYTES;
      log.tailBytes = Math.min(headerOffset + lengthBytes, log.allocatedBytes);
      if (taken !== 'live') this.#giveBack(log, headerOffset, log.tailBytes - headerOffset);
    }
    if (log.allocatedBytes > log.tailBytes) {
      await log.file.truncate(log.tailBytes);
      log.allocatedBytes = log.tailBytes;
    }
    // What a killed process left behind can be read before it is durable, and counts as stored from here on.
    await log.file.sync();
  }

  #giveBack(log: LogFile, offset: number, lengthBytes: number): void {
    this.#regions.push({ fileId: log.fileId, offset, lengthBytes });
  }

  /** buried: it was whole, and was freed. void: it does not count, and may never have been whole. */
  async #take(log: LogFile, found: FoundFragment, verify: boolean): Promise<'live' | 'buried' | 'void'> {
    const { index } = this.#input;
    const { segmentId, position, generation, fragmentBlocks, nodes } = found.description;
    const known = index.get(segmentId, position);
    if (known?.fileId === log.fileId && known.headerOffset === found.headerOffset) return 'live';
    const tombstone = this.#tombstones.get(`${segmentId}/${position}`);
    if (this.#buried.has(graveOf(found.description, log, found.headerOffset))) return 'buried';
    if (tombstone !== undefined && tombstone.generation > generation) return 'void';
    // One of the same generation replaces another one only if that was damaged, and is buried.
    if (known !== undefined && known.generation > generation) return 'void';
    if (known?.generation === generation) {
      const grave = graveOf(found.description, known, known.headerOffset);
      if (!this.#buried.has(grave)) return 'void';
    }
    if (verify && !(await this.#scanner.payloadIsWhole(log.file, found))) {
      this.#torn++;
      return 'void';
    }
    if (known !== undefined) this.#drop(segmentId, position, known.fileId, known);
    index.put(segmentId, position, {
      fileId: log.fileId,
      headerOffset: found.headerOffset,
      fragmentBlocks,
      generation,
      fragments: nodes.length,
    });
    log.liveFragments++;
    log.liveBytes += found.headerBytes + fragmentBlocks * BLOCK_BYTES;
    this.#found++;
    return 'live';
  }

  #drop(
    segmentId: number,
    position: number,
    fileId: number,
    known: { headerOffset: number; fragmentBlocks: number; fragments: number },
  ): void {
    const lengthBytes =
      fragmentHeaderBytes(known.fragmentBlocks, known.fragments) + known.fragmentBlocks * BLOCK_BYTES;
    this.#input.index.delete(segmentId, position);
    const log = this.#input.logs.byId.get(fileId);
    if (log === undefined) return;
    log.liveFragments--;
    log.liveBytes -= lengthBytes;
    this.#giveBack(log, known.headerOffset, lengthBytes);
  }

  async #applyTombstones(): Promise<void> {
    const { index, logs, tombstonePages } = this.#input;
    for (const page of tombstonePages) {
      for (const { segmentId, position, generation, fileId, headerOffset, lengthBytes } of page.tombstones) {
        const known = index.get(segmentId, position);
        const isKnown = known?.fileId === fileId && known.headerOffset === headerOffset;
        if (known !== undefined && (known.generation < generation || isKnown)) {
          this.#drop(segmentId, position, known.fileId, known);
          if (isKnown) continue;
        }
        const log = logs.byId.get(fileId);
        if (log === undefined || headerOffset >= log.tailBytes) continue;
        // Deleted from the index before its hole was made? Only the very fragment is given back.
        const found = await this.#scanner.headerAt(log.file, fileId, headerOffset);
        const same =
          found?.description.segmentId === segmentId &&
          found.description.position === position &&
          found.description.generation <= generation;
        const live = index.get(segmentId, position);
        if (same && !(live?.fileId === fileId && live.headerOffset === headerOffset)) {
          this.#giveBack(log, headerOffset, lengthBytes);
        }
      }
    }
  }
}

/** A fragment and where it lies, as one word. */
function graveOf(fragment: FragmentName, file: { fileId: number }, headerOffset: number): string {
  const { segmentId, position, generation } = fragment;
  return `${segmentId}/${position}/${generation}@${file.fileId}/${headerOffset}`;
}

/** The newest files, so many that they hold everything that can have been in flight at a crash. */
function recentFiles(opened: readonly LogFile[]): Set<LogFile> {
  const recent = new Set<LogFile>();
  let total = 0;
  for (const log of opened.toReversed()) {
    if (total >= VERIFIED_BYTES) break;
    recent.add(log);
    total += log.allocatedBytes;
  }
  return recent;
}
