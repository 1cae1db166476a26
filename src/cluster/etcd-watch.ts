/**
 * A watch on etcd: lists what is there, then follows the changes from the revision behind it. After a broken stream, and when etcd has
 * forgotten that revision, it lists again and tells the differences. A quiet stream is opened anew now and then, because a
 * connection whose other end is gone is just as quiet.
 */
import type { Platform, Timer } from '../platform/platform.ts';
import { type CoordinatorEvent, CoordinatorUnavailable } from './coordinator.ts';
import type { EtcdGateway, Json } from './etcd-gateway.ts';
import {
  base64,
  decodeEntries,
  decodeEntry,
  listAt,
  objectAt,
  rangeEnd,
  revisionOf,
} from './etcd-messages.ts';
import { WatchView } from './watch-view.ts';

const QUIET_MS = 30_000;
const FIRST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 2_000;

export class EtcdWatch {
  readonly #platform: Platform;
  readonly #gateway: EtcdGateway;
  /** Of the volume; entries are told without it. */
  readonly #volumePrefix: string;
  readonly #range: { readonly key: string; readonly range_end: string };
  readonly #view: WatchView;
  #stopped = false;
  #interrupt: (() => void) | undefined;

  constructor(
    platform: Platform,
    gateway: EtcdGateway,
    volumePrefix: string,
    prefix: string,
    listener: (event: CoordinatorEvent) => void,
  ) {
    this.#platform = platform;
    this.#gateway = gateway;
    this.#volumePrefix = volumePrefix;
    this.#range = { key: base64(volumePrefix + prefix), range_end: rangeEnd(volumePrefix + prefix) };
    this.#view = new WatchView((event) => {
      if (!this.#stopped) listener(event);
    });
  }

  async run(): Promise<void> {
    let retryMs = FIRST_RETRY_MS;
    while (!this.#stopped) {
      try {
        const answer = await this.#gateway.call('/v3/kv/range', this.#range, 'read');
        this.#view.replace(decodeEntries(answer, this.#volumePrefix));
        if (!this.#stopped && (await this.#follow(revisionOf(answer) + 1))) retryMs = FIRST_RETRY_MS;
      } catch (error) {
        if (!(error instanceof CoordinatorUnavailable)) throw error;
      }
      if (this.#stopped) return;
      await this.#pause(retryMs);
      retryMs = Math.min(2 * retryMs, LONGEST_RETRY_MS);
    }
  }

  stop(): void {
    this.#stopped = true;
    this.#interrupt?.();
  }

  /** Until the stream ends. True if anything came of it. */
  #follow(startRevision: number): Promise<boolean> {
    return new Promise((resolve) => {
      let answered = false;
      let quiet: Timer | undefined;
      const end = (): void => {
        quiet?.cancel();
        this.#interrupt = undefined;
        resolve(answered);
      };
      const cutOff = (): void => {
        cut();
        end();
      };
      const watchQuiet = (): void => {
        quiet?.cancel();
        quiet = this.#platform.timers.after(QUIET_MS, cutOff);
      };
      const request = { create_request: { ...this.#range, start_revision: String(startRevision) } };
      const onAnswer = (answer: Json): void => {
        answered = true;
        watchQuiet();
        if (!this.#tell(answer)) cutOff();
      };
      const cut = this.#gateway.stream('/v3/watch', request, onAnswer, end);
      watchQuiet();
      this.#interrupt = cutOff;
    });
  }

  /** False: the stream is of no more use. */
  #tell(answer: Json): boolean {
    const result = objectAt(answer, 'result');
    if (result === undefined || result.canceled === true) return false;
    try {
      for (const event of listAt(result, 'events')) {
        const pair = objectAt(event, 'kv');
        if (pair === undefined) return false;
        const entry = decodeEntry(pair, this.#volumePrefix);
        if (event.type === 'DELETE') this.#view.delete(entry.key);
        else this.#view.put(entry);
      }
      return true;
    } catch (error) {
      if (error instanceof CoordinatorUnavailable) return false;
      throw error;
    }
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#platform.timers.after(delayMs, () => {
        this.#interrupt = undefined;
        resolve();
      });
      this.#interrupt = () => {
        timer.cancel();
        resolve();
      };
    });
  }
}
