/**
 * Writers that never rest, to see how long an application waits when a part of the cluster is lost under it: the gap between two writes of a writer
 * that end, one of them syncing each write. A gap over the promised bound fails the run.
 *
 * What an application sees of a mount that dies is an error and no pause; the gap counts from when the mount that follows was started.
 */
import type { MountedFileSystem, Workload, WorkloadContext } from '../contract.ts';
import { CheckFailed } from '../contract.ts';
import { Histogram } from '../histogram.ts';
import { finish, repeat } from './loop.ts';
import { pattern } from './pattern.ts';
import { TrackedFile } from './tracked-file.ts';

export interface SteadyOptions {
  readonly promisedMs: number;
}

const FILE_BYTES = 256 * 1024;
const WRITE_BYTES = 4096;
/** A processor of the simulation is infinitely fast: without a pause a writer would do nothing but fill its run. */
const MEAN_PAUSE_MS = 25;

interface Writer {
  readonly file: TrackedFile;
  readonly syncs: boolean;
  writes: number;
}

export class SteadyWorkload implements Workload {
  readonly name = 'steady';
  readonly gaps = new Histogram();
  readonly #options: SteadyOptions;
  readonly #writers: readonly Writer[] = [
    { file: new TrackedFile('written'), syncs: false, writes: 0 },
    { file: new TrackedFile('synced'), syncs: true, writes: 0 },
  ];

  constructor(options: SteadyOptions) {
    this.#options = options;
  }

  async run(context: WorkloadContext): Promise<void> {
    await Promise.all(this.#writers.map((writer) => this.#write(context, writer)));
  }

  check(context: WorkloadContext): Promise<void> {
    return finish(context, this.name, async (session) => {
      const directory = await session.directory(this.name);
      for (const { file } of this.#writers) {
        await file.ready(session, directory);
        await file.verify();
        await file.release();
      }
    });
  }

  #write(context: WorkloadContext, writer: Writer): Promise<void> {
    const { file, syncs } = writer;
    const { scheduler } = context.world;
    const dice = context.dice.fork(file.name);
    let last: { endedMs: number; mount: MountedFileSystem } | undefined;
    return repeat(context, this.name, async (session) => {
      await file.ready(session, await session.directory(this.name));
      const offsetBytes = (writer.writes * WRITE_BYTES) % FILE_BYTES;
      writer.writes += 1;
      await file.write(offsetBytes, pattern(writer.writes, offsetBytes, WRITE_BYTES));
      if (syncs) await file.fsync();
      const endedMs = scheduler.nowMs;
      const { mount } = session;
      if (last !== undefined) {
        const sinceMs = last.mount === mount ? last.endedMs : Math.max(last.endedMs, mount.startedAtMs);
        this.#note(file.name, endedMs - sinceMs);
      }
      last = { endedMs, mount };
      await context.sleep(dice.exponential(MEAN_PAUSE_MS));
      return undefined;
    });
  }

  #note(writer: string, gapMs: number): void {
    this.gaps.add(gapMs);
    const { promisedMs } = this.#options;
    if (gapMs <= promisedMs) return;
    throw new CheckFailed(
      `the writer ${writer} waited ${gapMs.toFixed(0)} ms between two writes, and ${promisedMs} ms are promised`,
    );
  }
}
