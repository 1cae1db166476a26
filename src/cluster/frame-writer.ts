/**
 * Puts frames on a connection: the sending half, used by client and server.
 *
 * Small frames are collected in one buffer and leave with `flush`, so that those of one turn share a system call; the owner flushes before it
 * gives up the turn. Bytes are copied here or taken by the connection before a call returns.
 */
import { bulkMode, encodeFrameHeader, FRAME_HEADER_BYTES, type FrameHeader } from '../format/frame.ts';
import type { Connection, Kernels } from '../platform/platform.ts';

const COLLECT_BYTES = 32 * 1024;

export class FrameWriter {
  readonly #connection: Connection;
  readonly #kernels: Kernels;
  readonly #collected = Buffer.allocUnsafeSlow(COLLECT_BYTES);
  #collectedBytes = 0;

  constructor(connection: Connection, kernels: Kernels) {
    this.#connection = connection;
    this.#kernels = kernels;
  }

  /** Frames are waiting for flush. */
  get pending(): boolean {
    return this.#collectedBytes > 0;
  }

  /**
   * Adds a frame. Fills in the body's length, and for an inline payload its length and checksum; what does not fit in the collecting buffer, and
   * payloads, are sent at once with what was collected before.
   */
  add(header: FrameHeader, body: Uint8Array, inlinePayload?: Uint8Array): void {
    header.bodyBytes = body.length;
    if (header.payloadMode === bulkMode.inline && inlinePayload !== undefined) {
      header.payloadBytes = inlinePayload.length;
      header.payloadChecksum = inlinePayload.length === 0 ? 0 : this.#kernels.crc32c(inlinePayload);
    }
    const frameBytes = FRAME_HEADER_BYTES + body.length;
    if (this.#collectedBytes + frameBytes > COLLECT_BYTES) this.flush();
    if (frameBytes > COLLECT_BYTES) {
      const frame = Buffer.allocUnsafe(frameBytes);
      this.#encode(header, body, frame, 0);
      this.#connection.send(inlinePayload === undefined ? [frame] : [frame, inlinePayload]);
      return;
    }
    this.#encode(header, body, this.#collected, this.#collectedBytes);
    this.#collectedBytes += frameBytes;
    if (inlinePayload !== undefined && inlinePayload.length > 0) {
      const parts = [this.#collected.subarray(0, this.#collectedBytes), inlinePayload];
      this.#collectedBytes = 0;
      this.#connection.send(parts);
    }
  }

  /** A frame with a descriptor attached. Only on connections that pass descriptors. */
  addWithDescriptor(header: FrameHeader, body: Uint8Array, descriptor: number): void {
    this.flush();
    header.hasDescriptor = true;
    header.bodyBytes = body.length;
    const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + body.length);
    this.#encode(header, body, frame, 0);
    this.#connection.descriptors!.send(descriptor, frame);
  }

  flush(): void {
    if (this.#collectedBytes === 0) return;
    const bytes = this.#collected.subarray(0, this.#collectedBytes);
    this.#collectedBytes = 0;
    this.#connection.send([bytes]);
  }

  #encode(header: FrameHeader, body: Uint8Array, frame: Buffer, at: number): void {
    encodeFrameHeader(header, frame, at);
    frame.set(body, at + FRAME_HEADER_BYTES);
    const end = at + FRAME_HEADER_BYTES + body.length;
    frame.writeUInt32LE(this.#kernels.crc32c(frame.subarray(at + 4, end)), at);
  }
}
