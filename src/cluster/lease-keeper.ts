/**
 * The holder's side of a lease, for every engine: renews it three times in its time to live, and notices its loss.
 *
 * A lease counts as lost when the coordinator says so, or when its time has passed since the last renewal that is known to have arrived,
 * counted from before that was sent: so the holder gives up no later than the coordinator does.
 */
import type { Platform, Timer } from '../platform/platform.ts';
import { CoordinatorUnavailable, type Lease } from './coordinator.ts';

export interface LeaseKeeping {
  readonly id: string;
  readonly ttlMs: number;
  /** False: the lease is gone. Throws CoordinatorUnavailable when that cannot be found out. */
  renew(): Promise<boolean>;
  revoke(): Promise<void>;
  /** Called once, whatever ended it. */
  ended(): void;
}

export interface KeptLease extends Lease {
  /** No more renewals; the lease runs out by itself. */
  stop(): void;
}

export function keepLease(platform: Platform, keeping: LeaseKeeping): KeptLease {
  return new Keeper(platform, keeping);
}

class Keeper implements KeptLease {
  onLost: (() => void) | undefined;
  readonly #platform: Platform;
  readonly #keeping: LeaseKeeping;
  #renewal: Timer | undefined;
  #loss: Timer | undefined;
  #over = false;

  constructor(platform: Platform, keeping: LeaseKeeping) {
    this.#platform = platform;
    this.#keeping = keeping;
    this.#renewedAt(platform.clock.monotonicMs());
    this.#renewLater();
  }

  get id(): string {
    return this.#keeping.id;
  }

  async revoke(): Promise<void> {
    this.stop();
    await this.#keeping.revoke();
  }

  stop(): void {
    if (this.#over) return;
    this.#over = true;
    this.#renewal?.cancel();
    this.#loss?.cancel();
    this.#keeping.ended();
  }

  #renewLater(): void {
    this.#renewal = this.#platform.timers.after(this.#keeping.ttlMs / 3, () => void this.#renew());
  }

  #renewedAt(sentMs: number): void {
    const leftMs = sentMs + this.#keeping.ttlMs - this.#platform.clock.monotonicMs();
    this.#loss?.cancel();
    this.#loss = this.#platform.timers.after(Math.max(0, leftMs), () => this.#lost());
  }

  async #renew(): Promise<void> {
    const sentMs = this.#platform.clock.monotonicMs();
    try {
      const held = await this.#keeping.renew();
      if (this.#over) return;
      if (!held) {
        this.#lost();
        return;
      }
      this.#renewedAt(sentMs);
    } catch (error) {
      if (!(error instanceof CoordinatorUnavailable)) throw error;
    }
    if (!this.#over) this.#renewLater();
  }

  #lost(): void {
    if (this.#over) return;
    this.stop();
    this.onLost?.();
  }
}
