import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatSize, parseSize } from '../../../src/cli/volume/sizes.ts';

describe('sizes', () => {
  test.each([
    ['0', 0],
    ['512', 512],
    ['4k', 4096],
    ['1.5M', 1.5 * 1024 ** 2],
    ['20G', 20 * 1024 ** 3],
    ['20GiB', 20 * 1024 ** 3],
    ['20GB', 20 * 1024 ** 3],
    [' 2 T ', 2 * 1024 ** 4],
  ])('%s is understood', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes);
  });

  test.each(['', 'G', '-1', '1X', '1e9', '12 34', '9999999P'])('%s is refused', (text) => {
    expect(parseSize(text)).toBeUndefined();
  });

  test('a size that is printed reads back to about the same', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 52 }), (bytes) => {
        const back = parseSize(formatSize(bytes)) ?? Number.NaN;
        expect(Math.abs(back - bytes)).toBeLessThanOrEqual(bytes * 0.01);
      }),
    );
  });
});
