/**
 * When the coordinator's leases end. In memory only: after a restart, each gets its whole time again.
 */
import type { Platform, Timer } from '../platform/platform.ts';

/** A timer that is later than this means that this process stood still: renewals may be waiting in the socket. */
const OWN_STALL_MS = 100;

interface HeldLease {
  readonly ttlMs: number;
  timer: Timer;
  dueMs: number;
}

export class LeaseTable {
  readonly #platform: Platform;
  readonly #expired: (leaseId: number) => void;
  readonly #leases = new Map<number, HeldLease>();

  /** `expired` is called when a lease's time is over; the lease stays until `remove`. */
  constructor(platform: Platform, expired: (leaseId: number) => void) {
    this.#platform = platform;
    this.#expired = expired;
  }

  has(leaseId: number): boolean {
    return this.#leases.has(leaseId);
  }

  add(leaseId: number, ttlMs: number): void {
    const dueMs = this.#platform.clock.monotonicMs() + ttlMs;
    this.#leases.set(leaseId, { ttlMs, dueMs, timer: this.#timer(leaseId, ttlMs) });
  }

  renew(leaseId: number): boolean {
    const lease = this.#leases.get(leaseId);
    if (lease === undefined) return false;
    this.#rearm(leaseId, lease, lease.ttlMs);
    return true;
  }

  remove(leaseId: number): boolean {
    this.#leases.get(leaseId)?.timer.cancel();
    return this.#leases.delete(leaseId);
  }

  close(): void {
    for (const lease of this.#leases.values()) lease.timer.cancel();
    this.#leases.clear();
  }

  #rearm(leaseId: number, lease: HeldLease, delayMs: number): void {
    lease.timer.cancel();
    lease.dueMs = this.#platform.clock.monotonicMs() + delayMs;
    lease.timer = this.#timer(leaseId, delayMs);
  }

  #timer(leaseId: number, delayMs: number): Timer {
    return this.#platform.timers.after(delayMs, () => {
      const lease = this.#leases.get(leaseId);
      if (lease === undefined) return;
      const lateMs = this.#platform.clock.monotonicMs() - lease.dueMs;
      if (lateMs > OWN_STALL_MS) this.#rearm(leaseId, lease, lease.ttlMs / 2);
      else this.#expired(leaseId);
    });
  }
}
