/**
 * A watch over RPC: asks again and again what has changed, and tells each change once, over lost connections and restarts of the coordinator.
 */
import { type Change, encodeWatch } from '../format/coordinator-messages.ts';
import type { Platform, Timer } from '../platform/platform.ts';
import { type CoordinatorEvent, CoordinatorUnavailable } from './coordinator.ts';
import { changesOf, puts } from './coordinator-replies.ts';
import type { RpcReply } from './rpc.ts';
import { WatchView } from './watch-view.ts';

const WATCH_WAIT_MS = 10_000;
const FIRST_RETRY_MS = 50;
const LONGEST_RETRY_MS = 1_000;

export class RemoteWatch {
  readonly #platform: Platform;
  readonly #prefix: string;
  readonly #view: WatchView;
  readonly #call: (body: Uint8Array, timeoutMs: number) => Promise<RpcReply>;
  #stopped = false;
  #wake: (() => void) | undefined;
  #timer: Timer | undefined;

  constructor(
    platform: Platform,
    prefix: string,
    listener: (event: CoordinatorEvent) => void,
    call: (body: Uint8Array, timeoutMs: number) => Promise<RpcReply>,
  ) {
    this.#platform = platform;
    this.#prefix = prefix;
    this.#view = new WatchView((event) => {
      if (!this.#stopped) listener(event);
    });
    this.#call = call;
  }

  async run(): Promise<void> {
    let sinceRevision = 0;
    let retryMs = FIRST_RETRY_MS;
    while (!this.#stopped) {
      try {
        const body = encodeWatch({ prefix: this.#prefix, sinceRevision, waitMs: WATCH_WAIT_MS });
        const reply = changesOf(await this.#call(body, 2 * WATCH_WAIT_MS));
        if (reply.complete) this.#view.replace(puts(reply.changes));
        else for (const change of reply.changes) this.#apply(change);
        sinceRevision = reply.revision;
        retryMs = FIRST_RETRY_MS;
      } catch (error) {
        if (!(error instanceof CoordinatorUnavailable)) throw error;
        await this.#pause(retryMs);
        retryMs = Math.min(2 * retryMs, LONGEST_RETRY_MS);
      }
    }
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#wake?.();
  }

  #apply({ key, version, value }: Change): void {
    if (value === undefined) this.#view.delete(key);
    else this.#view.put({ key, version, value });
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      if (this.#stopped) {
        resolve();
        return;
      }
      this.#wake = resolve;
      this.#timer = this.#platform.timers.after(delayMs, resolve);
    });
  }
}
