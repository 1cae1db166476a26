/**
 * One append-only log file of a fragment store: its handle, what of it is allocated, appended and live. Owns no policy: which file is
 * appended to and which is removed is for LogFiles and the reclaimer to say.
 */
import { assert } from '../base/assert.ts';
import type { DiskFile, Platform } from '../platform/platform.ts';

export class LogFile {
  readonly fileId: number;
  readonly file: DiskFile;
  /** Size of the file: space that is there to be written. */
  allocatedBytes: number;
  /** Where the next fragment goes. */
  tailBytes: number;
  liveFragments = 0;
  /** Of live fragments with their headers. */
  liveBytes = 0;
  /** Nothing will be appended any more. */
  sealed = false;
  readonly #platform: Platform;
  /** Header offsets of fragments being written: they bound what the index may claim to cover. */
  readonly #writing = new Set<number>();
  /** Reads and writes in flight; the handle stays open for them. */
  #users = 0;
  #whenUnused: (() => void) | undefined;
  #shared: Promise<DiskFile> | undefined;

  constructor(platform: Platform, fileId: number, file: DiskFile, allocatedBytes: number, tailBytes: number) {
    this.#platform = platform;
    this.fileId = fileId;
    this.file = file;
    this.allocatedBytes = allocatedBytes;
    this.tailBytes = tailBytes;
  }

  /** Claims the bytes behind the tail; undefined if they are not allocated yet. Ends with `written`. */
  claim(lengthBytes: number): number | undefined {
    if (this.sealed || this.tailBytes + lengthBytes > this.allocatedBytes) return undefined;
    const offset = this.tailBytes;
    this.tailBytes += lengthBytes;
    this.#writing.add(offset);
    this.retain();
    return offset;
  }

  /** The claim's write is over, and the index knows of it if it succeeded. */
  written(offset: number): void {
    assert(this.#writing.delete(offset), 'a claim ends once');
    this.release();
  }

  /** All fragments in front of this are in the index, or failed. */
  get indexedTo(): number {
    let lowest = this.tailBytes;
    for (const offset of this.#writing) if (offset < lowest) lowest = offset;
    return lowest;
  }

  get hasWrites(): boolean {
    return this.#writing.size > 0;
  }

  retain(): void {
    this.#users++;
  }

  release(): void {
    this.#users--;
    assert(this.#users >= 0, 'a log file is released as often as it is retained');
    if (this.#users === 0) this.#whenUnused?.();
  }

  /** A handle that can only read, for passing to other processes. Lives as long as this object. */
  shared(): Promise<DiskFile> {
    this.#shared ??= this.#platform.disk.open(this.file.path, { direct: true });
    return this.#shared;
  }

  /** Waits for I/O in flight. */
  async close(): Promise<void> {
    if (this.#users > 0) {
      await new Promise<void>((resolve) => {
        this.#whenUnused = resolve;
      });
    }
    if (this.#shared !== undefined) await (await this.#shared).close();
    await this.file.close();
  }
}
