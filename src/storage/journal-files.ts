/**
 * The files of a journal: preallocated and written over beforehand, so that a durable append in the middle of one changes nothing in the
 * local file system's own metadata. Files whose entries were trimmed are used again under a new lap; one spare is kept ready.
 *
 * Bounds: `maxFiles` in all; an append that would need more is refused with full.
 */
import { assert } from '../base/assert.ts';
import { BLOCK_BYTES, MIB } from '../base/units.ts';
import { encodeJournalFileHeader, JOURNAL_FILE_HEADER_BYTES } from '../format/journal-file.ts';
import type { DiskFile, Platform } from '../platform/platform.ts';
import { StorageError } from './storage-error.ts';

export interface JournalFile {
  readonly number: number;
  readonly file: DiskFile;
  /** 0: a spare. */
  lap: number;
  /** Where the next frame goes. */
  tailBytes: number;
}

export interface JournalFilesOptions {
  readonly directory: string;
  readonly volumeId: Buffer;
  readonly fileBytes: number;
  readonly maxFiles: number;
}

const NAME = /^(\d{6})\.tjl$/;
const MAX_SPARES = 2;

export class JournalFiles {
  /** In use, by ascending lap; the last one is appended to. */
  readonly active: JournalFile[] = [];
  nextLap = 1;
  readonly fileBytes: number;
  readonly #platform: Platform;
  readonly #options: JournalFilesOptions;
  readonly #spares: JournalFile[] = [];
  readonly #headerPage: Buffer;
  #nextNumber = 1;
  #preparing: Promise<void> | undefined;
  #closed = false;

  constructor(platform: Platform, options: JournalFilesOptions) {
    this.#platform = platform;
    this.#options = options;
    this.fileBytes = options.fileBytes;
    this.#headerPage = platform.memory.allocate(JOURNAL_FILE_HEADER_BYTES);
  }

  /** Opens every journal file of the directory. Those of another size (cut short while they were made) are removed. */
  async openAll(): Promise<JournalFile[]> {
    const { directory, fileBytes } = this.#options;
    const files: JournalFile[] = [];
    for (const name of (await this.#platform.disk.list(directory)).sort()) {
      const number = NAME.exec(name)?.[1];
      if (number === undefined) continue;
      const path = `${directory}/${name}`;
      const file = await this.#platform.disk.open(path, { write: true, direct: true });
      this.#nextNumber = Math.max(this.#nextNumber, Number(number) + 1);
      if ((await file.size()) === fileBytes) {
        files.push({ number: Number(number), file, lap: 0, tailBytes: JOURNAL_FILE_HEADER_BYTES });
      } else {
        await file.close();
        await this.#platform.disk.remove(path);
      }
    }
    return files;
  }

  /** The file holds nothing that counts. */
  async addSpare(file: JournalFile): Promise<void> {
    file.lap = 0;
    if (this.#spares.length < MAX_SPARES) {
      this.#spares.push(file);
      return;
    }
    await file.file.close();
    await this.#platform.disk.remove(file.file.path);
  }

  /** Is there room in the last file, or a spare to go on with in this turn? */
  isReadyFor(lengthBytes: number): boolean {
    const last = this.active.at(-1);
    return (last !== undefined && last.tailBytes + lengthBytes <= this.fileBytes) || this.#spares.length > 0;
  }

  /** The file to append a frame of this length to. Call only when it is ready. */
  fileFor(lengthBytes: number): JournalFile {
    const last = this.active.at(-1);
    if (last !== undefined && last.tailBytes + lengthBytes <= this.fileBytes) {
      if (last.tailBytes > this.fileBytes / 2) this.#prepareInBackground();
      return last;
    }
    assert(lengthBytes <= this.fileBytes - JOURNAL_FILE_HEADER_BYTES, 'a frame fits one file');
    return this.activate();
  }

  /** Starts the next lap in a spare file, durably. Call only when there is one. */
  activate(): JournalFile {
    const spare = this.#spares.shift();
    if (spare === undefined) throw new StorageError({ reason: 'busy' }, 'no journal file is ready');
    const lap = this.nextLap++;
    encodeJournalFileHeader(
      { lap, volumeId: this.#options.volumeId },
      this.#headerPage,
      this.#platform.kernels.crc32c,
    );
    try {
      spare.file.writeSync(this.#headerPage, 0, { durable: true });
    } catch (error) {
      this.#spares.unshift(spare);
      throw error;
    }
    spare.lap = lap;
    spare.tailBytes = JOURNAL_FILE_HEADER_BYTES;
    this.active.push(spare);
    return spare;
  }

  #prepareInBackground(): void {
    if (this.#spares.length > 0 || this.#preparing !== undefined || this.#closed) return;
    if (this.active.length >= this.#options.maxFiles) return;
    this.prepare().catch((error: unknown) => {
      this.#platform.log.warn('journal-file-not-prepared', { why: String(error) });
    });
  }

  /** Makes sure that there is a spare. Refuses with full when the journal is as long as it may get. */
  async prepare(): Promise<void> {
    while (this.#spares.length === 0) {
      if (this.#preparing === undefined) {
        if (this.active.length >= this.#options.maxFiles) {
          throw new StorageError({ reason: 'full' }, 'the journal is at its bound: it has to be trimmed');
        }
        this.#preparing = this.#make().finally(() => {
          this.#preparing = undefined;
        });
      }
      await this.#preparing;
    }
  }

  async #make(): Promise<void> {
    const { directory, fileBytes } = this.#options;
    const number = this.#nextNumber++;
    const path = `${directory}/${String(number).padStart(6, '0')}.tjl`;
    const file = await this.#platform.disk.open(path, {
      write: true,
      create: true,
      exclusive: true,
      direct: true,
    });
    try {
      const zeros = this.#platform.memory.allocate(Math.min(MIB, fileBytes)).fill(0);
      await file.allocate(0, fileBytes);
      for (let at = 0; at < fileBytes; at += zeros.length) {
        await file.write([zeros.subarray(0, Math.min(zeros.length, fileBytes - at))], at);
      }
      await file.sync();
      await this.#platform.disk.syncDirectory(directory);
    } catch (error) {
      await file.close();
      await this.#platform.disk.remove(path);
      throw error;
    }
    this.#spares.push({ number, file, lap: 0, tailBytes: BLOCK_BYTES });
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#preparing?.catch(() => undefined); // whoever waits for the file was told
    for (const { file } of [...this.active, ...this.#spares]) await file.close();
  }
}
