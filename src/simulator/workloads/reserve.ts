/**
 * Reserves room for a file, writes into it at random while others fill the volume, and at the end fills what is left itself: every block of
 * what was reserved must then still be written without ENOSPC, twice, since an overwrite must find room, too. While nodes are away their room is away
 * as well, so that before the end a refusal is borne.
 */
import { BLOCK_BYTES } from '../../base/units.ts';
import type { Dice, Workload, WorkloadContext } from '../contract.ts';
import { finish, pause, repeat } from './loop.ts';
import { pattern } from './pattern.ts';
import { Permitted, type Session } from './session.ts';
import { TrackedFile } from './tracked-file.ts';

export interface ReserveOptions {
  readonly reservedBlocks?: number;
  readonly mostBlocks?: number;
  /** Of the file that fills the volume. */
  readonly fillBytes?: number;
}

const FILL_CHUNK_BYTES = 128 * 1024;

export class ReserveWorkload implements Workload {
  readonly name: string;
  readonly #options: Required<ReserveOptions>;
  #file = new TrackedFile('reserved');
  #filler = new TrackedFile('filler');
  #made = 0;
  #isReserved = false;
  #key = 0;

  constructor(name = 'reserve', options: ReserveOptions = {}) {
    this.name = name;
    this.#options = { reservedBlocks: 300, mostBlocks: 24, fillBytes: 48 * 1024 * 1024, ...options };
  }

  run(context: WorkloadContext): Promise<void> {
    return repeat(context, this.name, async (session) => {
      await this.#step(session, context.dice);
      await pause(context, context.dice);
      return undefined;
    });
  }

  check(context: WorkloadContext): Promise<void> {
    return finish(context, this.name, async (session) => {
      const directory = await session.directory(this.name);
      await this.#file.ready(session, directory);
      if (await this.#reserves(session)) {
        await this.#fill(session, directory);
        for (let round = 0; round < 2; round++) await this.#writeAll(session);
        await this.#file.verify();
        await this.#filler.remove(session, directory);
        this.#filler = new TrackedFile(`filler-${++this.#made}`);
      }
      await this.#file.remove(session, directory);
      this.#file = new TrackedFile(`reserved-${++this.#made}`);
      this.#isReserved = false;
      await session.insist('syncAll', {}, (one) => one.syncAll());
    });
  }

  async #step(session: Session, dice: Dice): Promise<void> {
    const { reservedBlocks, mostBlocks } = this.#options;
    await this.#file.ready(session, await session.directory(this.name));
    if (dice.chance(0.03)) {
      this.#isReserved = false;
      await this.#file.truncate();
      return;
    }
    if (!this.#isReserved && !(await this.#reserves(session))) return;
    const firstBlock = dice.below(reservedBlocks);
    const blocks = 1 + dice.below(Math.min(mostBlocks, reservedBlocks - firstBlock));
    await this.#write(firstBlock, blocks);
    if (dice.chance(0.2)) await this.#file.fsync();
  }

  /** What is reserved already costs nothing again. False: there is no room for it. */
  async #reserves(session: Session): Promise<boolean> {
    try {
      await this.#file.reserve(this.#options.reservedBlocks * BLOCK_BYTES);
      await this.#file.fsync();
    } catch (error) {
      if (!(error instanceof Permitted) || error.code !== 'ENOSPC') throw error;
      await session.context.sleep(100);
      return false;
    }
    this.#isReserved = true;
    return true;
  }

  #write(firstBlock: number, blocks: number): Promise<void> {
    this.#key += 1;
    const offsetBytes = firstBlock * BLOCK_BYTES;
    return this.#file.write(offsetBytes, pattern(this.#key, offsetBytes, blocks * BLOCK_BYTES));
  }

  async #fill(session: Session, directory: number): Promise<void> {
    await this.#filler.ready(session, directory);
    try {
      while (this.#filler.sizeBytes < this.#options.fillBytes) {
        await this.#filler.append(pattern(1, this.#filler.sizeBytes, FILL_CHUNK_BYTES));
        await this.#filler.fsync();
      }
    } catch (error) {
      if (!(error instanceof Permitted) || error.code !== 'ENOSPC') throw error;
      // What the refused write left is looked at, so that the file can be removed whatever comes.
      await this.#filler.ready(session, directory);
    }
  }

  /** Nothing else goes on, and every node is there. */
  async #writeAll(session: Session): Promise<void> {
    const { reservedBlocks, mostBlocks } = this.#options;
    try {
      for (let block = 0; block < reservedBlocks; block += mostBlocks) {
        await this.#write(block, Math.min(mostBlocks, reservedBlocks - block));
        await this.#file.fsync();
      }
    } catch (error) {
      if (error instanceof Permitted && error.code === 'ENOSPC')
        session.fail('there was no room for what was reserved');
      throw error;
    }
  }
}
