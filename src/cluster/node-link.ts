/**
 * The link to one storage node: connects, reconnects, pings, and knows the node's state (see nodes.ts).
 *
 * A node counts as up once it has answered a ping with its own id, so a connection to the wrong node, or to one that does not answer, never
 * does. It counts as slow while a ping is unanswered for too long, or for a while after somebody said so. Standing still itself,
 * this process must not blame others: a late timer is not believed before the socket has been read.
 */
import { decodePingReply, type PingReply } from '../format/ping.ts';
import type { Platform, Slab, Timer } from '../platform/platform.ts';
import { parseAddress } from './address.ts';
import type { NodeRecord } from './coordinator.ts';
import type { NodeLink, NodeState } from './nodes.ts';
import { type RpcClient, RpcError, rpcMethods, rpcStatus } from './rpc.ts';
import { connectRpc } from './rpc-connect.ts';

export interface NodeLinkOptions {
  /** The volume's key. */
  readonly key: Uint8Array;
  /** Memory to share with nodes on this machine. */
  readonly slab?: Slab;
  readonly pingIntervalMs: number;
  readonly slowAfterMs: number;
}

const FIRST_RETRY_MS = 20;
/** So many attempts in a row that met nobody: the node is away, not just starting. */
const AWAY_ATTEMPTS = 4;
const LONGEST_RETRY_MS = 1_000;
const CONNECT_TIMEOUT_MS = 2_000;
/** A timer that is later than this means that this process stood still. */
const OWN_STALL_MS = 100;
/** A connection on which a ping is unanswered for so long may be one that the other side has forgotten: another one is made. */
const GIVE_UP_MS = 10_000;
/** A node that was found slow stays so for at least this long, whatever its pings say: its disk may be stuck, not its process. */
const SLOW_HOLD_MS = 500;
const NOTHING = Buffer.alloc(0);

export class Link implements NodeLink {
  readonly id: number;
  freeBytes = 0;
  capacityBytes = 0;
  usedBytes = 0;
  readonly #platform: Platform;
  readonly #options: NodeLinkOptions;
  readonly #onChange: (link: Link) => void;
  #record: NodeRecord;
  #state: NodeState = 'down';
  #client: RpcClient | undefined;
  /** Grows with every attempt to connect: answers of an earlier one are ignored. */
  #attempt = 0;
  #retryMs = FIRST_RETRY_MS;
  /** The next ping, or the next attempt to connect. */
  #nextTimer: Timer | undefined;
  #slowTimer: Timer | undefined;
  /** When the ping that is in flight was sent. */
  #pingSentMs: number | undefined;
  #slowSinceMs = 0;
  #closed = false;
  #failedAttempts = 0;
  /** An attempt to connect is under way, its first ping included. */
  #connecting = false;
  /** Who waits for its outcome. */
  readonly #triers: ((isConnected: boolean) => void)[] = [];

  constructor(
    platform: Platform,
    record: NodeRecord,
    options: NodeLinkOptions,
    onChange: (link: Link) => void,
  ) {
    this.id = record.id;
    this.#platform = platform;
    this.#record = record;
    this.#options = options;
    this.#onChange = onChange;
  }

  get state(): NodeState {
    return this.#state;
  }

  /** Nobody answers at its address: it does not seem to be about to come up. */
  get isAway(): boolean {
    return this.#failedAttempts >= AWAY_ATTEMPTS;
  }

  get domain(): string {
    return this.#record.domain ?? String(this.id);
  }

  get client(): RpcClient | undefined {
    return this.#state === 'down' ? undefined : this.#client;
  }

  start(): void {
    void this.#connect();
  }

  /** For one that is down: does not wait for the next attempt to connect. True if the node answers. */
  tryNow(): Promise<boolean> {
    if (this.#closed) return Promise.resolve(false);
    const outcome = new Promise<boolean>((resolve) => this.#triers.push(resolve));
    if (!this.#connecting) {
      this.#nextTimer?.cancel();
      void this.#connect();
    }
    return outcome;
  }

  #tried(isConnected: boolean): void {
    this.#connecting = false;
    for (const resolve of this.#triers.splice(0)) resolve(isConnected);
  }

  /** The coordinator has a new record. Another address means another connection; another label is a change, too. */
  update(record: NodeRecord): void {
    const moved = record.address !== this.#record.address;
    const relabelled = record.domain !== this.#record.domain;
    this.#record = record;
    if (moved) this.#reconnect();
    if (relabelled) this.#onChange(this);
  }

  noteFreeBytes(freeBytes: number): void {
    this.freeBytes = freeBytes;
  }

  noteSlow(): void {
    if (this.#state !== 'up') return;
    this.#becomeSlow();
    if (this.#pingSentMs === undefined) this.#ping();
  }

  close(): void {
    this.#closed = true;
    this.#drop();
    this.#setState('down');
  }

  async #connect(): Promise<void> {
    const attempt = ++this.#attempt;
    this.#connecting = true;
    const { key, slab } = this.#options;
    const address = parseAddress(this.#record.address);
    try {
      if (address === undefined) throw new RpcError('unreachable', `bad address ${this.#record.address}`);
      const client = await connectRpc(this.#platform, address, {
        key,
        ...(slab === undefined ? {} : { slab }),
        connectTimeoutMs: CONNECT_TIMEOUT_MS,
      });
      if (attempt !== this.#attempt || this.#closed) {
        client.close();
        return;
      }
      this.#failedAttempts = 0;
      this.#client = client;
      client.onClose = () => this.#reconnect();
      this.#ping(CONNECT_TIMEOUT_MS);
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      if (attempt !== this.#attempt || this.#closed) return;
      if (error.reason === 'refused') {
        this.#platform.log.warn('node-refuses-connection', { node: this.id, reason: error.message });
      }
      this.#failedAttempts++;
      this.#tried(false);
      this.#retryLater();
    }
  }

  #retryLater(): void {
    this.#nextTimer = this.#platform.timers.after(this.#retryMs, () => void this.#connect());
    this.#retryMs = Math.min(this.#retryMs * 2, LONGEST_RETRY_MS);
  }

  /** Forgets the connection, if there is one, and makes another. */
  #reconnect(): void {
    if (this.#closed) return;
    this.#drop();
    this.#retryLater();
    this.#setState('down');
  }

  #drop(): void {
    this.#attempt++;
    this.#tried(false);
    this.#nextTimer?.cancel();
    this.#slowTimer?.cancel();
    this.#pingSentMs = undefined;
    const client = this.#client;
    this.#client = undefined;
    client?.close();
  }

  /** The first ping after connecting has a short time-out; a node that answered once may stand still for a while. */
  #ping(timeoutMs = GIVE_UP_MS): void {
    const client = this.#client;
    if (client === undefined || client.closed) return;
    this.#nextTimer?.cancel();
    const sentMs = this.#platform.clock.monotonicMs();
    this.#pingSentMs = sentMs;
    this.#watchForSlow(this.#options.slowAfterMs);
    client.call(rpcMethods.ping, NOTHING, { timeoutMs }).then(
      (reply) => {
        if (client !== this.#client) return;
        const answer = reply.status === rpcStatus.ok ? decodePingReply(reply.body) : undefined;
        this.#pingSentMs = undefined;
        this.#slowTimer?.cancel();
        this.#onAnswer(answer, sentMs);
      },
      () => {
        // The end of the connection is dealt with by onClose; an open one that does not answer is no use.
        if (client === this.#client) this.#reconnect();
      },
    );
  }

  #onAnswer(answer: PingReply | undefined, sentMs: number): void {
    if (answer === undefined || answer.nodeId !== this.id) {
      this.#platform.log.warn('node-ping-refused', { node: this.id, answeredBy: answer?.nodeId });
      this.#reconnect();
      return;
    }
    this.freeBytes = answer.freeBytes;
    this.capacityBytes = answer.capacityBytes;
    this.usedBytes = answer.usedBytes;
    this.#retryMs = FIRST_RETRY_MS;
    const nowMs = this.#platform.clock.monotonicMs();
    const heldMs = nowMs - this.#slowSinceMs;
    const recovered = sentMs >= this.#slowSinceMs && heldMs >= SLOW_HOLD_MS;
    this.#nextTimer = this.#platform.timers.after(this.#options.pingIntervalMs, () => this.#ping());
    if (this.#state === 'down' || (this.#state === 'slow' && recovered)) this.#setState('up');
    this.#tried(true);
  }

  #watchForSlow(delayMs: number): void {
    const dueMs = this.#platform.clock.monotonicMs() + delayMs;
    this.#slowTimer?.cancel();
    this.#slowTimer = this.#platform.timers.after(delayMs, () => {
      const lateMs = this.#platform.clock.monotonicMs() - dueMs;
      if (lateMs > OWN_STALL_MS) this.#watchForSlow(OWN_STALL_MS);
      else this.#platform.timers.defer(() => this.#suspect());
    });
  }

  #suspect(): void {
    if (this.#pingSentMs === undefined || this.#state !== 'up') return;
    // The ping may be a later one than that which the timer was for, and timers may run a little early.
    const leftMs = this.#pingSentMs + this.#options.slowAfterMs - this.#platform.clock.monotonicMs();
    if (leftMs > 0) this.#watchForSlow(Math.ceil(leftMs));
    else this.#becomeSlow();
  }

  #becomeSlow(): void {
    this.#slowSinceMs = this.#platform.clock.monotonicMs();
    this.#setState('slow');
  }

  #setState(state: NodeState): void {
    if (state === this.#state) return;
    const from = this.#state;
    this.#state = state;
    this.#platform.log.info('node-state', { node: this.id, from, to: state });
    this.#onChange(this);
  }
}
