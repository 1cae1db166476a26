/** A kernel made of byte arrays: hands requests to a session and collects its replies. */

import type { FileSystem } from '../../../src/filesystem/file-system.ts';
import type { Transport } from '../../../src/fuse/channel.ts';
import { Opcode, REQUEST_HEAD_BYTES } from '../../../src/fuse/protocol.ts';
import type { Reply } from '../../../src/fuse/reply.ts';
import type { Request } from '../../../src/fuse/request.ts';
import { Session } from '../../../src/fuse/session.ts';
import type { Logger, Timers } from '../../../src/platform/platform.ts';

const EAGAIN = -11;

export interface SentReply {
  readonly unique: number;
  readonly error: number;
  readonly body: Buffer;
}

export interface LoggedEvent {
  readonly event: string;
  readonly fields: object;
}

export class SessionDriver {
  readonly session: Session;
  readonly replies: SentReply[] = [];
  readonly logged: LoggedEvent[] = [];
  /** What sending answers instead of taking the reply. */
  sendResult = 0;
  isPolling = false;
  isClosed = false;
  readonly #queue: Buffer[] = [];
  readonly #timers: (() => void)[] = [];
  #onReadable: () => void = () => undefined;
  #nextUnique = 2;

  constructor(fileSystem: FileSystem) {
    const record = (event: string, fields: object = {}) => this.logged.push({ event, fields });
    const log: Logger = { debug: record, info: record, warn: record, error: record, child: () => log };
    const timers: Timers = {
      after: (_delayMs, run) => {
        this.#timers.push(run);
        return { cancel: () => undefined };
      },
      sleep: () => Promise.resolve(),
      defer: (run) => setImmediate(run),
      waitAwake: () => undefined,
    };
    this.session = new Session((...ends) => this.#connect(...ends), { fileSystem, log, timers });
    this.session.initialized.catch(() => undefined);
  }

  /** Queues a request and returns its number. */
  queue(opcode: number, node: number, body: Uint8Array = Buffer.alloc(0), pid = process.pid): number {
    const header = Buffer.alloc(40);
    const unique = this.#nextUnique;
    this.#nextUnique += 2;
    header.writeUInt32LE(40 + body.length, 0);
    header.writeUInt32LE(opcode, 4);
    header.writeBigUInt64LE(BigInt(unique), 8);
    header.writeBigUInt64LE(BigInt(node), 16);
    header.writeUInt32LE(1000, 24);
    header.writeUInt32LE(2000, 28);
    header.writeUInt32LE(pid, 32);
    this.#queue.push(Buffer.concat([header, body]));
    return unique;
  }

  queueRaw(message: Buffer): void {
    this.#queue.push(message);
  }

  get queued(): number {
    return this.#queue.length;
  }

  /** The event loop finds the descriptor readable. */
  turn(): void {
    if (this.isPolling) this.#onReadable();
  }

  /** Queues a request, lets the session have its turn, and returns the reply if there is one already. */
  ask(opcode: number, node: number, body?: Uint8Array, pid?: number): SentReply | undefined {
    const unique = this.queue(opcode, node, body, pid);
    this.turn();
    return this.replyTo(unique);
  }

  replyTo(unique: number): SentReply | undefined {
    return this.replies.find((reply) => reply.unique === unique);
  }

  expireTimers(): void {
    for (const run of this.#timers.splice(0)) run();
  }

  #connect(request: Request, reply: Reply, onReadable: () => void): Transport {
    this.#onReadable = onReadable;
    return {
      poll: (wanted) => {
        this.isPolling = wanted;
      },
      receive: (landing) => this.#receive(request, landing),
      send: () => this.#send(reply),
      notify: () => Promise.resolve(0),
      close: () => {
        this.isClosed = true;
        this.isPolling = false;
      },
    };
  }

  #receive(request: Request, landing: readonly Uint8Array[]): number {
    const message = this.#queue.shift();
    if (message === undefined) return EAGAIN;
    const isWrite = message.length >= 8 && message.readUInt32LE(4) === Opcode.WRITE;
    message.copy(request.buffer, 0, 0, isWrite ? REQUEST_HEAD_BYTES : message.length);
    let rest = isWrite ? message.subarray(REQUEST_HEAD_BYTES) : Buffer.alloc(0);
    for (const part of landing) {
      part.set(rest.subarray(0, part.length));
      rest = rest.subarray(part.length);
    }
    return message.length;
  }

  #send(reply: Reply): number {
    if (this.sendResult !== 0) return this.sendResult;
    const head = reply.buffer.subarray(0, reply.headBytes);
    const message = Buffer.concat([head, ...(reply.parts ?? [])]);
    this.replies.push({
      unique: Number(message.readBigUInt64LE(8)),
      error: message.readInt32LE(4),
      body: message.subarray(16),
    });
    return 0;
  }
}

/** 32-bit and 64-bit fields and strings, in the order of a structure. */
export function body(...fields: ({ u32: number } | { u64: number } | { text: string })[]): Buffer {
  return Buffer.concat(
    fields.map((field) => {
      if ('text' in field) return Buffer.from(`${field.text}\0`, 'latin1');
      const bytes = Buffer.alloc('u32' in field ? 4 : 8);
      if ('u32' in field) bytes.writeUInt32LE(field.u32);
      else bytes.writeBigInt64LE(BigInt(field.u64));
      return bytes;
    }),
  );
}
