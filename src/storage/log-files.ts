/**
 * The log files of a fragment store: opens them, gives out space at the end of the active one, grows it ahead of the writers, and starts the
 * next. Keeps `reserveBytes` of the disk free, so that frees and the index still work when puts are refused.
 *
 * File ids are never used twice while the index lives, and a file is only appended to.
 */
import { BLOCK_BYTES, MIB, roundUp } from '../base/units.ts';
import { FormatError } from '../format/fields.ts';
import {
  decodeLogFileHeader,
  encodeLogFileHeader,
  LOG_FILE_HEADER_BYTES,
  type LogFileHeader,
} from '../format/storage-log-file.ts';
import type { DiskFile, Platform } from '../platform/platform.ts';
import { LogFile } from './log-file.ts';
import { isNoSpace, StorageError, StorageUnusable } from './storage-error.ts';

export interface LogFilesOptions {
  readonly directory: string;
  readonly nodeId: number;
  readonly volumeId: Buffer;
  readonly nonce: Buffer;
  /** A file is sealed when the next fragment would exceed this. */
  readonly logFileBytes: number;
  /** Space is allocated in steps of this. */
  readonly growBytes: number;
  readonly reserveBytes: number;
}

export interface Claim {
  readonly log: LogFile;
  readonly offset: number;
}

const NAME = /^(\d{8,10})\.tlog$/;

export class LogFiles {
  readonly byId = new Map<number, LogFile>();
  nextFileId = 1;
  readonly #platform: Platform;
  readonly #options: LogFilesOptions;
  #active: LogFile | undefined;
  #growing: Promise<void> | undefined;
  /** Free bytes of the disk as last asked. */
  #diskFreeBytes = 0;

  constructor(platform: Platform, options: LogFilesOptions) {
    this.#platform = platform;
    this.#options = options;
  }

  path(fileId: number): string {
    return `${this.#options.directory}/${String(fileId).padStart(8, '0')}.tlog`;
  }

  /** Ids of the files that are on the disk, ascending. */
  async listIds(): Promise<number[]> {
    const ids: number[] = [];
    for (const name of await this.#platform.disk.list(this.#options.directory)) {
      const id = NAME.exec(name)?.[1];
      if (id !== undefined) ids.push(Number(id));
    }
    return ids.sort((a, b) => a - b);
  }

  /**
   * Opens an existing file with nothing said about its fragments yet; undefined if it never got its header (and was removed). `hasFragments` is asked about a file
   * whose first page is empty: a disk may have lost that write, too.
   */
  async open(
    fileId: number,
    hasFragments: (file: DiskFile) => Promise<boolean>,
  ): Promise<LogFile | undefined> {
    const path = this.path(fileId);
    const file = await this.#platform.disk.open(path, { write: true, direct: true });
    const page = this.#platform.memory.allocate(LOG_FILE_HEADER_BYTES);
    const got = await file.read([page], 0);
    const isEmpty = page.every((byte) => byte === 0);
    if (got < LOG_FILE_HEADER_BYTES || (isEmpty && !(await hasFragments(file)))) {
      await file.close();
      await this.#platform.disk.remove(path);
      return undefined;
    }
    const header = this.#decodeHeader(page, path, fileId);
    const { volumeId, nonce, nodeId } = this.#options;
    const ours = header.volumeId.equals(volumeId) && header.nonce.equals(nonce) && header.nodeId === nodeId;
    if (!ours || header.fileId !== fileId) {
      await file.close();
      throw new StorageUnusable(`${path} belongs to another volume or node, or was renamed`);
    }
    const log = new LogFile(this.#platform, fileId, file, await file.size(), LOG_FILE_HEADER_BYTES);
    this.byId.set(fileId, log);
    this.nextFileId = Math.max(this.nextFileId, fileId + 1);
    return log;
  }

  #decodeHeader(page: Buffer, path: string, fileId: number): LogFileHeader {
    try {
      return decodeLogFileHeader(page, this.#platform.kernels.crc32c);
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      // Its fragments name the store themselves: a rotten first page loses nothing.
      this.#platform.log.warn('log-file-header-damaged', { path, why: error.message });
      const { nodeId, volumeId, nonce } = this.#options;
      return { fileId, nodeId, volumeId, nonce };
    }
  }

  /** Appends go on in this file. */
  resume(log: LogFile): void {
    this.#active = log;
  }

  /** Space for a fragment, in this turn if it is allocated already. Refuses with 'full'. */
  claim(lengthBytes: number): Claim | Promise<Claim> {
    return this.#claimNow(lengthBytes) ?? this.#claimLater(lengthBytes);
  }

  #claimNow(lengthBytes: number): Claim | undefined {
    const log = this.#active;
    const offset = log?.claim(lengthBytes);
    if (log === undefined || offset === undefined) return undefined;
    const room = log.allocatedBytes - log.tailBytes;
    if (room < this.#options.growBytes / 2 && this.#growing === undefined) {
      this.#grow(BLOCK_BYTES).catch((error: unknown) => {
        // The put that needs the space meets the same condition and reports it.
        this.#platform.log.debug('log-growth-failed', { why: String(error) });
      });
    }
    return { log, offset };
  }

  async #claimLater(lengthBytes: number): Promise<Claim> {
    for (;;) {
      await (this.#growing ?? this.#grow(lengthBytes));
      const claim = this.#claimNow(lengthBytes);
      if (claim !== undefined) return claim;
    }
  }

  #grow(lengthBytes: number): Promise<void> {
    this.#growing = this.#growOnce(lengthBytes).finally(() => {
      this.#growing = undefined;
    });
    return this.#growing;
  }

  async #growOnce(lengthBytes: number): Promise<void> {
    const { logFileBytes, growBytes } = this.#options;
    let log = this.#active;
    if (log === undefined || log.tailBytes + lengthBytes > logFileBytes) {
      if (log !== undefined && lengthBytes <= BLOCK_BYTES) return; // growing ahead does not seal
      await this.#freshSpace();
      log = await this.#create();
      const before = this.#active;
      this.#active = log;
      if (before !== undefined) await this.#seal(before);
    }
    const needed = log.tailBytes + lengthBytes - log.allocatedBytes;
    const wanted = Math.min(Math.max(growBytes, needed), Math.max(needed, logFileBytes - log.allocatedBytes));
    if (wanted <= 0) return;
    const available = (await this.#freshSpace()) - this.#options.reserveBytes;
    if (wanted > available && needed <= 0) return;
    const step = wanted <= available ? wanted : needed;
    if (step > available) throw new StorageError({ reason: 'full' }, 'the disk of this node is full');
    try {
      await log.file.allocate(log.allocatedBytes, step);
    } catch (error) {
      if (!isNoSpace(error)) throw error;
      throw new StorageError({ reason: 'full' }, 'the disk of this node is full');
    }
    log.allocatedBytes += step;
    this.#diskFreeBytes -= step;
  }

  async #create(): Promise<LogFile> {
    const fileId = this.nextFileId++;
    const { nodeId, volumeId, nonce, directory } = this.#options;
    const page = this.#platform.memory.allocate(LOG_FILE_HEADER_BYTES);
    encodeLogFileHeader({ fileId, nodeId, volumeId, nonce }, page, this.#platform.kernels.crc32c);
    const path = this.path(fileId);
    const file = await this.#platform.disk.open(path, {
      write: true,
      create: true,
      exclusive: true,
      direct: true,
    });
    await file.write([page], 0, { durable: true });
    await this.#platform.disk.syncDirectory(directory);
    const log = new LogFile(this.#platform, fileId, file, LOG_FILE_HEADER_BYTES, LOG_FILE_HEADER_BYTES);
    this.byId.set(fileId, log);
    return log;
  }

  /** Gives back what was allocated ahead and will not be used. */
  async #seal(log: LogFile): Promise<void> {
    log.sealed = true;
    if (log.allocatedBytes <= log.tailBytes) return;
    await log.file.truncate(log.tailBytes);
    log.allocatedBytes = log.tailBytes;
  }

  /** Removes the file. The caller has made sure that nothing in it is named any more. */
  async remove(log: LogFile): Promise<void> {
    this.byId.delete(log.fileId);
    await log.close();
    await this.#platform.disk.remove(this.path(log.fileId));
    await this.#platform.disk.syncDirectory(this.#options.directory);
  }

  async #freshSpace(): Promise<number> {
    const { freeBytes } = await this.#platform.disk.space(this.#options.directory);
    this.#diskFreeBytes = freeBytes;
    return freeBytes;
  }

  async refreshSpace(): Promise<void> {
    await this.#freshSpace();
  }

  /** Allocated to the log file in use and not written yet. */
  get allocatedBytes(): number {
    const active = this.#active;
    return active === undefined ? 0 : active.allocatedBytes - active.tailBytes;
  }

  /** What the disk has for new log files, by its last known state. */
  get diskFreeBytes(): number {
    return Math.max(0, this.#diskFreeBytes - this.#options.reserveBytes);
  }

  isActive(log: LogFile): boolean {
    return log === this.#active;
  }

  async close(): Promise<void> {
    await this.#growing?.catch(() => undefined); // its waiters have been told
    for (const log of this.byId.values()) await log.close();
  }
}

/** Length of log files for a node of this capacity: few enough to keep all of them open. */
export function logFileBytesFor(capacityBytes: number): number {
  const FILES = 256;
  return Math.min(Math.max(roundUp(Math.ceil(capacityBytes / FILES), 64 * MIB), 256 * MIB), 4096 * MIB);
}
