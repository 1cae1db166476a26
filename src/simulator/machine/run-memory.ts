/**
 * Large memory for the processes of a run. It is used again when its process has been dead for a while, and by the next run when this one is over: each start
 * of a process takes some ten MiB, and the garbage collector runs for memory outside the heap as for any other.
 *
 * Whoever still holds a view of memory that has another use finds the view empty, because the bytes have moved to an ArrayBuffer of their own. Sizes
 * are powers of two; a process that asks for more than a bound, which may well have let go of some of it, gets memory of its own.
 */
import { KIB, MIB } from '../../base/units.ts';
import type { Gate, Scheduler } from '../contract.ts';

const SMALLEST_BYTES = 64 * KIB;
const MAX_BYTES_A_PROCESS = 128 * MIB;
const MAX_FREE_BYTES = 256 * MIB;
/** For what a dying process still does within its last event, and for those who look at what it left. */
const REST_MS = 1_000;

/** Nobody sees these, by the logarithm of their length. They outlast the runs. */
const free: ArrayBuffer[][] = Array.from({ length: 32 }, () => []);
let freeBytes = 0;

/** Every view of it is empty from now on. */
function moved(memory: ArrayBuffer): ArrayBuffer {
  return structuredClone(memory, { transfer: [memory] });
}

function giveBack(memory: ArrayBuffer): void {
  const unseen = moved(memory);
  if (freeBytes + unseen.byteLength > MAX_FREE_BYTES) return;
  freeBytes += unseen.byteLength;
  free[Math.log2(unseen.byteLength)]!.push(unseen);
}

function take(lengthBytes: number): Buffer {
  const bits = 32 - Math.clz32(lengthBytes - 1);
  const memory = free[bits]!.pop();
  if (memory === undefined) return Buffer.from(new ArrayBuffer(2 ** bits), 0, lengthBytes);
  freeBytes -= memory.byteLength;
  return Buffer.from(memory, 0, lengthBytes).fill(0);
}

export class RunMemory {
  readonly #scheduler: Scheduler;
  /** Of living processes. */
  readonly #holdings = new Set<Set<ArrayBuffer>>();
  /** Of dead ones, in the order of their deaths. */
  readonly #resting: { readonly untilMs: number; readonly held: ReadonlySet<ArrayBuffer> }[] = [];

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler;
  }

  forProcess(gate: Gate): ProcessMemory {
    const held = new Set<ArrayBuffer>();
    this.#holdings.add(held);
    gate.onDeath(() => {
      this.#holdings.delete(held);
      this.#resting.push({ untilMs: this.#scheduler.nowMs + REST_MS, held });
    });
    return new ProcessMemory(held, () => this.#wake());
  }

  /** The run is over, and nothing of it is looked at any more. */
  end(): void {
    for (const held of this.#holdings) for (const memory of held) giveBack(memory);
    for (const { held } of this.#resting) for (const memory of held) giveBack(memory);
    this.#holdings.clear();
    this.#resting.length = 0;
  }

  #wake(): void {
    while (this.#resting.length > 0 && this.#resting[0]!.untilMs <= this.#scheduler.nowMs) {
      for (const memory of this.#resting.shift()!.held) giveBack(memory);
    }
  }
}

export class ProcessMemory {
  readonly #held: Set<ArrayBuffer>;
  readonly #wake: () => void;
  #heldBytes = 0;

  constructor(held: Set<ArrayBuffer>, wake: () => void) {
    this.#held = held;
    this.#wake = wake;
  }

  /** All zeros. */
  allocate(lengthBytes: number): Buffer {
    if (lengthBytes < SMALLEST_BYTES || this.#heldBytes + lengthBytes > MAX_BYTES_A_PROCESS)
      return Buffer.alloc(lengthBytes);
    this.#wake();
    const buffer = take(lengthBytes);
    this.#heldBytes += lengthBytes;
    this.#held.add(buffer.buffer as ArrayBuffer);
    return buffer;
  }

  /** Views of it become empty now. For memory that was allocated here whole. */
  free(buffer: Buffer): void {
    const memory = buffer.buffer as ArrayBuffer;
    if (!this.#held.delete(memory)) {
      moved(memory);
      return;
    }
    this.#heldBytes -= buffer.length;
    giveBack(memory);
  }
}
