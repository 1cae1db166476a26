/**
 * Large files written from their beginning to their end, synced, and read back from the beginning, over and over: in place of the old
 * contents, or after a truncation. Reads follow each other, so that they are read ahead.
 */
import type { Workload, WorkloadContext } from '../contract.ts';
import { finish, pause, repeat } from './loop.ts';
import { pattern } from './pattern.ts';
import type { Session } from './session.ts';
import { TrackedFile } from './tracked-file.ts';

export interface StreamOptions {
  readonly fileBytes?: number;
  readonly chunkBytes?: number;
}

export class StreamWorkload implements Workload {
  readonly name: string;
  readonly #options: Required<StreamOptions>;
  readonly #file = new TrackedFile('stream');
  #key = 0;
  /** Where the present pass has got to. */
  #offsetBytes = Number.POSITIVE_INFINITY;

  constructor(name = 'stream', options: StreamOptions = {}) {
    this.name = name;
    this.#options = { fileBytes: 1536 * 1024, chunkBytes: 128 * 1024, ...options };
  }

  run(context: WorkloadContext): Promise<void> {
    return repeat(context, this.name, async (session) => {
      await this.#step(session, context);
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

  async #step(session: Session, { dice }: WorkloadContext): Promise<void> {
    const { fileBytes, chunkBytes } = this.#options;
    await this.#file.ready(session, await session.directory(this.name));
    if (this.#offsetBytes < fileBytes) {
      const lengthBytes = Math.min(chunkBytes, fileBytes - this.#offsetBytes);
      await this.#file.write(this.#offsetBytes, pattern(this.#key, this.#offsetBytes, lengthBytes));
      this.#offsetBytes += lengthBytes;
      return;
    }
    if (this.#key > 0) {
      await this.#file.fsync();
      await this.#file.verify();
    }
    this.#key += 1;
    if (dice.chance(0.3)) await this.#file.truncate();
    this.#offsetBytes = 0;
  }
}
