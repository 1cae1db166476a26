import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Prng } from '../../../src/base/prng.ts';
import { betaDistribution, betaQuantile } from '../../../src/replicator/model/beta.ts';
import {
  DEFAULT_PRIOR,
  fleetPrior,
  measureUnavailability,
  NOTHING_SEEN,
  observe,
  type UpDownRecord,
} from '../../../src/replicator/model/measured.ts';

const HOUR_MS = 3_600_000;
const FOREVER_MS = 1e300;
const live = (record: UpDownRecord, state: 'up' | 'down', durationMs: number, halfLifeMs?: number) =>
  observe(record, { state, durationMs, ended: true }, halfLifeMs);

describe('the beta distribution', () => {
  test('has the closed forms of whole parameters', () => {
    // Beta(1, b): 1 - (1 - x)^b. Beta(a, 1): x^a. Beta(2, 2): 3 x^2 - 2 x^3.
    for (const x of [1e-6, 0.01, 0.3, 0.5, 0.9, 0.999]) {
      expect(betaDistribution(x, 1, 7)).toBeCloseTo(1 - (1 - x) ** 7, 12);
      expect(betaDistribution(x, 7, 1)).toBeCloseTo(x ** 7, 12);
      expect(betaDistribution(x, 2, 2)).toBeCloseTo(3 * x ** 2 - 2 * x ** 3, 12);
    }
    expect(betaDistribution(0.5, 1000.5, 1000.5)).toBeCloseTo(0.5, 10);
  });

  test('is undone by its quantile', () => {
    const parameter = fc.double({ min: 0.5, max: 500, noNaN: true });
    fc.assert(
      fc.property(parameter, parameter, fc.double({ min: 0.01, max: 0.99, noNaN: true }), (a, b, level) => {
        expect(betaDistribution(betaQuantile(level, a, b), a, b)).toBeCloseTo(level, 8);
      }),
      { seed: 5 },
    );
  });
});

describe('the unavailability of a node', () => {
  test('that nobody has seen is the prior, one in a thousand', () => {
    const { p, low, high } = measureUnavailability(NOTHING_SEEN);
    expect(p).toBeCloseTo(0.001, 12);
    expect(low).toBeLessThan(p / 3);
    expect(high).toBeGreaterThan(3 * p);
  });

  test('approaches what the node does, and surer the longer it is seen', () => {
    const dice = Prng.named(11, 0);
    const random = (): number => dice.unit();
    const exponential = (mean: number): number => -mean * Math.log(1 - random());
    let record = NOTHING_SEEN;
    let width = 1;
    for (let cycle = 1; cycle <= 4096; cycle++) {
      record = live(record, 'up', exponential(19 * HOUR_MS), FOREVER_MS);
      record = live(record, 'down', exponential(HOUR_MS), FOREVER_MS);
      if (cycle === 16 || cycle === 256 || cycle === 4096) {
        const { low, high } = measureUnavailability(record);
        expect(high - low).toBeLessThan(width);
        width = high - low;
      }
    }
    expect(measureUnavailability(record).p).toBeGreaterThan(0.0475);
    expect(measureUnavailability(record).p).toBeLessThan(0.0525);
  });

  test('lies in its credible interval as often as the interval says', () => {
    // Nodes drawn from the prior itself, watched for ten changes each: then the coverage of a Bayesian interval is exact.
    const dice = Prng.named(5, 0);
    const random = (): number => dice.unit();
    const exponential = (mean: number): number => -mean * Math.log(1 - random());
    const nodes = 4000;
    let covered = 0;
    for (let node = 0; node < nodes; node++) {
      const meanUpMs = DEFAULT_PRIOR.upMs / exponential(1);
      const meanDownMs = DEFAULT_PRIOR.downMs / exponential(1);
      let record = NOTHING_SEEN;
      for (let change = 0; change < 5; change++) {
        record = live(record, 'up', exponential(meanUpMs), FOREVER_MS);
        record = live(record, 'down', exponential(meanDownMs), FOREVER_MS);
      }
      const { low, high } = measureUnavailability(record, DEFAULT_PRIOR, 0.8);
      const truth = meanDownMs / (meanUpMs + meanDownMs);
      if (truth >= low && truth <= high) covered++;
    }
    const deviation = Math.sqrt(0.8 * 0.2 * nodes);
    expect(Math.abs(covered - 0.8 * nodes)).toBeLessThan(4 * deviation);
  });

  test('does not depend on the pieces in which an interval is reported', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('up' as const, 'down' as const),
        fc.integer({ min: 0, max: 1e10 }),
        fc.integer({ min: 0, max: 1e10 }),
        (state, firstMs, secondMs) => {
          const before = live(live(NOTHING_SEEN, 'up', 1e9), 'down', 1e7);
          const whole = observe(before, { state, durationMs: firstMs + secondMs, ended: true });
          const first = observe(before, { state, durationMs: firstMs, ended: false });
          const pieces = observe(first, { state, durationMs: secondMs, ended: true });
          for (const key of ['upMs', 'downMs', 'failures', 'repairs'] as const) {
            expect(Math.abs(pieces[key] - whole[key])).toBeLessThanOrEqual(1e-9 * (1 + whole[key]));
          }
        },
      ),
      { seed: 6 },
    );
  });

  test('rises while a node is down and falls while it is up', () => {
    const now = measureUnavailability(live(NOTHING_SEEN, 'up', 100 * HOUR_MS)).p;
    const record = live(NOTHING_SEEN, 'up', 100 * HOUR_MS);
    const later = (state: 'up' | 'down') =>
      measureUnavailability(observe(record, { state, durationMs: 100 * HOUR_MS, ended: false })).p;
    expect(later('down')).toBeGreaterThan(10 * now);
    expect(later('up')).toBeLessThan(now);
  });

  test('forgets an outage of long ago', () => {
    const bad = live(live(NOTHING_SEEN, 'up', HOUR_MS), 'down', 1000 * HOUR_MS);
    const years = observe(bad, { state: 'up', durationMs: 24_000 * HOUR_MS, ended: false });
    expect(measureUnavailability(bad).p).toBeGreaterThan(0.4);
    expect(measureUnavailability(years).p).toBeLessThan(0.005);
  });

  test('of a newcomer is that of the others, until it is seen itself', () => {
    expect(fleetPrior([])).toEqual(DEFAULT_PRIOR);
    let often = NOTHING_SEEN;
    for (let cycle = 0; cycle < 200; cycle++) {
      often = live(live(often, 'up', 9 * HOUR_MS, FOREVER_MS), 'down', HOUR_MS, FOREVER_MS);
    }
    const prior = fleetPrior([often, often, often]);
    expect(measureUnavailability(NOTHING_SEEN, prior).p).toBeGreaterThan(0.08);
    expect(measureUnavailability(live(NOTHING_SEEN, 'up', 2000 * HOUR_MS), prior).p).toBeLessThan(0.01);
  });
});
