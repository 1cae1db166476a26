/**
 * Cuts a byte stream into frames: the receiving half of a connection, used by client and server.
 *
 * Owns: partial frames, the position in an inline payload, and what is left over while paused. A frame that arrives whole
 * is handed on in place, without a copy; one that arrives in parts is collected in a buffer of its own. Inline payloads go
 * straight to the memory that the receiver names. Everything is bounded by `limits`; whatever breaks a rule ends in one call of `broken`.
 *
 * It does not send, and knows no methods.
 */
import { assert } from '../base/assert.ts';
import {
  bulkMode,
  decodeFrameHeader,
  emptyFrameHeader,
  FRAME_HEADER_BYTES,
  type FrameHeader,
} from '../format/frame.ts';
import type { Kernels } from '../platform/platform.ts';

export interface FrameLimits {
  bodyBytes: number;
  payloadBytes: number;
}

export interface FrameReceiver {
  /**
   * May this frame be taken in now? Asked before its inline payload is. False pauses the stream until `resume`, which asks again. The
   * header is only valid during the call, here and below.
   */
  admit(header: FrameHeader): boolean;
  /** Memory for an inline payload, of at least its length; undefined drops the bytes. Asked once, after admit. */
  payloadTarget(header: FrameHeader): Uint8Array | undefined;
  /** A whole frame. `body` is valid during the call; `payload` is what payloadTarget gave, cut to length. */
  frame(header: FrameHeader, body: Buffer, payload: Uint8Array | undefined): void;
  /** The stream broke a rule; it delivers nothing any more. */
  broken(reason: string): void;
}

const EMPTY = Buffer.alloc(0);

export class FrameStream {
  readonly #kernels: Kernels;
  readonly #receiver: FrameReceiver;
  readonly #limits: FrameLimits;
  readonly #header: FrameHeader = emptyFrameHeader();
  /** Start of a frame whose rest has not arrived: #partial[0..#partialBytes). */
  #partial: Buffer = EMPTY;
  #partialBytes = 0;
  /** An inline payload is arriving: its frame's body is kept in #body, its header in #header. */
  #payloadLeft = 0;
  #payload: Uint8Array | undefined;
  #body: Buffer = EMPTY;
  #paused = false;
  /** Bytes that came while paused, or were left when the pause began. */
  #waiting: Buffer[] = [];
  #ended = false;

  constructor(kernels: Kernels, limits: FrameLimits, receiver: FrameReceiver) {
    this.#kernels = kernels;
    this.#limits = limits;
    this.#receiver = receiver;
  }

  get paused(): boolean {
    return this.#paused;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** No more calls to the receiver. */
  end(): void {
    this.#ended = true;
    this.#waiting = [];
    this.#partial = EMPTY;
    this.#payload = undefined;
  }

  /** Whatever is left of the payload that is arriving is dropped: its memory is wanted back. */
  dropPayload(): void {
    this.#payload = undefined;
  }

  push(bytes: Uint8Array): void {
    if (this.#ended) return;
    if (this.#paused) {
      this.#waiting.push(Buffer.from(bytes));
      return;
    }
    const chunk = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    const taken = this.#consume(chunk);
    if (this.#paused && taken < chunk.length) this.#waiting.push(Buffer.from(chunk.subarray(taken)));
  }

  /** Asks the receiver again after a pause. */
  resume(): void {
    if (!this.#paused || this.#ended) return;
    this.#paused = false;
    if (this.#partialBytes > 0 && !this.#continuePartial()) return;
    while (this.#waiting.length > 0 && !this.#paused && !this.#ended) {
      const chunk = this.#waiting.shift()!;
      const taken = this.#consume(chunk);
      if (this.#paused && taken < chunk.length) this.#waiting.unshift(chunk.subarray(taken));
    }
  }

  /** Returns how many bytes of the chunk were used up: all of them, unless paused or broken. */
  #consume(chunk: Buffer): number {
    let at = 0;
    while (at < chunk.length && !this.#ended && !this.#paused) {
      if (this.#payloadLeft > 0) at += this.#takePayload(chunk, at);
      else if (this.#partialBytes > 0) at += this.#extendPartial(chunk, at);
      else at += this.#takeFrame(chunk, at);
    }
    return at;
  }

  /** A frame starts at `at`. */
  #takeFrame(chunk: Buffer, at: number): number {
    const available = chunk.length - at;
    if (available < FRAME_HEADER_BYTES) return this.#startPartial(chunk, at, FRAME_HEADER_BYTES);
    if (!this.#readHeader(chunk, at)) return available;
    const wholeBytes = FRAME_HEADER_BYTES + this.#header.bodyBytes;
    if (available < wholeBytes) return this.#startPartial(chunk, at, wholeBytes);
    return this.#deliver(chunk, at) ? wholeBytes : 0;
  }

  #startPartial(chunk: Buffer, at: number, wholeBytes: number): number {
    this.#partial = Buffer.allocUnsafe(wholeBytes);
    this.#partialBytes = chunk.copy(this.#partial, 0, at);
    return this.#partialBytes;
  }

  #extendPartial(chunk: Buffer, at: number): number {
    const taken = chunk.copy(this.#partial, this.#partialBytes, at, at + this.#missing());
    this.#partialBytes += taken;
    if (this.#missing() === 0) this.#continuePartial();
    return taken;
  }

  #missing(): number {
    return this.#partial.length - this.#partialBytes;
  }

  /** The partial buffer is full: it holds a header, whose body may make it longer, or a whole frame. */
  #continuePartial(): boolean {
    if (!this.#readHeader(this.#partial, 0)) return false;
    const wholeBytes = FRAME_HEADER_BYTES + this.#header.bodyBytes;
    if (this.#partial.length < wholeBytes) {
      const longer = Buffer.allocUnsafe(wholeBytes);
      this.#partial.copy(longer, 0, 0, this.#partialBytes);
      this.#partial = longer;
      return true;
    }
    const frame = this.#partial;
    if (!this.#deliver(frame, 0)) return false;
    this.#partial = EMPTY;
    this.#partialBytes = 0;
    return true;
  }

  #readHeader(bytes: Buffer, at: number): boolean {
    const header = this.#header;
    const wrong = decodeFrameHeader(bytes, at, header);
    if (wrong !== undefined) return this.#fail(wrong);
    if (header.bodyBytes > this.#limits.bodyBytes) return this.#fail(`body of ${header.bodyBytes} bytes`);
    if (header.payloadBytes > this.#limits.payloadBytes || header.intoBytes > this.#limits.payloadBytes) {
      return this.#fail(`payload of ${Math.max(header.payloadBytes, header.intoBytes)} bytes`);
    }
    return true;
  }

  /** Header and body are in place. False: not admitted now, or broken. */
  #deliver(bytes: Buffer, at: number): boolean {
    const header = this.#header;
    const end = at + FRAME_HEADER_BYTES + header.bodyBytes;
    if (this.#kernels.crc32c(bytes.subarray(at + 4, end)) !== bytes.readUInt32LE(at)) {
      return this.#fail('wrong checksum');
    }
    if (!this.#receiver.admit(header)) {
      this.#paused = !this.#ended;
      return false;
    }
    const body = header.bodyBytes === 0 ? EMPTY : bytes.subarray(at + FRAME_HEADER_BYTES, end);
    if (header.payloadMode !== bulkMode.inline) {
      this.#receiver.frame(header, body, undefined);
      return true;
    }
    const target = this.#receiver.payloadTarget(header);
    assert(target === undefined || target.length >= header.payloadBytes, 'the payload fits its target');
    if (header.payloadBytes === 0) {
      this.#receiver.frame(header, body, target?.subarray(0, 0));
      return true;
    }
    this.#payload = target?.subarray(0, header.payloadBytes);
    this.#payloadLeft = header.payloadBytes;
    this.#body = Buffer.from(body);
    return true;
  }

  #takePayload(chunk: Buffer, at: number): number {
    const taken = Math.min(this.#payloadLeft, chunk.length - at);
    if (this.#payload !== undefined) {
      this.#payload.set(chunk.subarray(at, at + taken), this.#header.payloadBytes - this.#payloadLeft);
    }
    this.#payloadLeft -= taken;
    if (this.#payloadLeft > 0) return taken;
    const payload = this.#payload;
    const body = this.#body;
    this.#payload = undefined;
    this.#body = EMPTY;
    if (payload !== undefined && this.#kernels.crc32c(payload) !== this.#header.payloadChecksum) {
      this.#fail('wrong payload checksum');
      return taken;
    }
    this.#receiver.frame(this.#header, body, payload);
    return taken;
  }

  #fail(reason: string): false {
    this.end();
    this.#receiver.broken(reason);
    return false;
  }
}
