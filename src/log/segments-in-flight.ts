/**
 * The sealed segments of a writer that are on their way to the nodes, in the order of their ids. That is the order in which they are handed over: one that
 * is durable waits for those in front of it. Owns what flights share, with their count of ticks.
 *
 * One segment's way is segment-flight.ts. When ticks pass, and what it means that nothing gets on, is for segment-writer.ts to say.
 */
import { BLOCK_BYTES } from '../base/units.ts';
import type { DurableSegment } from './log.ts';
import type { SegmentBuffer } from './segment-buffer.ts';
import { type FlightContext, SegmentFlight } from './segment-flight.ts';

export type SharedByFlights = Omit<FlightContext, 'zeroBlockChecksum' | 'tick' | 'onProgress' | 'onDone'>;

export class SegmentsInFlight {
  readonly #context: FlightContext;
  readonly #onDurable: (segment: DurableSegment) => void;
  readonly #onHandedOver: () => void;
  /** Sealed and not handed over yet. */
  readonly #flights: SegmentFlight[] = [];
  #progressTick = 0;
  /** Handed over so far, and how many of them were not stored as they were first laid out. */
  written = 0;
  rewritten = 0;

  /** `onHandedOver` follows `onDurable`, once for all that could be handed over in one turn. */
  constructor(
    shared: SharedByFlights,
    onDurable: (segment: DurableSegment) => void,
    onHandedOver: () => void,
  ) {
    this.#onDurable = onDurable;
    this.#onHandedOver = onHandedOver;
    this.#context = {
      ...shared,
      zeroBlockChecksum: shared.kernels.crc32c(Buffer.alloc(BLOCK_BYTES)),
      tick: 0,
      onProgress: () => {
        this.#progressTick = this.#context.tick;
      },
      onDone: () => this.#handOver(),
    };
  }

  get count(): number {
    return this.#flights.length;
  }

  /** Those without nodes yet. */
  get unplaced(): number {
    let unplaced = 0;
    for (const flight of this.#flights) if (flight.unplaced) unplaced++;
    return unplaced;
  }

  get lackRoom(): boolean {
    return this.#flights.some((flight) => flight.lacksRoom);
  }

  /** So long no fragment has become durable although some are on their way and there is room for them. */
  get stuckTicks(): number {
    return this.#flights.length === 0 ? 0 : this.#context.tick - this.#progressTick;
  }

  /** The buffer is finished, and of a later segment than all before. */
  launch(buffer: SegmentBuffer): SegmentFlight {
    const flight = new SegmentFlight(buffer, this.#context);
    if (this.#flights.length === 0) this.#progressTick = this.#context.tick;
    this.#flights.push(flight);
    flight.advance();
    return flight;
  }

  passTick(): void {
    this.#context.tick++;
    // Nodes that are full answer: waiting for room says nothing about those that do not.
    if (this.lackRoom) this.#progressTick = this.#context.tick;
  }

  advance(): void {
    for (const flight of [...this.#flights]) flight.advance();
  }

  #handOver(): void {
    for (let flight = this.#flights[0]; flight?.done; flight = this.#flights[0]) {
      this.#flights.shift();
      this.written++;
      if (flight.rewritten) this.rewritten++;
      const { buffer } = flight;
      this.#onDurable({ record: flight.record, contents: buffer.contents(buffer.blockCount) });
    }
    this.#onHandedOver();
  }

  /** The writer closes. */
  abandon(): void {
    for (const flight of this.#flights) flight.abandon();
  }
}
