/**
 * Requests whose result is not there yet. Bounded by what the kernel has in flight (max_background and one a thread).
 */
import type { Answer } from './answer.ts';
import type { Request } from './request.ts';
import { TWO_TO_32 } from './words.ts';

export interface PendingRequest {
  readonly opcode: number;
  readonly uniqueLow: number;
  readonly uniqueHigh: number;
  readonly node: number;
  readonly pid: number;
  readonly answer: Answer<unknown>;
  /** It was interrupted and answered: its result is dropped. */
  isAnswered: boolean;
}

export class PendingRequests {
  readonly #byUnique = new Map<number, PendingRequest>();

  get size(): number {
    return this.#byUnique.size;
  }

  add(request: Request, answer: Answer<unknown>): PendingRequest {
    const { opcode, uniqueLow, uniqueHigh, node } = request;
    const { pid } = request.caller;
    const added = { opcode, uniqueLow, uniqueHigh, node, pid, answer, isAnswered: false };
    this.#byUnique.set(keyOf(uniqueLow, uniqueHigh), added);
    return added;
  }

  find(uniqueLow: number, uniqueHigh: number): PendingRequest | undefined {
    return this.#byUnique.get(keyOf(uniqueLow, uniqueHigh));
  }

  remove(request: PendingRequest): void {
    this.#byUnique.delete(keyOf(request.uniqueLow, request.uniqueHigh));
  }
}

/** The kernel counts up: the lower 53 bits tell requests in flight apart. */
function keyOf(uniqueLow: number, uniqueHigh: number): number {
  return uniqueLow + (uniqueHigh & 0x1fffff) * TWO_TO_32;
}
