/**
 * The reply being built, in the channel's reply buffer: header, fixed body, and parts that lie elsewhere.
 *
 * One object for the life of a session. A reply is built and sent in one turn, also for requests whose result came later.
 */
import { KIB } from '../base/units.ts';
import { OUT_HEADER_BYTES } from './protocol.ts';

const REPLY_BUFFER_BYTES = KIB;

export class Reply {
  readonly buffer: Buffer;
  /** The body, word 0 directly behind the header. */
  readonly body: Uint32Array;
  readonly #header: Int32Array;
  /** Bytes of the body in use. */
  bodyBytes = 0;
  parts: readonly Uint8Array[] | undefined;

  constructor() {
    const memory = new ArrayBuffer(REPLY_BUFFER_BYTES);
    this.buffer = Buffer.from(memory);
    this.body = new Uint32Array(memory, OUT_HEADER_BYTES);
    this.#header = new Int32Array(memory, 0, OUT_HEADER_BYTES / 4);
  }

  /** Starts a reply. `errno` is positive, or 0 for success. The channel fills the length in. */
  begin(uniqueLow: number, uniqueHigh: number, errno: number): void {
    this.#header[1] = -errno;
    this.#header[2] = uniqueLow;
    this.#header[3] = uniqueHigh;
    this.bodyBytes = 0;
    this.parts = undefined;
  }

  get headBytes(): number {
    return OUT_HEADER_BYTES + this.bodyBytes;
  }
}
