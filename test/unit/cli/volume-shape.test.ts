import { describe, expect, test } from 'vitest';
import { MAX_DATA_FRAGMENTS, stripeShape } from '../../../src/cli/volume/volume-shape.ts';

describe('the stripe shape of a new volume', () => {
  test('five nodes with one parity give 4+1', () => {
    expect(stripeShape(5, 1)).toEqual({ dataFragments: 4, parityFragments: 1 });
  });

  test('two nodes with one parity mirror', () => {
    expect(stripeShape(2, 1)).toEqual({ dataFragments: 1, parityFragments: 1 });
  });

  test('many nodes form several groups instead of one very wide stripe', () => {
    expect(stripeShape(32, 2)).toEqual({ dataFragments: MAX_DATA_FRAGMENTS, parityFragments: 2 });
  });

  test('three nodes cannot hold three parity fragments, and the message says what to do', () => {
    expect(stripeShape(3, 3)).toBe(
      '--parity 3 needs at least 4 nodes and there are 3: use --nodes 4 or --parity 2',
    );
  });

  test.each([
    [0, 0],
    [33, 1],
    [5, 4],
  ])('%i nodes with parity %i are refused', (nodes, parity) => {
    expect(stripeShape(nodes, parity)).toEqual(expect.any(String));
  });
});
