/**
 * Files that are read over and over and overwritten now and then, and an owner who makes the policy of extra copies eager, or usual again, or switches
 * copies off: so copies are made and dropped all the time. Every byte that is read is checked. When all is calm again either the copies stay, for the
 * checks of the volume to look at, or they are switched off and have to go.
 */
import { MetadataUnavailable } from '../../metadata/metadata.ts';
import { DEFAULT_COPY_SETTINGS } from '../../replicator/copies/copy-keeper.ts';
import type { Upkeep } from '../../replicator/upkeep.ts';
import { CheckFailed, MountLost, type Workload, type WorkloadContext } from '../contract.ts';
import { finish, pause, repeat } from './loop.ts';
import { pattern } from './pattern.ts';
import { TrackedFile } from './tracked-file.ts';

const FILE_BYTES = 192 * 1024;
const WRITE_BYTES = 16 * 1024;
const FILES = 3;
/** Whatever is read now is hot, and soon forgotten. */
const EAGER = { enabled: true, windowSeconds: 1, readsPerDay: 1000, busyBytesPerSecond: 1 };
const BOUND_MS = 60_000;
const POLL_MS = 50;

interface HotFile {
  readonly file: TrackedFile;
  writes: number;
}

export class HotWorkload implements Workload {
  readonly name = 'hot';
  readonly #files: readonly HotFile[] = Array.from({ length: FILES }, (_, index) => ({
    file: new TrackedFile(`hot${index}`),
    writes: 0,
  }));

  async run(context: WorkloadContext): Promise<void> {
    await Promise.all([this.#own(context), ...this.#files.map((hot) => this.#use(context, hot))]);
  }

  #use(context: WorkloadContext, hot: HotFile): Promise<void> {
    const dice = context.dice.fork(hot.file.name);
    return repeat(context, this.name, async (session) => {
      await hot.file.ready(session, await session.directory(this.name));
      if (hot.writes < FILE_BYTES / WRITE_BYTES || dice.chance(0.02)) {
        const offsetBytes = (hot.writes * WRITE_BYTES) % FILE_BYTES;
        hot.writes++;
        await hot.file.write(offsetBytes, pattern(hot.writes, offsetBytes, WRITE_BYTES));
        if (dice.chance(0.2)) await hot.file.fsync();
      } else await hot.file.verify();
      await pause(context, dice);
      return undefined;
    });
  }

  /** The settings. */
  async #own(context: WorkloadContext): Promise<void> {
    const dice = context.dice.fork('owner');
    while (!context.stopping) {
      try {
        const { volume } = await context.mounted();
        const kind = dice.below(10);
        context.world.trace.event('hot', { kind });
        if (kind < 6) volume.upkeep.changeCopies(EAGER);
        else if (kind < 8) volume.upkeep.changeCopies({ enabled: false });
        else volume.upkeep.changeCopies(DEFAULT_COPY_SETTINGS);
      } catch (error) {
        if (error instanceof MountLost) return;
        if (!(error instanceof MetadataUnavailable)) throw error;
      }
      await context.sleep(200 + dice.below(3_000));
    }
  }

  async check(context: WorkloadContext): Promise<void> {
    await finish(context, this.name, async (session) => {
      const directory = await session.directory(this.name);
      for (const { file } of this.#files) {
        await file.ready(session, directory);
        await file.verify();
        await file.release();
      }
    });
    const { upkeep } = (await context.mounted()).volume;
    const { copies, made, dropped } = upkeep.copies();
    context.world.trace.event('hot-checked', { copies, made, dropped });
    if (context.dice.chance(0.5)) upkeep.changeCopies({ enabled: true, windowSeconds: 10_000 });
    else await this.#dropAll(context, upkeep);
  }

  async #dropAll(context: WorkloadContext, upkeep: Upkeep): Promise<void> {
    upkeep.changeCopies({ enabled: false });
    for (let waitedMs = 0; upkeep.copies().copies > 0; waitedMs += POLL_MS) {
      if (waitedMs >= BOUND_MS) throw new CheckFailed(`${upkeep.copies().copies} copies do not go`);
      await context.sleep(POLL_MS);
    }
  }
}
