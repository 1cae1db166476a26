/**
 * A node's unavailability p, measured from its own times up and down. Pure: the caller keeps the record and says how long what lasted.
 *
 * Model: times up and times down are exponential with rates f and r; p = f / (f + r). Each rate has a gamma prior, so the record
 * needs four numbers only and the posterior is exact: f ~ Gamma(failures, upMs), r ~ Gamma(repairs, downMs). Of two gamma variables X and Y,
 * X / (X + Y) is beta distributed, which gives p's credible interval. An interval that has not ended yet counts as time without
 * an end: right for exponential times. (Gelman et al., "Bayesian Data Analysis", 3rd edition, section 2.6.)
 *
 * Old experience fades: everything loses half of its weight in each half-life, so that a repaired node is not blamed for ever.
 */
import { assert } from '../../base/assert.ts';
import { betaQuantile } from './beta.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** What was seen of a node, faded: times in milliseconds and counts, all of them weighted and so not integers. */
export interface UpDownRecord {
  readonly upMs: number;
  readonly downMs: number;
  /** Changes from up to down. */
  readonly failures: number;
  /** Changes from down to up. */
  readonly repairs: number;
}

export const NOTHING_SEEN: UpDownRecord = { upMs: 0, downMs: 0, failures: 0, repairs: 0 };

/**
 * What is believed of a node that was never seen: down for one hour in a thousand, and as sure of that as after one failure. It weighs little: six
 * weeks of experience weigh as much.
 */
export const DEFAULT_PRIOR: UpDownRecord = {
  upMs: 999 * HOUR_MS,
  downMs: HOUR_MS,
  failures: 1,
  repairs: 1,
};

/** What is believed of a failure domain that several nodes share: about an hour a year. */
export const DOMAIN_PRIOR: UpDownRecord = {
  upMs: 9_999 * HOUR_MS,
  downMs: HOUR_MS,
  failures: 1,
  repairs: 1,
};

export const DEFAULT_HALF_LIFE_MS = 90 * DAY_MS;

export interface ObservedInterval {
  readonly state: 'up' | 'down';
  readonly durationMs: number;
  /** Whether the node changed its state at the end of it. Intervals may be reported in pieces of any length. */
  readonly ended: boolean;
}

/** The record after an interval that follows what it holds. Splitting an interval in two gives the same result. */
export function observe(
  record: UpDownRecord,
  interval: ObservedInterval,
  halfLifeMs = DEFAULT_HALF_LIFE_MS,
): UpDownRecord {
  const { state, durationMs, ended } = interval;
  assert(durationMs >= 0 && halfLifeMs > 0, `an interval of ${durationMs} ms`);
  const kept = 2 ** (-durationMs / halfLifeMs);
  // The interval's own beginning fades until its end: the integral of the weight over its length.
  const weighedMs = -(halfLifeMs / Math.LN2) * Math.expm1((-durationMs / halfLifeMs) * Math.LN2);
  return {
    upMs: record.upMs * kept + (state === 'up' ? weighedMs : 0),
    downMs: record.downMs * kept + (state === 'down' ? weighedMs : 0),
    failures: record.failures * kept + (ended && state === 'up' ? 1 : 0),
    repairs: record.repairs * kept + (ended && state === 'down' ? 1 : 0),
  };
}

export interface MeasuredUnavailability {
  /** Share of time that the node is down, from the posterior means of both rates: what the planner uses. 0..1. */
  readonly p: number;
  /** The interval that holds the true share with the credibility asked for. */
  readonly low: number;
  readonly high: number;
}

/** A node's p and how sure that is. `credibility` is that of the interval, 0..1. */
export function measureUnavailability(
  record: UpDownRecord,
  prior: UpDownRecord = DEFAULT_PRIOR,
  credibility = 0.8,
): MeasuredUnavailability {
  const failures = prior.failures + record.failures;
  const repairs = prior.repairs + record.repairs;
  const upMs = prior.upMs + record.upMs;
  const downMs = prior.downMs + record.downMs;
  assert(failures > 0 && repairs > 0 && upMs > 0 && downMs > 0, 'a prior has times and counts above 0');
  // p by the share of the failure variable in both: a monotonic map, so it carries quantiles over.
  const unavailability = (share: number): number => (share * downMs) / (share * downMs + (1 - share) * upMs);
  const quantile = (level: number): number => unavailability(betaQuantile(level, failures, repairs));
  return {
    p: unavailability(failures / (failures + repairs)),
    low: quantile((1 - credibility) / 2),
    high: quantile((1 + credibility) / 2),
  };
}

/**
 * What to believe of a node before it is seen when others were: that it is like them, and as sure of that as after one failure
 * (an empirical Bayes prior). Without anything seen of others it is `basis`.
 */
export function fleetPrior(
  others: Iterable<UpDownRecord>,
  basis: UpDownRecord = DEFAULT_PRIOR,
): UpDownRecord {
  let { upMs, downMs, failures, repairs } = basis;
  for (const record of others) {
    upMs += record.upMs;
    downMs += record.downMs;
    failures += record.failures;
    repairs += record.repairs;
  }
  return { upMs: upMs / failures, downMs: downMs / repairs, failures: 1, repairs: 1 };
}
