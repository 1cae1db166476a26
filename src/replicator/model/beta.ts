/**
 * The beta distribution's quantile, for credible intervals. Pure. The distribution function is the continued fraction of DLMF 8.17.22,
 * evaluated by Lentz's method; the quantile is found by bisection, which needs no derivative and cannot diverge.
 */
import { assert } from '../../base/assert.ts';

const RELATIVE_ERROR = 1e-14;
const MOST_TERMS = 10_000;
const BISECTIONS = 60;
const TINY = 1e-300;

/** The x with P(X <= x) = `level` for X ~ Beta(a, b). Precise to about 1e-14 absolutely. */
export function betaQuantile(level: number, a: number, b: number): number {
  assert(level >= 0 && level <= 1 && a > 0 && b > 0, `quantile ${level} of Beta(${a}, ${b})`);
  let low = 0;
  let high = 1;
  for (let round = 0; round < BISECTIONS; round++) {
    const middle = (low + high) / 2;
    if (betaDistribution(middle, a, b) < level) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/** P(X <= x) for X ~ Beta(a, b). */
export function betaDistribution(x: number, a: number, b: number): number {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  // The fraction converges quickly on the near side of the mean only.
  if (x > (a + 1) / (a + b + 2)) return 1 - betaDistribution(1 - x, b, a);
  const logFront =
    a * Math.log(x) + b * Math.log1p(-x) + logGamma(a + b) - logGamma(a) - logGamma(b) - Math.log(a);
  return Math.exp(logFront) * continuedFraction(x, a, b);
}

/** 1 / (1 + d1 / (1 + d2 / ...)): Lentz evaluates the denominator. */
function continuedFraction(x: number, a: number, b: number): number {
  let denominator = 1;
  let c = 1;
  let d = 0;
  for (let index = 1; index < MOST_TERMS; index++) {
    const term = coefficient(index, x, a, b);
    d = 1 / nonZero(1 + term * d);
    c = nonZero(1 + term / c);
    denominator *= c * d;
    if (Math.abs(c * d - 1) < RELATIVE_ERROR) break;
  }
  return 1 / denominator;
}

function coefficient(index: number, x: number, a: number, b: number): number {
  const j = Math.floor(index / 2);
  if (index % 2 === 0) return (j * (b - j) * x) / ((a + 2 * j - 1) * (a + 2 * j));
  return (-(a + j) * (a + b + j) * x) / ((a + 2 * j) * (a + 2 * j + 1));
}

const nonZero = (value: number): number => (Math.abs(value) < TINY ? TINY : value);

/** Lanczos's approximation with g = 7, nine terms: relative error below 1e-14 for positive arguments. */
const LANCZOS = [
  0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
  12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
];

function logGamma(value: number): number {
  if (value < 0.5) return Math.log(Math.PI / Math.sin(Math.PI * value)) - logGamma(1 - value);
  const shifted = value - 1;
  const base = shifted + 7.5;
  const series = LANCZOS.reduce(
    (sum, term, index) => sum + (index === 0 ? term : term / (shifted + index)),
    0,
  );
  return 0.5 * Math.log(2 * Math.PI) + (shifted + 0.5) * Math.log(base) - base + Math.log(series);
}
