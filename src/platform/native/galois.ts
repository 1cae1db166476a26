/**
 * GF(2^8) over x^8 + x^4 + x^3 + x^2 + 1 (0x11d) and the code's arithmetic: which linear combination of present
 * fragments a missing one is. The kernels carry the combinations out on bytes.
 *
 * Parity row r has coefficient 2^(r*j) for data fragment j. Every square part of rows 0, 1 and 2 is a (generalised)
 * Vandermonde matrix of distinct powers of 2, so any k of k + m fragments suffice for m <= 3, and rows never change
 * when another one is added.
 */
import { assert } from '../../base/assert.ts';
import { MAX_NODES, MAX_PARITY } from '../../base/limits.ts';

const POLYNOMIAL = 0x11d;
const ORDER = 255;

const exponentials = new Uint8Array(2 * ORDER);
const logarithms = new Uint8Array(256);
for (let exponent = 0, value = 1; exponent < ORDER; exponent++) {
  exponentials[exponent] = value;
  exponentials[exponent + ORDER] = value;
  logarithms[value] = exponent;
  value = (value << 1) ^ (value & 0x80 ? POLYNOMIAL : 0);
}

export function multiply(a: number, b: number): number {
  return a === 0 || b === 0 ? 0 : exponentials[logarithms[a]! + logarithms[b]!]!;
}

function inverse(a: number): number {
  assert(a !== 0, 'zero has no inverse');
  return exponentials[ORDER - logarithms[a]!]!;
}

export function parityCoefficient(row: number, dataIndex: number): number {
  return exponentials[(row * dataIndex) % ORDER]!;
}

/** Inverts a matrix of at most MAX_PARITY rows in place by Gauss and Jordan, and returns the inverse. */
function invert(matrix: number[][]): number[][] {
  const size = matrix.length;
  const result = matrix.map((_, row) => matrix.map((_, column) => (row === column ? 1 : 0)));
  for (let pivot = 0; pivot < size; pivot++) {
    const from = matrix.findIndex((row, index) => index >= pivot && row[pivot] !== 0);
    assert(from >= 0, 'parity rows are independent');
    for (const side of [matrix, result]) [side[pivot], side[from]] = [side[from]!, side[pivot]!];
    const scale = inverse(matrix[pivot]![pivot]!);
    for (const side of [matrix, result]) side[pivot] = side[pivot]!.map((value) => multiply(value, scale));
    for (let row = 0; row < size; row++) {
      const factor = matrix[row]![pivot]!;
      if (row === pivot || factor === 0) continue;
      for (const side of [matrix, result]) {
        side[row] = side[row]!.map((value, column) => value ^ multiply(factor, side[pivot]![column]!));
      }
    }
  }
  return result;
}

/** The fragments to read, and how each wanted one is made of them. */
export interface Combination {
  /** Indices of fragments, data first. */
  readonly sources: readonly number[];
  /** One row for each wanted fragment, one coefficient for each source. */
  readonly coefficients: readonly Uint8Array[];
}

function recoverData(present: readonly boolean[], dataFragments: number) {
  const known: number[] = [];
  const missing: number[] = [];
  for (let index = 0; index < dataFragments; index++) (present[index] ? known : missing).push(index);
  const rows: number[] = [];
  for (let row = 0; dataFragments + row < present.length && rows.length < missing.length; row++) {
    if (present[dataFragments + row]) rows.push(row);
  }
  assert(rows.length === missing.length, `${missing.length} data fragments lost, ${rows.length} parity left`);
  const solution = invert(rows.map((row) => missing.map((index) => parityCoefficient(row, index))));
  const sources = [...known, ...rows.map((row) => dataFragments + row)];
  const recovered = missing.map((_, unknown) => {
    const weights = solution[unknown]!;
    const fromKnown = known.map((index) =>
      rows.reduce((sum, row, at) => sum ^ multiply(weights[at]!, parityCoefficient(row, index)), 0),
    );
    return Uint8Array.from([...fromKnown, ...weights]);
  });
  return { known, missing, sources, recovered };
}

/** Says how the wanted fragments follow from the present ones, of which there are at least `dataFragments`. */
export function combinationFor(
  present: readonly boolean[],
  dataFragments: number,
  wanted: readonly number[],
): Combination {
  assert(dataFragments >= 1 && dataFragments <= MAX_NODES, `data fragments ${dataFragments}`);
  assert(present.length - dataFragments <= MAX_PARITY, `fragments ${present.length}`);
  const { known, missing, sources, recovered } = recoverData(present, dataFragments);
  const dataRow = (index: number): Uint8Array => {
    if (!present[index]) return recovered[missing.indexOf(index)]!;
    const row = new Uint8Array(sources.length);
    row[known.indexOf(index)] = 1;
    return row;
  };
  const parityRow = (parity: number): Uint8Array => {
    const row = new Uint8Array(sources.length);
    for (let index = 0; index < dataFragments; index++) {
      const factor = parityCoefficient(parity, index);
      dataRow(index).forEach((value, at) => {
        row[at]! ^= multiply(factor, value);
      });
    }
    return row;
  };
  const coefficients = wanted.map((index) => {
    assert(index >= 0 && index < present.length, `fragment ${index} of ${present.length}`);
    return index < dataFragments ? dataRow(index) : parityRow(index - dataFragments);
  });
  return { sources, coefficients };
}
