/**
 * Fills the volume with files until it says ENOSPC (or a bound is reached), reads them back, deletes them, and begins again. A full
 * volume must still delete, what was synced must be readable, and the space must come back.
 */
import { BLOCK_BYTES } from '../../base/units.ts';
import type { Workload, WorkloadContext } from '../contract.ts';
import { finish, repeat } from './loop.ts';
import { pattern } from './pattern.ts';
import { Permitted, type Session } from './session.ts';
import { TrackedFile } from './tracked-file.ts';

/** After everything was deleted, the space has to be back within this time. */
const SPACE_BACK_MS = 60_000;
const POLL_MS = 500;
/** Without rest, or the volume would not be full in time. */
const MEAN_PAUSE_MS = 8;

export interface FillOptions {
  readonly fileBytes?: number;
  readonly chunkBytes?: number;
  /** In all files; enough to fill the volume that the scenario has. */
  readonly mostBytes?: number;
}

export class FillWorkload implements Workload {
  readonly name: string;
  readonly #options: Required<FillOptions>;
  #files: TrackedFile[] = [];
  #made = 0;
  #deleting = false;
  /** How often the volume was full. */
  timesFull = 0;

  constructor(name = 'fill', options: FillOptions = {}) {
    this.name = name;
    this.#options = {
      ...{ fileBytes: 1024 * 1024, chunkBytes: 128 * 1024, mostBytes: 48 * 1024 * 1024 },
      ...options,
    };
  }

  run(context: WorkloadContext): Promise<void> {
    return repeat(context, this.name, async (session) => {
      const directory = await session.directory(this.name);
      if (this.#deleting) await this.#delete(session, directory);
      else await this.#fill(session, directory, context);
      await context.sleep(context.dice.exponential(MEAN_PAUSE_MS));
      return undefined;
    });
  }

  async check(context: WorkloadContext): Promise<void> {
    await finish(context, this.name, async (session) => {
      const directory = await session.directory(this.name);
      for (const file of this.#files) {
        await file.ready(session, directory);
        await file.verify();
      }
      const { availableBlocks } = await session.call('statistics', {}, (one) => one.statistics());
      const bytes = this.#files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
      while (this.#files.length > 0) await this.#delete(session, directory);
      await session.insist('syncAll', {}, (one) => one.syncAll());
      await this.#spaceIsBack(session, availableBlocks, bytes);
      await this.#writesAgain(session, directory);
    });
  }

  async #fill(session: Session, directory: number, { dice }: WorkloadContext): Promise<void> {
    const { fileBytes, chunkBytes, mostBytes } = this.#options;
    let file = this.#files.at(-1);
    if (file === undefined || file.sizeBytes >= fileBytes) {
      if (this.#files.length * fileBytes >= mostBytes) {
        this.#deleting = true;
        return;
      }
      file = new TrackedFile(`file-${this.#made++}`);
      this.#files.push(file);
    }
    try {
      await file.ready(session, directory);
      const lengthBytes = Math.min(chunkBytes, Math.max(1, fileBytes - file.sizeBytes));
      await file.append(pattern(this.#made, file.sizeBytes, lengthBytes));
      if (file.sizeBytes < fileBytes) return;
      if (dice.chance(0.7)) await file.fsync();
      await this.#readOne(session, directory, dice.below(this.#files.length));
    } catch (error) {
      if (!(error instanceof Permitted) || error.code !== 'ENOSPC') throw error;
      this.timesFull += 1;
      this.#deleting = true;
    }
  }

  async #readOne(session: Session, directory: number, index: number): Promise<void> {
    const file = this.#files[index]!;
    await file.ready(session, directory);
    await file.verify();
  }

  /** One file; then filling goes on when none is left. */
  async #delete(session: Session, directory: number): Promise<void> {
    const file = this.#files[0];
    if (file !== undefined) {
      await file.remove(session, directory);
      this.#files.shift();
    }
    if (this.#files.length === 0) this.#deleting = false;
  }

  /** At least a quarter: segments that others have blocks in are theirs to give back. */
  async #spaceIsBack(session: Session, freeBefore: number, deletedBytes: number): Promise<void> {
    const expected = freeBefore + deletedBytes / 4 / BLOCK_BYTES;
    let free = freeBefore;
    for (let waitedMs = 0; waitedMs < SPACE_BACK_MS; waitedMs += POLL_MS) {
      free = (await session.call('statistics', {}, (one) => one.statistics())).availableBlocks;
      if (free >= expected) return;
      await session.context.sleep(POLL_MS);
    }
    session.fail(
      `${deletedBytes} bytes were deleted, but the free blocks went from ${freeBefore} to ${free} only`,
    );
  }

  async #writesAgain(session: Session, directory: number): Promise<void> {
    const file = new TrackedFile('afterwards');
    await file.ready(session, directory);
    await file.append(pattern(this.#made, 0, this.#options.chunkBytes));
    await file.fsync();
    await file.verify();
    await file.remove(session, directory);
  }
}
