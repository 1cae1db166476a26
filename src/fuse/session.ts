/**
 * One mounted file system's conversation with the kernel: receives requests, hands them to their operations, and replies.
 *
 * What the file system answers in the same turn is replied to in that turn; the rest is kept in a table until its promise
 * settles. Requests are taken in batches, bounded so that other handles of the event loop get their turns. While the
 * file system has no room for a write's payload nothing is received: requests queue in the kernel, which is the back-pressure.
 * The session does not mount or unmount: it ends when the kernel says so or when it is closed.
 */
import { type ErrnoCode, ErrnoError, errnoNumbers } from '../base/errno.ts';
import type { FileSystem, MaybePromise } from '../filesystem/file-system.ts';
import type { Logger, Timers } from '../platform/platform.ts';
import { AccessControl } from './access-control.ts';
import type { Answer } from './answer.ts';
import type { Transport, TransportFactory } from './channel.ts';
import { deferred } from './deferred.ts';
import { INIT_OUT_BYTES, type InitReply, negotiate, putInitReply } from './init.ts';
import { Lull } from './lull.ts';
import { operationOf } from './operations.ts';
import { type PendingRequest, PendingRequests } from './pending.ts';
import { InitFlag, OUT_HEADER_BYTES } from './protocol.ts';
import { Reply } from './reply.ts';
import { Request } from './request.ts';
import { errnoOf, reportUnexpected } from './unexpected.ts';

/** Requests handled before other handles of the event loop get their turn. */
const MAX_REQUESTS_PER_TURN = 64;

export interface SessionOptions {
  readonly fileSystem: FileSystem;
  readonly log: Logger;
  readonly timers: Timers;
}

export class Session {
  readonly fileSystem: FileSystem;
  readonly log: Logger;
  readonly timers: Timers;
  readonly request = new Request();
  readonly pending = new PendingRequests();
  readonly accessControl: AccessControl;
  /** Resolves when the kernel has agreed on the terms; rejects when it cannot. */
  readonly initialized: Promise<InitReply>;
  /** Resolves when the kernel has let go, or close() was called. Requests under way may still settle. */
  readonly ended: Promise<void>;
  /** Where the payload of the WRITE being handled lies. */
  landing: readonly Uint8Array[] = [];
  readonly #lull = new Lull();
  readonly #reply = new Reply();
  readonly #channel: Transport;
  readonly #initialization = deferred<InitReply>();
  readonly #end = deferred<void>();
  #isOver = false;
  /** Waiting for room: nothing may be received. */
  #isPaused = false;

  constructor(connect: TransportFactory, options: SessionOptions) {
    this.fileSystem = options.fileSystem;
    this.accessControl = new AccessControl(options.fileSystem);
    this.log = options.log;
    this.timers = options.timers;
    this.initialized = this.#initialization.promise;
    this.ended = this.#end.promise;
    this.#channel = connect(this.request, this.#reply, () => this.#receive());
    this.#channel.poll(true);
  }

  notify(message: Uint8Array): Promise<number> {
    return this.#channel.notify(message);
  }

  close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#channel.close();
    this.#initialization.reject(new ErrnoError('ENOTCONN', 'the session ended before it began'));
    this.#end.resolve();
  }

  /** Replies with a result of the file system, now or when it is there. */
  answer<T>(result: MaybePromise<T>, answer: Answer<T>): void {
    const { request } = this;
    if (!(result instanceof Promise)) {
      this.#deliver(request.uniqueLow, request.uniqueHigh, request.node, result, answer as Answer<unknown>);
      return;
    }
    const waiting = this.pending.add(request, answer as Answer<unknown>);
    result.then(
      (value) => this.#settle(waiting, value),
      (error: unknown) => this.#settleFailed(waiting, error),
    );
  }

  /** Replies with an error, or with success and nothing else. */
  answerErrno(uniqueLow: number, uniqueHigh: number, errno: number): void {
    this.#reply.begin(uniqueLow, uniqueHigh, errno);
    this.#send();
  }

  fail(code: ErrnoCode): void {
    this.answerErrno(this.request.uniqueLow, this.request.uniqueHigh, errnoNumbers[code]);
  }

  /** Work that no reply waits for. */
  detach(result: MaybePromise<void>, event: string): void {
    if (result instanceof Promise) result.catch((error: unknown) => this.#report(event, error));
  }

  /** Agrees on the terms with the kernel: the first request. */
  initialize(): void {
    const { request } = this;
    request.fixedPart(16);
    const flags = request.word(12);
    const hasSecondWord = (flags & InitFlag.INIT_EXT) !== 0;
    if (hasSecondWord) request.fixedPart(20);
    const outcome = negotiate({
      major: request.word(0),
      minor: request.word(4),
      maxReadAheadBytes: request.word(8),
      flags,
      flags2: hasSecondWord ? request.word(16) : 0,
    });
    if (outcome === 'too-old') {
      const version = `${request.word(0)}.${request.word(4)}`;
      this.fail('EOPNOTSUPP');
      this.#initialization.reject(new ErrnoError('EOPNOTSUPP', `the kernel's FUSE protocol is ${version}`));
      return;
    }
    this.#reply.begin(request.uniqueLow, request.uniqueHigh, 0);
    if (outcome === 'other-major') {
      this.#reply.body.fill(0, 0, INIT_OUT_BYTES / 4);
      this.#reply.body[0] = 7;
    } else {
      putInitReply(this.#reply.body, outcome);
    }
    this.#reply.bodyBytes = INIT_OUT_BYTES;
    this.#send();
    if (outcome !== 'other-major') this.#initialization.resolve(outcome);
  }

  /** `handled`: requests that were answered just before, so that the next one may be about to come. */
  #receive(handled = 0): void {
    for (let count = handled; count < MAX_REQUESTS_PER_TURN; count++) {
      const landing = this.fileSystem.writeLanding();
      if (landing === undefined) {
        this.#waitForRoom();
        return;
      }
      const received = this.#channel.receive(landing, this.#lull.waitUs(count, this.pending.size));
      this.#lull.outcome(received > 0);
      if (received < 0) {
        if (received !== -errnoNumbers.EAGAIN) this.#lose(received);
        return;
      }
      this.landing = landing;
      this.#handle(received);
      if (this.#isOver) return;
    }
  }

  #waitForRoom(): void {
    this.#isPaused = true;
    this.#channel.poll(false);
    this.fileSystem.whenWritable().then(
      () => {
        this.#isPaused = false;
        this.#channel.poll(true);
      },
      (error: unknown) => {
        this.#report('fuse-landing-failed', error);
        this.close();
      },
    );
  }

  #lose(error: number): void {
    // ENODEV: unmounted. Anything else is the connection broken, after which it is as good as unmounted.
    if (error !== -errnoNumbers.ENODEV) this.log.warn('fuse-connection-lost', { errno: -error });
    this.close();
  }

  #handle(receivedBytes: number): void {
    const { request } = this;
    if (!request.accept(receivedBytes)) {
      this.log.error('fuse-malformed-request', { receivedBytes, opcode: request.opcode });
      if (receivedBytes >= OUT_HEADER_BYTES) this.fail('EIO');
      return;
    }
    const operation = operationOf(request.opcode);
    if (operation === undefined) {
      this.fail('ENOSYS');
      return;
    }
    const { uniqueLow, uniqueHigh } = request;
    try {
      operation(this);
    } catch (error) {
      const errno = this.#errnoOf(error, request.opcode);
      if (request.expectsReply) this.answerErrno(uniqueLow, uniqueHigh, errno);
    }
  }

  #settle(waiting: PendingRequest, value: unknown): void {
    this.pending.remove(waiting);
    const { answer, node } = waiting;
    if (waiting.isAnswered) this.#drop(value, answer, node);
    else this.#deliver(waiting.uniqueLow, waiting.uniqueHigh, node, value, answer);
    // Who waited for this result alone is likely to send the next request at once.
    if (this.pending.size === 0 && !this.#isPaused && !this.#isOver) this.#receive(1);
  }

  #settleFailed(waiting: PendingRequest, error: unknown): void {
    this.pending.remove(waiting);
    const errno = this.#errnoOf(error, waiting.opcode);
    if (!waiting.isAnswered) this.answerErrno(waiting.uniqueLow, waiting.uniqueHigh, errno);
  }

  #deliver(low: number, high: number, node: number, value: unknown, answer: Answer<unknown>): void {
    this.#reply.begin(low, high, 0);
    try {
      answer.encode(this.#reply, value);
    } catch (error) {
      this.#drop(value, answer, node);
      this.answerErrno(low, high, this.#errnoOf(error, 0));
      return;
    }
    const isTaken = this.#send();
    if (isTaken) answer.settle?.(value);
    else this.#drop(value, answer, node);
  }

  #drop(value: unknown, answer: Answer<unknown>, node: number): void {
    if (answer.undo !== undefined) this.detach(answer.undo(this.fileSystem, value, node), 'fuse-undo-failed');
    answer.settle?.(value);
  }

  /** False when the kernel did not take the reply. */
  #send(): boolean {
    if (this.#isOver) return false;
    const result = this.#channel.send();
    if (result === 0) return true;
    // ENOENT: the request was aborted meanwhile. ENODEV: unmounted; receiving finds that out, too.
    if (result !== -errnoNumbers.ENOENT && result !== -errnoNumbers.ENODEV)
      this.log.error('fuse-reply-refused', { errno: -result });
    return false;
  }

  #errnoOf(error: unknown, opcode: number): number {
    return errnoOf(error, this.log, { opcode });
  }

  #report(event: string, error: unknown): void {
    reportUnexpected(error, this.log, { during: event });
  }
}
