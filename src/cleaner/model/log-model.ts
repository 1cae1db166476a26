/**
 * A model of a log under overwrites: which policies copy how much. Blocks and segments are numbers in arrays, nothing is stored.
 *
 * The volume is filled once and then overwritten at random; the cleaner runs whenever free segments fall below a reserve and cleans one at a
 * time. Write amplification is what went to the log, users' blocks and moved ones, over users' blocks, after a warm-up.
 */
import { assert } from '../../base/assert.ts';
import type { Separation } from '../separation.ts';
import type { VictimPolicy } from '../victims.ts';

export interface LogModelOptions {
  readonly segments: number;
  readonly blocksPerSegment: number;
  /** Share of the volume's blocks that hold live data, below 1. */
  readonly utilisation: number;
  readonly policy: VictimPolicy;
  readonly separation: Separation;
  /** The next block to overwrite, in [0, liveBlocks). */
  readonly nextBlock: () => number;
  /** Blocks written before counting begins, and while it lasts, in multiples of the live blocks. */
  readonly warmUpRounds: number;
  readonly measuredRounds: number;
}

export interface LogModelResult {
  readonly writeAmplification: number;
  /** Mean share of live blocks in the segments that were cleaned. */
  readonly cleanedUtilisation: number;
}

const NONE = -1;

class LogModel {
  readonly #options: LogModelOptions;
  readonly #blocks: number;
  /** Of each live block: where it is, and when its user wrote it. */
  readonly #place: Int32Array;
  readonly #writtenAt: Float64Array;
  /** Which block each place was written for. */
  readonly #holder: Int32Array;
  readonly #live: Int32Array;
  readonly #filled: Int32Array;
  readonly #openedAt: Float64Array;
  readonly #writtenLast: Float64Array;
  readonly #class: Int8Array;
  readonly #free: number[] = [];
  readonly #open: Int32Array;
  readonly #reserve: number;
  /** Blocks that users wrote. */
  #now = 0;
  moved = 0;
  cleanedSegments = 0;
  cleanedLive = 0;

  constructor(options: LogModelOptions) {
    const { segments, blocksPerSegment, utilisation, separation } = options;
    this.#options = options;
    this.#blocks = Math.floor(segments * blocksPerSegment * utilisation);
    this.#reserve = separation.classes + 2;
    const spare = segments - Math.ceil(this.#blocks / blocksPerSegment);
    assert(spare > this.#reserve + separation.classes, 'there is room to clean in');
    this.#place = new Int32Array(this.#blocks).fill(NONE);
    this.#writtenAt = new Float64Array(this.#blocks);
    this.#holder = new Int32Array(segments * blocksPerSegment).fill(NONE);
    this.#live = new Int32Array(segments);
    this.#filled = new Int32Array(segments);
    this.#openedAt = new Float64Array(segments);
    this.#writtenLast = new Float64Array(segments);
    this.#class = new Int8Array(segments);
    this.#open = new Int32Array(separation.classes).fill(NONE);
    for (let segment = segments - 1; segment >= 0; segment--) this.#free.push(segment);
  }

  fill(): void {
    for (let block = 0; block < this.#blocks; block++) this.#userWrite(block);
  }

  overwrite(rounds: number): number {
    const writes = Math.round(rounds * this.#blocks);
    for (let i = 0; i < writes; i++) this.#userWrite(this.#options.nextBlock());
    return writes;
  }

  #userWrite(block: number): void {
    while (this.#free.length <= this.#reserve) this.#cleanOne();
    const isFirst = this.#place[block] === NONE;
    const lifespan = isFirst ? Number.POSITIVE_INFINITY : this.#now - this.#writtenAt[block]!;
    this.#now++;
    this.#writtenAt[block] = this.#now;
    this.#append(block, this.#options.separation.classOfUserWrite(lifespan));
  }

  #append(block: number, into: number): void {
    const { blocksPerSegment } = this.#options;
    const old = this.#place[block]!;
    if (old !== NONE) this.#live[Math.floor(old / blocksPerSegment)]!--;
    let segment = this.#open[into]!;
    if (segment === NONE) {
      segment = this.#free.pop() ?? NONE;
      assert(segment !== NONE, 'the reserve suffices');
      this.#open[into] = segment;
      this.#openedAt[segment] = this.#now;
      this.#class[segment] = into;
    }
    const place = segment * blocksPerSegment + this.#filled[segment]!++;
    this.#holder[place] = block;
    this.#place[block] = place;
    this.#live[segment]!++;
    this.#writtenLast[segment] = this.#now;
    if (this.#filled[segment] === blocksPerSegment) this.#open[into] = NONE;
  }

  #cleanOne(): void {
    const { blocksPerSegment, separation } = this.#options;
    const victim = this.#victim();
    const from = this.#class[victim]!;
    this.cleanedSegments++;
    this.cleanedLive += this.#live[victim]!;
    separation.cleaned(from, this.#now - this.#openedAt[victim]!);
    const first = victim * blocksPerSegment;
    for (let place = first; place < first + blocksPerSegment; place++) {
      const block = this.#holder[place]!;
      if (this.#place[block] !== place) continue;
      this.moved++;
      this.#append(block, separation.classOfRewrite(from, this.#now - this.#writtenAt[block]!));
    }
    assert(this.#live[victim] === 0, 'a cleaned segment is empty');
    this.#filled[victim] = 0;
    this.#free.push(victim);
  }

  #victim(): number {
    const { segments, blocksPerSegment, policy } = this.#options;
    let best = NONE;
    let bestScore = 0;
    for (let segment = 0; segment < segments; segment++) {
      if (this.#filled[segment] !== blocksPerSegment) continue;
      const liveBlocks = this.#live[segment]!;
      if (liveBlocks === blocksPerSegment) continue;
      const ageBlocks = this.#now - this.#writtenLast[segment]!;
      const score = policy.score({ liveBlocks, blocks: blocksPerSegment, ageBlocks });
      if (score <= bestScore) continue;
      best = segment;
      bestScore = score;
    }
    assert(best !== NONE, 'a volume that is not full has dead blocks');
    return best;
  }
}

export function modelLog(options: LogModelOptions): LogModelResult {
  const model = new LogModel(options);
  model.fill();
  model.overwrite(options.warmUpRounds);
  const { moved, cleanedSegments, cleanedLive } = model;
  const written = model.overwrite(options.measuredRounds);
  const cleanedBlocks = (model.cleanedSegments - cleanedSegments) * options.blocksPerSegment;
  return {
    writeAmplification: (written + model.moved - moved) / written,
    cleanedUtilisation: cleanedBlocks === 0 ? 0 : (model.cleanedLive - cleanedLive) / cleanedBlocks,
  };
}
