/**
 * One end of a simulated connection, held by a process. It dies with the process, and then the other end hears of it, unless the
 * machine is gone.
 *
 * As with real sockets the end of a stream is only noticed by reading, or by sending into what is reset.
 */
import { assert } from '../../../base/assert.ts';
import { type Address, type Connection, MachineError, type Timer } from '../../../platform/platform.ts';
import type { Gate } from '../../contract.ts';
import type { Link, LinkUser } from './link.ts';
import { Pipe, type PipeReader, type PipeWorld } from './pipe.ts';

/** How long a closed TCP connection goes on sending what is queued. A Unix one forgets it at once. */
const LINGER_MS = 1_000;
/** What a Unix connection queues before it is cut off. */
const UNIX_QUEUE_BYTES = 64 * 1_024 * 1_024;
/** Whoever queues more than this on a TCP one does not bound it. */
const TCP_QUEUE_BYTES = 256 * 1_024 * 1_024;
/** When a TCP connection that is idle is given up because the other machine does not answer: ten seconds, then ten questions. */
const KEEP_ALIVE_MS = 20_000;
/** When one is given up that waits for an acknowledgement. */
const RETRANSMISSION_MS = 924_600;
/** After how long, at most, the first of them asks a machine that is back, and how long the other waits for it. */
const MAX_QUESTION_MS = 10_000;
const MAX_RESEND_MS = 2_000;

export interface EndpointHolder {
  readonly gate: Gate;
  /** The endpoints that are open, in the order in which they were made. */
  readonly endpoints: Set<Endpoint>;
  /** Those that are closed and still send what was queued. */
  readonly lingering: Set<Endpoint>;
}

export class Endpoint implements Connection, PipeReader, LinkUser {
  readonly peer: string;
  readonly gate: Gate;
  readonly #kind: Address['kind'];
  readonly #holder: EndpointHolder;
  readonly #world: PipeWorld;
  #out: Pipe | undefined;
  #in: Pipe | undefined;
  #other: Endpoint | undefined;
  #onData: Connection['onData'];
  #onClose: Connection['onClose'];
  #paused = false;
  /** Closed here, or ended by the other side. */
  #over = false;
  /** The end came before anybody asked for it. */
  #missedEnd: { readonly reason: MachineError | undefined } | undefined;
  #vanished = false;
  /** The other machine does not know this connection any more. */
  #refused = false;
  #question: Timer | undefined;
  /** Run while the other side does not answer. */
  #silence: Timer[] = [];

  constructor(world: PipeWorld, kind: Address['kind'], peer: string, holder: EndpointHolder) {
    this.#world = world;
    this.#kind = kind;
    this.peer = peer;
    this.gate = holder.gate;
    this.#holder = holder;
    holder.endpoints.add(this);
  }

  /** Connects two ends, each with the link that leads away from it. */
  static join(world: PipeWorld, one: Endpoint, away: Link, other: Endpoint, back: Link): void {
    one.#out = new Pipe(world, away, back, one.gate, other);
    other.#out = new Pipe(world, back, away, other.gate, one);
    one.#in = other.#out;
    other.#in = one.#out;
    one.#other = other;
    other.#other = one;
    for (const end of [one, other]) {
      away.attach(end);
      back.attach(end);
    }
  }

  get other(): Endpoint {
    return this.#other!;
  }

  get over(): boolean {
    return this.#over;
  }

  get reading(): boolean {
    return this.#onData !== undefined && !this.#paused && !this.#over;
  }

  get queuedBytes(): number {
    return this.#out!.queuedBytes;
  }

  get onData(): Connection['onData'] {
    return this.#onData;
  }

  set onData(receive: Connection['onData']) {
    if (this.#over) return;
    this.#onData = receive;
    this.#in!.readingChanged();
  }

  get onClose(): Connection['onClose'] {
    return this.#onClose;
  }

  set onClose(run: Connection['onClose']) {
    this.#onClose = run;
    const missed = this.#missedEnd;
    if (run === undefined || missed === undefined) return;
    this.#missedEnd = undefined;
    this.gate.after(0, () => this.#onClose?.(missed.reason));
  }

  send(parts: readonly Uint8Array[]): void {
    if (this.#over || !this.gate.alive) return;
    this.#out!.send(parts);
    if (this.#out!.queuedBytes > UNIX_QUEUE_BYTES) this.#queueIsLong();
    if (this.#refused) this.#askAgain(0);
  }

  pause(): void {
    this.#paused = true;
    this.#in!.readingChanged();
  }

  resume(): void {
    this.#paused = false;
    this.#in!.readingChanged();
  }

  close(): void {
    if (this.#over || !this.gate.alive) return;
    this.#leave(this.#kind === 'tcp');
  }

  /** The process is dead, and its system closes what it had open. */
  closeForDead(): void {
    if (!this.#over) this.#leave(false);
    else this.#out!.dropQueue();
  }

  /** The machine is gone: nobody closes anything. */
  vanish(): void {
    this.#vanished = true;
    this.#finish();
    this.#in!.receiverLost();
    // What is already on the wire still arrives.
    this.#out!.dropQueue(false);
    if (this.#other!.over) this.#forget();
    else this.#other!.#fallsSilent();
  }

  /** The machine of the end that vanished is back: it answers whatever comes with a reset. */
  refuse(): void {
    this.#refused = true;
    if (!this.#unreachable()) this.#silenceEnds();
    this.#askAgain(this.#out!.outstandingBytes > 0 ? MAX_RESEND_MS : MAX_QUESTION_MS);
  }

  leadsTo(machineName: string): boolean {
    return this.#out!.link.to === machineName;
  }

  /** This end is told that the connection was reset, the other one is not, and whatever it sends is not answered. */
  breakHalf(): void {
    if (this.#over) return;
    this.vanish();
    this.gate.after(0, () => this.#tellEnd(this.#failure('ECONNRESET')));
  }

  linkCut(): void {
    if (!this.#over) this.#fallsSilent();
  }

  linkHealed(): void {
    if (!this.#unreachable()) this.#silenceEnds();
  }

  readonly onBytes = (bytes: Uint8Array): void => {
    this.#onData?.(bytes);
  };

  /** The other end was closed, and everything it sent was read. */
  readonly onEnd = (reason: MachineError | undefined): void => {
    this.#finish();
    this.#forget();
    this.#tellEnd(reason);
  };

  /** The system gives the connection up. The other side, if there is one, hears of it when it sends something. */
  #giveUp(code: string): void {
    if (this.#over) return;
    this.vanish();
    if (!this.#other!.over) this.#other!.refuse();
    this.#tellEnd(this.#failure(code));
  }

  #tellEnd(reason: MachineError | undefined): void {
    const run = this.#onClose;
    this.#onClose = undefined;
    if (run === undefined) this.#missedEnd = { reason };
    else run(reason);
  }

  #failure(code: string): MachineError {
    return new MachineError(code, `connection to ${this.peer}: ${code}`);
  }

  #leave(lingers: boolean): void {
    const unread = this.#in!.hasUnread;
    this.#finish();
    this.#onClose = undefined;
    const out = this.#out!;
    this.#in!.close();
    if (this.#other!.over) {
      this.#forget();
      return;
    }
    out.sendEnd(unread ? new MachineError('ECONNRESET', 'the other end was closed: ECONNRESET') : undefined);
    if (lingers && out.queuedBytes > 0) this.#linger();
    else out.dropQueue();
  }

  #linger(): void {
    this.#holder.lingering.add(this);
    this.gate.after(LINGER_MS, () => {
      this.#holder.lingering.delete(this);
      this.#out!.dropQueue();
    });
  }

  #queueIsLong(): void {
    assert(
      this.#out!.queuedBytes <= TCP_QUEUE_BYTES,
      `${this.#out!.queuedBytes} bytes queued for ${this.peer}`,
    );
    if (this.#kind === 'tcp') return;
    this.gate.after(0, () => {
      if (this.#over) return;
      const run = this.#onClose;
      this.#leave(false);
      run?.(this.#failure('ENOBUFS'));
    });
  }

  #finish(): void {
    this.#over = true;
    this.#onData = undefined;
    this.#holder.endpoints.delete(this);
    this.#holder.lingering.delete(this);
    this.#out!.link.detach(this);
    this.#in!.link.detach(this);
    this.#question?.cancel();
    this.#silenceEnds();
  }

  /** Neither end needs the streams any more. */
  #forget(): void {
    this.#in!.close();
    this.#out!.close();
  }

  /** Waits for the answer that a machine gives which does not know the connection. */
  #askAgain(withinMs: number): void {
    const { scheduler, dice } = this.#world;
    const delayMs = this.#out!.link.delayMs() + this.#in!.link.delayMs() + dice.unit() * withinMs;
    this.#question?.cancel();
    this.#question = scheduler.after(delayMs, () => {
      if (this.#unreachable()) this.#askAgain(MAX_RESEND_MS);
      else this.gate.after(0, () => this.#giveUp('ECONNRESET'));
    });
  }

  #unreachable(): boolean {
    return this.#out!.link.isCut || this.#in!.link.isCut || (this.#other!.#vanished && !this.#refused);
  }

  /** From now on the other side does not answer. */
  #fallsSilent(): void {
    if (this.#kind !== 'tcp' || this.#silence.length > 0) return;
    const idleTooLong = this.gate.after(KEEP_ALIVE_MS, () => {
      // Whoever waits for an acknowledgement does not ask.
      if (this.#out!.outstandingBytes === 0) this.#giveUp('ETIMEDOUT');
    });
    this.#silence = [idleTooLong, this.gate.after(RETRANSMISSION_MS, () => this.#giveUp('ETIMEDOUT'))];
  }

  #silenceEnds(): void {
    for (const timer of this.#silence) timer.cancel();
    this.#silence = [];
  }
}
