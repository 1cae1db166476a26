import { describe, expect, test } from 'vitest';
import { median, resultTable, type Sample, summarize } from '../../../src/cli/bench/result.ts';

const job = { name: 'read', title: 'reading', unit: 'MB/s' };
const degraded = { name: 'read-degraded', title: 'reading, one node dead', unit: 'MB/s' };
const sample = (name: string, target: string, value: number): Sample => ({
  job: name,
  target,
  value,
  cost: undefined,
});

describe('benchmark results', () => {
  test('the median of an even number of values lies between the middle two', () => {
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(median([9, 1, 5])).toBe(5);
  });

  test('ratios are to the first directory', () => {
    const samples = [100, 300, 200].map((value) => sample('read', 'plain', value));
    samples.push(sample('read', 'tartan', 120));
    const [result] = summarize(samples, [job], ['plain', 'tartan']);
    expect(result?.medians).toEqual({ plain: 200, tartan: 120 });
    expect(result?.ratios).toEqual({ tartan: 0.6 });
  });

  test('a degraded read is compared with the healthy read of the same volume', () => {
    const samples = [
      sample('read', 'plain', 400),
      sample('read', 'tartan', 200),
      sample('read-degraded', 'tartan', 150),
    ];
    const results = summarize(samples, [job, degraded], ['plain', 'tartan'], {
      'read-degraded': { job: 'read', target: 'tartan' },
    });
    expect(results[1]?.ratios).toEqual({ tartan: 0.75 });
  });

  test('peaks are the highest of all rounds', () => {
    const cost = (mountPeakBytes: number) => ({
      mountCpuSeconds: 1,
      nodesCpuSeconds: 2,
      mountPeakBytes,
      nodePeakBytes: 1,
    });
    const samples = [10, 30, 20].map((peak) => ({ ...sample('read', 'plain', 1), cost: cost(peak) }));
    expect(summarize(samples, [job], ['plain'])[0]?.cost?.mountPeakBytes).toBe(30);
  });

  test('a job that a directory did not run shows as a dash', () => {
    const results = summarize([sample('read-degraded', 'tartan', 5)], [degraded], ['plain', 'tartan']);
    expect(resultTable(results, ['plain', 'tartan'], 'markdown')).toContain('| MB/s | - | 5.0 | - |');
  });
});
