import { describe, expect, test } from 'vitest';
import { Prng } from '../../../src/base/prng.ts';
import { meanTimeToDataLossMs } from '../../../src/replicator/model/durability.ts';

const question = { nodes: 5, parityFragments: 1, groups: 1, nodeLifetimeMs: 1e10, rebuildMs: 1e5 };

describe('the mean time to data loss', () => {
  test('of a group without parity is the time to the first loss of a node', () => {
    expect(meanTimeToDataLossMs({ ...question, parityFragments: 0 })).toBe(1e10 / 5);
  });

  test('is that of RAID 5: lifetime squared over n (n - 1) rebuild times, and of RAID 6', () => {
    const raid5 = 1e10 ** 2 / (5 * 4 * 1e5);
    expect(meanTimeToDataLossMs(question) / raid5).toBeCloseTo(1, 3);
    const raid6 = 1e10 ** 3 / (6 * 5 * 4 * 1e5 ** 2);
    expect(meanTimeToDataLossMs({ ...question, nodes: 6, parityFragments: 2 }) / raid6).toBeCloseTo(1, 3);
  });

  test('is the mean of simulated lives within confidence bounds', () => {
    const dice = Prng.named(3, 0);
    const random = (): number => dice.unit();
    const exponential = (mean: number): number => -mean * Math.log(1 - random());
    const small = { nodes: 4, parityFragments: 2, groups: 1, nodeLifetimeMs: 100, rebuildMs: 20 };
    const lives = 20_000;
    let total = 0;
    let squares = 0;
    for (let life = 0; life < lives; life++) {
      let lost = 0;
      let age = 0;
      while (lost <= small.parityFragments) {
        const toLoss = exponential(small.nodeLifetimeMs / (small.nodes - lost));
        const toRebuilt = lost === 0 ? Number.POSITIVE_INFINITY : exponential(small.rebuildMs);
        age += Math.min(toLoss, toRebuilt);
        lost += toLoss < toRebuilt ? 1 : -1;
      }
      total += age;
      squares += age * age;
    }
    const mean = total / lives;
    const deviation = Math.sqrt((squares / lives - mean ** 2) / lives);
    expect(Math.abs(mean - meanTimeToDataLossMs(small))).toBeLessThan(4 * deviation);
  });

  test('falls with more groups, more nodes and slower rebuilds, and rises with parity', () => {
    const base = meanTimeToDataLossMs(question);
    expect(meanTimeToDataLossMs({ ...question, groups: 10 })).toBeCloseTo(base / 10, -3);
    expect(meanTimeToDataLossMs({ ...question, nodes: 6 })).toBeLessThan(base);
    expect(meanTimeToDataLossMs({ ...question, rebuildMs: 2e5 })).toBeLessThan(base);
    expect(meanTimeToDataLossMs({ ...question, parityFragments: 2 })).toBeGreaterThan(1000 * base);
  });
});
