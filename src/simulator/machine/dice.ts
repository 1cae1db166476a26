/**
 * Streams of random numbers from one seed. What a stream gives depends on the seed and on the names on the way to it only, not on what
 * others have drawn.
 */
import { assert } from '../../base/assert.ts';
import { hashText, Prng } from '../../base/prng.ts';
import type { Dice } from '../contract.ts';

/** Two words name a stream: one alone would let 50,000 names collide. */
class SeededDice implements Dice {
  readonly #low: number;
  readonly #high: number;
  readonly #numbers: Prng;

  constructor(low: number, high: number) {
    this.#low = low;
    this.#high = high;
    this.#numbers = Prng.named(low, high);
  }

  unit(): number {
    return this.#numbers.unit();
  }

  below(bound: number): number {
    return this.#numbers.below(bound);
  }

  chance(probability: number): boolean {
    return this.#numbers.unit() < probability;
  }

  pick<T>(items: readonly T[]): T {
    assert(items.length > 0, 'something to pick from');
    return items[this.#numbers.below(items.length)] as T;
  }

  exponential(mean: number): number {
    return -mean * Math.log(1 - this.#numbers.unit());
  }

  bytes(lengthBytes: number): Buffer {
    const bytes = Buffer.allocUnsafe(lengthBytes);
    this.#numbers.fill(bytes);
    return bytes;
  }

  fork(name: string): Dice {
    return new SeededDice(hashText(name, this.#low), hashText(name, this.#high ^ 0x5bd1e995));
  }
}

/** The seed is a safe integer from 0. */
export function createDice(seed: number): Dice {
  assert(Number.isSafeInteger(seed) && seed >= 0, `seed ${seed}`);
  return new SeededDice(seed % 2 ** 32, Math.floor(seed / 2 ** 32));
}
