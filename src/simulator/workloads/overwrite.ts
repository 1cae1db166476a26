/** Random overwrites of one file, small and large, aligned and not, some synced, with reads in between: what a cleaner runs under. */
import { BLOCK_BYTES } from '../../base/units.ts';
import type { Dice, Workload, WorkloadContext } from '../contract.ts';
import { finish, pause, repeat } from './loop.ts';
import { pattern } from './pattern.ts';
import type { Session } from './session.ts';
import { TrackedFile } from './tracked-file.ts';

export interface OverwriteOptions {
  readonly regionBlocks?: number;
  readonly mostBlocks?: number;
}

export class OverwriteWorkload implements Workload {
  readonly name: string;
  readonly #options: Required<OverwriteOptions>;
  readonly #file = new TrackedFile('region');
  #key = 0;

  constructor(name = 'overwrite', options: OverwriteOptions = {}) {
    this.name = name;
    this.#options = { regionBlocks: 96, mostBlocks: 8, ...options };
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
      await this.#file.ready(session, await session.directory(this.name));
      await this.#file.verify();
      await this.#file.release();
    });
  }

  async #step(session: Session, dice: Dice): Promise<void> {
    const { regionBlocks, mostBlocks } = this.#options;
    await this.#file.ready(session, await session.directory(this.name));
    const isAligned = dice.chance(0.6);
    const unit = isAligned ? BLOCK_BYTES : 1;
    const offsetBytes = dice.below((regionBlocks * BLOCK_BYTES) / unit) * unit;
    const most = Math.min(mostBlocks * BLOCK_BYTES, regionBlocks * BLOCK_BYTES - offsetBytes);
    const lengthBytes = Math.max(1, (1 + dice.below(Math.ceil(most / unit))) * unit);
    this.#key += 1;
    await this.#file.write(offsetBytes, pattern(this.#key, offsetBytes, Math.min(most, lengthBytes)));
    if (dice.chance(0.25)) await this.#file.fsync();
    if (dice.chance(0.2)) await this.#file.readBack(dice.below(regionBlocks) * BLOCK_BYTES, 8 * BLOCK_BYTES);
  }
}
