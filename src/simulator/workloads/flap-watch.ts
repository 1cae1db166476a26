/**
 * Watches that nodes which go and come back cause no storm. It asks for some availability once, so that layouts are chosen; otherwise it only looks on.
 *
 * What may happen to segments is bounded by what happened to nodes. An absence over the grace period may have each segment rebuilt once. A time in which no node came
 * or went for as long as nodes take to settle may have each made wider once and moved once, for even use. Another layout may have each laid out once, and may only be
 * taken as often as the planner's hysteresis allows. Shorter absences may cost what was on its way, and nothing else.
 */
import { MetadataUnavailable } from '../../metadata/metadata.ts';
import {
  CheckFailed,
  type MountedFileSystem,
  MountLost,
  type Workload,
  type WorkloadContext,
} from '../contract.ts';

export interface FlapTimes {
  readonly graceMs: number;
  readonly layoutSettleMs: number;
}

const TARGETS = [1e-2, 1e-4, 1e-6, 1e-8];
const POLL_MS = 10;
/** The watch looks now and then, and clocks drift. */
const TOLERANCE_MS = 30;
/** In memory, in the hands of workers, in a batch that was begun. */
const SEGMENTS_UNDER_WAY = 32;

export class FlapWatch implements Workload {
  readonly name = 'flap-watch';
  readonly #times: FlapTimes;
  #hasAsked = false;

  constructor(times: FlapTimes) {
    this.#times = times;
  }

  async run(context: WorkloadContext): Promise<void> {
    let watch: MountWatch | undefined;
    while (!context.stopping) {
      try {
        const mount = await context.mounted();
        if (watch?.mount !== mount) {
          watch?.end();
          watch = new MountWatch(context, mount, this.#times);
        }
        if (!this.#hasAsked) mount.volume.upkeep.adapter.setTarget(context.dice.pick(TARGETS));
        this.#hasAsked = true;
        watch.look();
      } catch (error) {
        if (error instanceof MountLost) break;
        if (!(error instanceof MetadataUnavailable)) throw error;
      }
      await context.sleep(POLL_MS);
    }
    watch?.end();
  }

  /** The checkers see that everything is whole. */
  async check(): Promise<void> {}
}

/** As one mount does and sees it. */
class MountWatch {
  readonly mount: MountedFileSystem;
  readonly #context: WorkloadContext;
  readonly #times: FlapTimes;
  readonly #startedMs: number;
  /** Nodes without a connection, and since when; undefined: what that may cost is counted. */
  readonly #away = new Map<number, number | undefined>();
  #lastChangeMs: number;
  #isSettledCounted = false;
  #changes = 0;
  #longAbsences = 0;
  #settledTimes = 0;
  #layout: string;
  #layoutChanges = 0;
  #mostSegments = 0;
  /** Segments that were laid out anew, over and over if need be. */
  #laidAnew = 0;
  readonly #healedBefore: number;
  readonly #unobserve: readonly (() => void)[];

  constructor(context: WorkloadContext, mount: MountedFileSystem, times: FlapTimes) {
    this.mount = mount;
    this.#context = context;
    this.#times = times;
    this.#startedMs = this.#lastChangeMs = this.#nowMs;
    this.#layout = this.#layoutNow();
    const { links, metadata } = mount.volume;
    for (const link of links.links.values()) if (link.state === 'down') this.#away.set(link.id, this.#nowMs);
    this.#healedBefore = mount.volume.upkeep.heal().healedSegments;
    const unlisten = links.onChange((link) => {
      if ((link.state === 'down') === this.#away.has(link.id)) return;
      if (link.state === 'down') this.#away.set(link.id, this.#nowMs);
      else this.#away.delete(link.id);
      this.#lastChangeMs = this.#nowMs;
      this.#isSettledCounted = false;
      this.#changes += 1;
    });
    const unobserve = metadata.observeSegments({
      committed: () => undefined,
      liveChanged: () => undefined,
      forgotten: () => undefined,
      laidAnew: () => {
        this.#laidAnew += 1;
      },
    });
    this.#unobserve = [unlisten, unobserve];
  }

  end(): void {
    for (const unobserve of this.#unobserve) unobserve();
  }

  get #nowMs(): number {
    return this.#context.world.scheduler.nowMs;
  }

  #layoutNow(): string {
    const { dataFragments, parityFragments } = this.mount.volume.upkeep.adapter.layout;
    return `${dataFragments}+${parityFragments}`;
  }

  look(): void {
    const { graceMs } = this.#times;
    for (const [nodeId, sinceMs] of this.#away) {
      if (sinceMs === undefined || this.#nowMs - sinceMs < graceMs - TOLERANCE_MS) continue;
      this.#away.set(nodeId, undefined);
      this.#longAbsences += 1;
    }
    if (!this.#isSettledCounted && this.#nowMs - this.#lastChangeMs >= graceMs - TOLERANCE_MS) {
      this.#isSettledCounted = true;
      this.#settledTimes += 1;
    }
    const layout = this.#layoutNow();
    if (layout !== this.#layout) this.#layoutChanges += 1;
    this.#layout = layout;
    this.#mostSegments = Math.max(this.#mostSegments, this.mount.volume.metadata.totals().segments);
    this.#judge();
  }

  #judge(): void {
    const elapsedMs = this.#nowMs - this.#startedMs;
    // What was asked for is chosen at once.
    const mostLayouts = 1 + Math.floor((elapsedMs + TOLERANCE_MS) / this.#times.layoutSettleMs);
    const each = this.#mostSegments + SEGMENTS_UNDER_WAY;
    // The first is what the mount before this one left to be done.
    const passes = 1 + this.#longAbsences + 2 * this.#settledTimes + this.#layoutChanges;
    const most = passes * each + this.#changes * SEGMENTS_UNDER_WAY;
    const what = `${this.#changes} changes of nodes, ${this.#longAbsences} long absences, ${this.#settledTimes} settled times, ${this.#layoutChanges} changes of the layout, ${this.#mostSegments} segments in ${elapsedMs.toFixed(0)} ms`;
    if (this.#layoutChanges > mostLayouts)
      throw new CheckFailed(`the layout changed more than ${mostLayouts} times: ${what}`);
    if (this.#laidAnew > most)
      throw new CheckFailed(`${this.#laidAnew} segments were laid out anew, more than ${most}: ${what}`);
    const healedSegments = this.mount.volume.upkeep.heal().healedSegments - this.#healedBefore;
    const mostHealed = this.#longAbsences * each + this.#changes * SEGMENTS_UNDER_WAY;
    if (healedSegments > mostHealed)
      throw new CheckFailed(`${healedSegments} segments were rebuilt, more than ${mostHealed}: ${what}`);
  }
}
