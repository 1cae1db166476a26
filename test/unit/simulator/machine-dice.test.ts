import { expect, test } from 'vitest';
import { Prng } from '../../../src/base/prng.ts';
import { createDice } from '../../../src/simulator/machine/dice.ts';

const draw = (count: number, next: () => number): number[] => Array.from({ length: count }, next);

/** xoshiro128** as its authors wrote it, with whole numbers of any size. */
function* reference(state: readonly [bigint, bigint, bigint, bigint]): Generator<number> {
  let [a, b, c, d] = state;
  const word = (value: bigint): bigint => value & 0xffffffffn;
  const turn = (value: bigint, by: bigint): bigint => word((value << by) | (value >> (32n - by)));
  for (;;) {
    yield Number(word(turn(word(b * 5n), 7n) * 9n));
    const shifted = word(b << 9n);
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= shifted;
    d = turn(d, 11n);
  }
}

test('the generator gives what its authors say', () => {
  const ours = new Prng(1, 2, 3, 4);
  const theirs = reference([1n, 2n, 3n, 4n]);
  expect(draw(4, () => ours.next())).toEqual([11_520, 0, 5_927_040, 70_819_200]);
  draw(4, () => theirs.next().value);
  for (let i = 0; i < 10_000; i++) expect(ours.next()).toBe(theirs.next().value);
});

test('one seed gives one stream, another seed another one', () => {
  const stream = (seed: number): number[] => {
    const dice = createDice(seed);
    return draw(20, () => dice.unit());
  };
  expect(stream(7)).toEqual(stream(7));
  expect(stream(7)).not.toEqual(stream(8));
  expect(stream(7)).not.toEqual(stream(7 + 2 ** 32));
});

test('a fork depends on its name only, not on what was drawn before', () => {
  const fresh = createDice(3);
  const used = createDice(3);
  draw(1_000, () => used.unit());
  const stream = (name: string, dice = fresh) => dice.fork(name).bytes(64).toString('hex');
  expect(stream('disk', used)).toBe(stream('disk'));
  expect(stream('disk')).not.toBe(stream('network'));
  expect(fresh.fork('a').fork('b').unit()).not.toBe(fresh.fork('b').fork('a').unit());
});

test('numbers stay within their bounds and reach all of them evenly', () => {
  const dice = createDice(5);
  const counts = new Array<number>(6).fill(0);
  for (let i = 0; i < 60_000; i++) counts[dice.below(6)]!++;
  for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(500);
  expect(draw(100, () => dice.below(1))).toEqual(new Array(100).fill(0));
  expect(draw(1_000, () => dice.below(2 ** 32)).some((value) => value >= 2 ** 31)).toBe(true);
  const units = draw(10_000, () => dice.unit());
  expect(Math.min(...units)).toBeGreaterThanOrEqual(0);
  expect(Math.max(...units)).toBeLessThan(1);
  expect(units.reduce((sum, unit) => sum + unit) / units.length).toBeCloseTo(0.5, 1);
});

test('chances and waiting times come out as often and as long as they say', () => {
  const dice = createDice(11);
  const struck = draw(20_000, () => (dice.chance(0.1) ? 1 : 0)).reduce((sum, one) => sum + one);
  expect(Math.abs(struck - 2_000)).toBeLessThan(200);
  const waits = draw(20_000, () => dice.exponential(8));
  expect(waits.reduce((sum, wait) => sum + wait) / waits.length).toBeCloseTo(8, 0);
  expect(dice.chance(0)).toBe(false);
  expect(dice.chance(1)).toBe(true);
});
