/**
 * One direction of a connection: an ordered byte stream from one process to another over a link.
 *
 * Bytes wait at the sender until the window lets them go, then they are on the wire or in the receiver's system until the
 * receiver reads; reading opens the window again. What one reading gives has nothing to do with what was sent at once: bytes
 * that arrived are joined and split by the dice. The end of the stream (orderly, or a reset) comes in order behind all bytes.
 *
 * At most one event is scheduled for the receiver at a time, and none while it does not read.
 */
import type { MachineError, Timer } from '../../../platform/platform.ts';
import type { Dice, Gate, Scheduler } from '../../contract.ts';
import type { RollingTrace } from '../trace.ts';
import type { ChunkPool } from './chunk-pool.ts';
import type { Link, LinkUser } from './link.ts';

/** What the systems of both sides hold of a stream whose receiver does not read. */
const WINDOW_BYTES = 1_024 * 1_024;
/** The system takes bytes from the sender in pieces of this size. */
const MAX_SEGMENT_BYTES = 256 * 1_024;
/** The most that one reading gives. */
const READ_BYTES = 64 * 1_024;
/** Readings, out of this many, that end somewhere in the middle, and that take one message only. */
const READING_KINDS = 32;
const SPLIT_READINGS = 2;
const SINGLE_READINGS = 10;

export type StreamEnd = { readonly reason: MachineError | undefined };

/** The receiving end. */
export interface PipeReader {
  readonly gate: Gate;
  /** Whether it wants bytes now. */
  readonly reading: boolean;
  readonly onBytes: (bytes: Uint8Array) => void;
  readonly onEnd: (reason: MachineError | undefined) => void;
}

/** Bytes that were sent at once, or the end. */
interface Segment {
  readonly chunk: Buffer | undefined;
  readonly end: StreamEnd | undefined;
  from: number;
  readonly to: number;
  /** Infinity while the link is cut. */
  arrivesMs: number;
}

export interface PipeWorld {
  readonly scheduler: Scheduler;
  readonly trace: RollingTrace;
  readonly chunks: ChunkPool;
  readonly dice: Dice;
}

export class Pipe implements LinkUser {
  readonly link: Link;
  readonly #world: PipeWorld;
  readonly #writer: Gate;
  readonly #reader: PipeReader;
  /** Whether the way back works, on which the receiver acknowledges. */
  readonly #backLink: Link;
  /** Not yet let go by the window. Its bound is the sender's affair: queuedBytes. */
  readonly #queue: Segment[] = [];
  #queuedBytes = 0;
  /** On the wire and with the receiver's system; the window bounds it. */
  #wire: Segment[] = [];
  #wireHead = 0;
  #wireBytes = 0;
  /** Read by the receiver, but the way back is cut. */
  #unacknowledgedBytes = 0;
  #lastSentMs = -1;
  #lastArrivalMs = 0;
  #delivery: Timer | undefined;
  #refill: Timer | undefined;
  /** When the receiver's machine lost power, which acknowledges nothing that comes later. */
  #receiverLostMs = Infinity;
  #endSent = false;
  #closed = false;

  constructor(world: PipeWorld, link: Link, backLink: Link, writer: Gate, reader: PipeReader) {
    this.#world = world;
    this.link = link;
    this.#backLink = backLink;
    this.#writer = writer;
    this.#reader = reader;
    link.attach(this);
    backLink.attach(this);
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Bytes that the sender's system has to keep, because the receiver's has not acknowledged them. */
  get outstandingBytes(): number {
    const acknowledgedMs = Math.min(this.#world.scheduler.nowMs, this.#receiverLostMs);
    let bytes = this.#queuedBytes + this.#unacknowledgedBytes;
    for (let index = this.#wireHead; index < this.#wire.length; index++) {
      const { from, to, arrivesMs } = this.#wire[index]!;
      if (arrivesMs > acknowledgedMs) bytes += to - from;
    }
    return bytes;
  }

  /** Whether bytes have arrived that the receiver has not read. */
  get hasUnread(): boolean {
    const head = this.#wire[this.#wireHead];
    return head?.chunk !== undefined && head.arrivesMs <= this.#world.scheduler.nowMs;
  }

  send(parts: readonly Uint8Array[]): void {
    if (this.#endSent || this.#closed) return;
    let leftBytes = 0;
    for (const part of parts) leftBytes += part.length;
    let part = 0;
    let partFrom = 0;
    while (leftBytes > 0) {
      const lengthBytes = Math.min(leftBytes, MAX_SEGMENT_BYTES);
      const chunk = this.#world.chunks.take(lengthBytes);
      for (let at = 0; at < lengthBytes; ) {
        const bytes = parts[part]!;
        const taken = Math.min(bytes.length - partFrom, lengthBytes - at);
        chunk.set(taken === bytes.length ? bytes : bytes.subarray(partFrom, partFrom + taken), at);
        at += taken;
        partFrom += taken;
        if (partFrom < bytes.length) continue;
        part++;
        partFrom = 0;
      }
      leftBytes -= lengthBytes;
      this.#queuedBytes += lengthBytes;
      this.#queue.push({ chunk, end: undefined, from: 0, to: lengthBytes, arrivesMs: 0 });
    }
    this.#letGo();
  }

  /** Nothing can be sent after it. */
  sendEnd(reason: MachineError | undefined): void {
    if (this.#endSent || this.#closed) return;
    this.#endSent = true;
    this.#queue.push({ chunk: undefined, end: { reason }, from: 0, to: 0, arrivesMs: 0 });
    this.#letGo();
  }

  /** What the system has not taken yet is forgotten; an end that waited behind it goes now, if there is still somebody to send it. */
  dropQueue(sendEnd = true): void {
    const end = sendEnd ? this.#queue.at(-1)?.end : undefined;
    for (const { chunk } of this.#queue) if (chunk !== undefined) this.#world.chunks.giveBack(chunk);
    this.#queue.length = 0;
    this.#queuedBytes = 0;
    if (end !== undefined) this.#transmit({ chunk: undefined, end, from: 0, to: 0, arrivesMs: 0 });
  }

  /** The receiver wants bytes, or does no longer. */
  readingChanged(): void {
    if (!this.#reader.reading) {
      this.#delivery?.cancel();
      this.#delivery = undefined;
    } else this.#awaitNext();
  }

  receiverLost(): void {
    this.#receiverLostMs = this.#world.scheduler.nowMs;
  }

  /** Nothing of this stream matters to anybody any more. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#delivery?.cancel();
    this.#delivery = undefined;
    this.#refill?.cancel();
    this.link.detach(this);
    this.#backLink.detach(this);
    // The chunks are not given back: the receiver may be closing the connection while it looks at one.
    this.#queue.length = 0;
    this.#queuedBytes = 0;
    this.#wire = [];
    this.#wireHead = 0;
    this.#wireBytes = 0;
  }

  linkCut(link: Link): void {
    if (link !== this.link) return;
    const { nowMs } = this.#world.scheduler;
    for (let index = this.#wireHead; index < this.#wire.length; index++) {
      const segment = this.#wire[index]!;
      if (segment.arrivesMs > nowMs) segment.arrivesMs = Infinity;
    }
    this.#delivery?.cancel();
    this.#delivery = undefined;
    this.#awaitNext();
  }

  linkHealed(link: Link): void {
    if (link === this.#backLink) {
      this.#unacknowledgedBytes = 0;
      if (this.#queue.length > 0) this.#scheduleRefill();
    }
    if (link !== this.link) return;
    const { nowMs } = this.#world.scheduler;
    const arrivesMs = Math.max(this.#lastArrivalMs, nowMs + link.resendDelayMs());
    for (let index = this.#wireHead; index < this.#wire.length; index++) {
      const segment = this.#wire[index]!;
      if (segment.arrivesMs === Infinity) segment.arrivesMs = arrivesMs;
    }
    this.#lastArrivalMs = arrivesMs;
    this.#awaitNext();
  }

  #letGo(): void {
    let taken = 0;
    for (; taken < this.#queue.length; taken++) {
      // The last one may exceed the window a little.
      if (this.#wireBytes + this.#unacknowledgedBytes >= WINDOW_BYTES) break;
      const segment = this.#queue[taken]!;
      this.#queuedBytes -= segment.to - segment.from;
      this.#transmit(segment);
    }
    if (taken === this.#queue.length) this.#queue.length = 0;
    else if (taken > 0) this.#queue.splice(0, taken);
  }

  #transmit(segment: Segment): void {
    const { nowMs } = this.#world.scheduler;
    // What is sent at one moment travels together.
    if (this.link.isCut) segment.arrivesMs = Infinity;
    else {
      if (nowMs !== this.#lastSentMs || this.#lastArrivalMs < nowMs) {
        this.#lastSentMs = nowMs;
        this.#lastArrivalMs = Math.max(this.#lastArrivalMs, nowMs + this.link.delayMs());
      }
      segment.arrivesMs = this.#lastArrivalMs;
    }
    this.#wireBytes += segment.to - segment.from;
    this.#wire.push(segment);
    this.#awaitNext();
  }

  #awaitNext(): void {
    if (this.#delivery !== undefined || this.#closed) return;
    const head = this.#wire[this.#wireHead];
    if (head === undefined || head.arrivesMs === Infinity || !this.#reader.reading) return;
    const delayMs = Math.max(0, head.arrivesMs - this.#world.scheduler.nowMs);
    this.#delivery = this.#reader.gate.after(delayMs, this.#deliver);
  }

  readonly #deliver = (): void => {
    this.#delivery = undefined;
    const head = this.#wire[this.#wireHead]!;
    if (head.end !== undefined) {
      this.#reader.onEnd(head.end.reason);
      return;
    }
    const kind = this.#world.dice.below(READING_KINDS);
    const next = this.#wire[this.#wireHead + 1];
    const joinable =
      next?.chunk !== undefined &&
      next.arrivesMs <= this.#world.scheduler.nowMs &&
      head.to - head.from < READ_BYTES;
    if (joinable && kind >= SINGLE_READINGS) this.#deliverJoined();
    else this.#deliverHead(head, kind < SPLIT_READINGS);
    this.#awaitNext();
  };

  #deliverHead(head: Segment, split: boolean): void {
    const chunk = head.chunk!;
    let lengthBytes = Math.min(head.to - head.from, READ_BYTES);
    if (split) lengthBytes = 1 + this.#world.dice.below(lengthBytes);
    const view = chunk.subarray(head.from, head.from + lengthBytes);
    head.from += lengthBytes;
    const finished = head.from === head.to;
    if (finished) this.#shiftWire();
    this.#consumed(lengthBytes);
    this.#reader.onBytes(view);
    if (finished) this.#world.chunks.giveBack(chunk);
  }

  /** As many messages as one reading takes, up to the middle of one. */
  #deliverJoined(): void {
    const { nowMs } = this.#world.scheduler;
    const joined = this.#world.chunks.take(READ_BYTES);
    let lengthBytes = 0;
    while (lengthBytes < READ_BYTES) {
      const segment = this.#wire[this.#wireHead];
      if (segment?.chunk === undefined || segment.arrivesMs > nowMs) break;
      const taken = Math.min(segment.to - segment.from, READ_BYTES - lengthBytes);
      joined.set(segment.chunk.subarray(segment.from, segment.from + taken), lengthBytes);
      lengthBytes += taken;
      segment.from += taken;
      if (segment.from < segment.to) break;
      this.#world.chunks.giveBack(segment.chunk);
      this.#shiftWire();
    }
    this.#consumed(lengthBytes);
    this.#reader.onBytes(joined.subarray(0, lengthBytes));
    this.#world.chunks.giveBack(joined);
  }

  #shiftWire(): void {
    this.#wireHead++;
    if (this.#wireHead === this.#wire.length) {
      this.#wire.length = 0;
      this.#wireHead = 0;
    } else if (this.#wireHead >= 256) {
      this.#wire.splice(0, this.#wireHead);
      this.#wireHead = 0;
    }
  }

  #consumed(lengthBytes: number): void {
    this.#world.trace.number(lengthBytes);
    this.#wireBytes -= lengthBytes;
    if (this.#backLink.isCut) this.#unacknowledgedBytes += lengthBytes;
    else if (this.#queue.length > 0) this.#scheduleRefill();
  }

  #scheduleRefill(): void {
    if (this.#refill !== undefined) return;
    this.#refill = this.#writer.after(this.#backLink.delayMs(), () => {
      this.#refill = undefined;
      this.#letGo();
    });
  }
}
