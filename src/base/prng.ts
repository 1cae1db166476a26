/**
 * A repeatable generator of random numbers: xoshiro128** 1.1 by David Blackman and Sebastiano Vigna (prng.di.unimi.it, public domain),
 * 32 bits a draw. Not for keys or nonces. Streams are named by 64 bits, which splitmix32 spreads over the generator's state.
 */
import { assert } from './assert.ts';

const TWO_32 = 2 ** 32;

export class Prng {
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  /** The generator's state, which is not all zeros. */
  constructor(a: number, b: number, c: number, d: number) {
    assert((a | b | c | d) !== 0, 'a state that the generator can leave');
    this.#a = a | 0;
    this.#b = b | 0;
    this.#c = c | 0;
    this.#d = d | 0;
  }

  /** Two 32-bit words name the stream. */
  static named(low: number, high: number): Prng {
    let word = low | 0;
    const next = (): number => {
      word = (word + 0x9e3779b9) | 0;
      return mixBits(word);
    };
    const a = next();
    const b = next();
    word ^= high | 0;
    return new Prng(a, b, next(), next() | 1);
  }

  /** 32 uniform bits as an integer from 0. */
  next(): number {
    const product = Math.imul(this.#b, 5);
    const result = Math.imul((product << 7) | (product >>> 25), 9);
    const shifted = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= shifted;
    this.#d = (this.#d << 11) | (this.#d >>> 21);
    return result >>> 0;
  }

  /** Uniform in [0, 1), with 53 bits. */
  unit(): number {
    const high = this.next() >>> 5;
    return (high * 2 ** 26 + (this.next() >>> 6)) * 2 ** -53;
  }

  /** Uniform integer in [0, bound), bound at most 2^32: what would favour small results is drawn again. */
  below(bound: number): number {
    assert(Number.isInteger(bound) && bound >= 1 && bound <= TWO_32, 'a bound from 1 to 2^32');
    const limit = TWO_32 - (TWO_32 % bound);
    let drawn = this.next();
    while (drawn >= limit) drawn = this.next();
    return drawn % bound;
  }

  fill(bytes: Buffer): void {
    let at = 0;
    for (; at + 4 <= bytes.length; at += 4) bytes.writeUInt32LE(this.next(), at);
    for (; at < bytes.length; at++) bytes[at] = this.next() >>> 24;
  }
}

/** The finalizer of splitmix32: every bit of the word changes about half of the result's bits. */
export function mixBits(word: number): number {
  let mixed = word ^ (word >>> 16);
  mixed = Math.imul(mixed, 0x21f0aaad);
  mixed ^= mixed >>> 15;
  mixed = Math.imul(mixed, 0x735a2d97);
  return (mixed ^ (mixed >>> 15)) >>> 0;
}

/** A 32-bit hash of the text (FNV-1a over its code units, then mixed). */
export function hashText(text: string, seed = 0): number {
  let hash = 0x811c9dc5 ^ seed;
  for (let index = 0; index < text.length; index++)
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  return mixBits(hash);
}
