/**
 * How long to stay awake for the next request, instead of going to sleep in the event loop.
 *
 * A program that works with one request after the other sends the next one a few microseconds after the reply; to be woken
 * up for it takes longer than that. So after a request we wait awake, as long as that keeps paying: each request
 * that comes in time earns credit and each wait in vain costs some, and without credit we try again only now and then. While
 * results of the file system are awaited we do not wait here, since they arrive through the event loop.
 */
const WAIT_US = 20;
const MAX_CREDIT = 16;
const COST_OF_WAITING_IN_VAIN = 4;
/** Batches without credit between two tries. */
const RETRY_INTERVAL = 64;

export class Lull {
  #credit = MAX_CREDIT;
  #skipped = 0;
  #isWaiting = false;

  /** `handledInBatch`: requests handled since the event loop called. */
  waitUs(handledInBatch: number, pendingResults: number): number {
    this.#isWaiting = false;
    if (handledInBatch === 0 || pendingResults > 0) return 0;
    if (this.#credit <= 0) {
      this.#skipped += 1;
      if (this.#skipped < RETRY_INTERVAL) return 0;
      this.#skipped = 0;
    }
    this.#isWaiting = true;
    return WAIT_US;
  }

  outcome(isReceived: boolean): void {
    if (!this.#isWaiting) return;
    if (isReceived) this.#credit = Math.min(MAX_CREDIT, this.#credit + 1);
    else this.#credit = Math.max(0, this.#credit - COST_OF_WAITING_IN_VAIN);
  }
}
