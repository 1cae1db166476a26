/** Results of a benchmark: medians, ratios, and their table. Pure. */
import { MIB } from '../../base/units.ts';
import { type Column, formatMarkdownTable, formatTable } from '../terminal/table.ts';

export interface ProcessCost {
  readonly mountCpuSeconds: number;
  readonly nodesCpuSeconds: number;
  readonly mountPeakBytes: number;
  /** Of the node with the most. */
  readonly nodePeakBytes: number;
}

export interface Sample {
  readonly job: string;
  readonly target: string;
  readonly value: number;
  readonly cost: ProcessCost | undefined;
}

export interface JobResult {
  readonly job: string;
  readonly title: string;
  readonly unit: string;
  /** Median by target; absent where the job does not apply. */
  readonly medians: Readonly<Record<string, number>>;
  /** To the first target. */
  readonly ratios: Readonly<Record<string, number>>;
  readonly cost: ProcessCost | undefined;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** Peaks are the highest of the rounds, CPU times their median. */
function combineCosts(costs: readonly ProcessCost[]): ProcessCost | undefined {
  if (costs.length === 0) return undefined;
  return {
    mountCpuSeconds: median(costs.map((cost) => cost.mountCpuSeconds)),
    nodesCpuSeconds: median(costs.map((cost) => cost.nodesCpuSeconds)),
    mountPeakBytes: Math.max(...costs.map((cost) => cost.mountPeakBytes)),
    nodePeakBytes: Math.max(...costs.map((cost) => cost.nodePeakBytes)),
  };
}

/** `references` names, for a job that the first target cannot run, the job whose median there its ratio refers to. */
export function summarize(
  samples: readonly Sample[],
  jobs: readonly { name: string; title: string; unit: string }[],
  targets: readonly string[],
  references: Readonly<Record<string, { job: string; target: string }>> = {},
): JobResult[] {
  const medianOf = (job: string, target: string): number | undefined => {
    const values = samples.filter((sample) => sample.job === job && sample.target === target);
    return values.length === 0 ? undefined : median(values.map((sample) => sample.value));
  };
  const [baseline = ''] = targets;
  return jobs.map(({ name, title, unit }) => {
    const medians: Record<string, number> = {};
    const ratios: Record<string, number> = {};
    const reference = references[name];
    const base =
      reference === undefined ? medianOf(name, baseline) : medianOf(reference.job, reference.target);
    for (const target of targets) {
      const value = medianOf(name, target);
      if (value === undefined) continue;
      medians[target] = value;
      if (base !== undefined && (target !== baseline || reference !== undefined))
        ratios[target] = value / base;
    }
    const costs = samples.flatMap((sample) =>
      sample.job === name && sample.cost !== undefined ? [sample.cost] : [],
    );
    return { job: name, title, unit, medians, ratios, cost: combineCosts(costs) };
  });
}

function formatValue(value: number | undefined): string {
  if (value === undefined) return '-';
  return value >= 100 ? Math.round(value).toLocaleString('en-US') : value.toFixed(1);
}

export function resultTable(
  results: readonly JobResult[],
  targets: readonly string[],
  style: 'text' | 'markdown',
): string {
  const columns: Column[] = [{ title: 'job' }, { title: 'unit' }];
  for (const [index, target] of targets.entries()) {
    columns.push({ title: target, align: 'right' });
    if (index > 0) columns.push({ title: 'ratio', align: 'right' });
  }
  for (const title of ['mount CPU s', 'nodes CPU s', 'mount peak MiB', 'node peak MiB']) {
    columns.push({ title, align: 'right' });
  }
  const rows = results.map((result) => {
    const row = [result.title, result.unit];
    for (const [index, target] of targets.entries()) {
      row.push(formatValue(result.medians[target]));
      if (index > 0) row.push(result.ratios[target]?.toFixed(2) ?? '-');
    }
    const { cost } = result;
    if (cost === undefined) row.push('-', '-', '-', '-');
    else {
      row.push(cost.mountCpuSeconds.toFixed(2), cost.nodesCpuSeconds.toFixed(2));
      row.push(String(Math.round(cost.mountPeakBytes / MIB)), String(Math.round(cost.nodePeakBytes / MIB)));
    }
    return row;
  });
  return style === 'text' ? formatTable(columns, rows) : formatMarkdownTable(columns, rows);
}
