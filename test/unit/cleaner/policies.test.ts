import { describe, expect, test } from 'vitest';
import { Prng } from '../../../src/base/prng.ts';
import { type LogModelResult, modelLog } from '../../../src/cleaner/model/log-model.ts';
import { hotCold, type Updates, uniform, zipf } from '../../../src/cleaner/model/updates.ts';
import { byLifespan, hotAndCold, type Separation, together } from '../../../src/cleaner/separation.ts';
import { costBenefit, greedy, type VictimPolicy } from '../../../src/cleaner/victims.ts';

const SEGMENTS = 200;
const BLOCKS_PER_SEGMENT = 64;

function run(
  utilisation: number,
  updates: (random: Prng, blocks: number) => Updates,
  policy: VictimPolicy,
  separation: Separation,
): LogModelResult {
  const blocks = Math.floor(SEGMENTS * BLOCKS_PER_SEGMENT * utilisation);
  return modelLog({
    segments: SEGMENTS,
    blocksPerSegment: BLOCKS_PER_SEGMENT,
    utilisation,
    policy,
    separation,
    nextBlock: updates(Prng.named(1, 2), blocks),
    warmUpRounds: 4,
    measuredRounds: 4,
  });
}

const ninetyTen = (random: Prng, blocks: number) => hotCold(random, blocks, 0.9, 0.1);
const skewed = (random: Prng, blocks: number) => zipf(random, blocks, 0.99);

describe('victims', () => {
  test('a segment without dead blocks is worth nothing', () => {
    for (const policy of [greedy, costBenefit])
      expect(policy.score({ liveBlocks: 8, blocks: 8, ageBlocks: 1e6 })).toBeLessThanOrEqual(0);
  });

  test('greedy takes the emptiest whatever its age; cost-benefit cleans an old segment before an emptier young one', () => {
    const old = { liveBlocks: 6, blocks: 8, ageBlocks: 100_000 };
    const young = { liveBlocks: 2, blocks: 8, ageBlocks: 10 };
    expect(greedy.score(young)).toBeGreaterThan(greedy.score(old));
    expect(costBenefit.score(old)).toBeGreaterThan(costBenefit.score(young));
  });
});

describe('the model of a log', () => {
  test('copies no more than segments of mean utilisation would cost, and no less than nothing', () => {
    const { writeAmplification, cleanedUtilisation } = run(0.7, uniform, greedy, together());
    expect(cleanedUtilisation).toBeLessThan(0.7);
    expect(writeAmplification).toBeGreaterThan(1);
    expect(writeAmplification).toBeLessThan(1 / (1 - 0.7));
  });

  test('what cleaning copies follows from how full the cleaned segments were', () => {
    const { writeAmplification, cleanedUtilisation } = run(0.8, uniform, greedy, together());
    expect(writeAmplification).toBeCloseTo(1 / (1 - cleanedUtilisation), 1);
  });

  test('the fuller the volume, the more is copied', () => {
    const at = [0.5, 0.7, 0.85].map((u) => run(u, uniform, greedy, together()).writeAmplification);
    expect(at[1]).toBeGreaterThan(at[0]!);
    expect(at[2]).toBeGreaterThan(at[1]!);
  });

  test('keeping moved blocks apart helps where some blocks are hotter than others', () => {
    for (const updates of [ninetyTen, skewed]) {
      const mixed = run(0.8, updates, greedy, together()).writeAmplification;
      const apart = run(0.8, updates, costBenefit, hotAndCold()).writeAmplification;
      expect(apart).toBeLessThan(mixed);
    }
  });

  test('the same seed gives the same result', () => {
    expect(run(0.75, skewed, costBenefit, byLifespan())).toEqual(
      run(0.75, skewed, costBenefit, byLifespan()),
    );
  });
});

describe('separation by lifespan', () => {
  test('knows no short lives before it has seen some segments go', () => {
    const separation = byLifespan();
    expect(separation.classOfUserWrite(1e9)).toBe(0);
    for (let i = 0; i < 16; i++) separation.cleaned(0, 1000);
    expect(separation.classOfUserWrite(999)).toBe(0);
    expect(separation.classOfUserWrite(1000)).toBe(1);
    expect(separation.classOfUserWrite(Number.POSITIVE_INFINITY)).toBe(1);
  });

  test('moved blocks go by where they come from, and by their age', () => {
    const separation = byLifespan();
    for (let i = 0; i < 16; i++) separation.cleaned(0, 1000);
    expect(separation.classOfRewrite(0, 1e9)).toBe(2);
    expect([100, 4000, 15_999, 16_000].map((age) => separation.classOfRewrite(1, age))).toEqual([3, 4, 4, 5]);
  });
});
