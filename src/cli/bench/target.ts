/** A directory that is measured, and what is known of the processes behind it. */
import type { SupervisorClient } from '../supervisor/supervisor-client.ts';
import { measureUsage } from './process-usage.ts';
import type { ProcessCost } from './result.ts';

export interface Target {
  readonly label: string;
  /** An empty directory of our own in it. */
  readonly directory: string;
  /** Present for a volume of ours. */
  readonly supervisor?: SupervisorClient;
}

/** Measures the volume's processes while `work` runs. */
export async function measured<T>(
  target: Target,
  work: () => Promise<T>,
): Promise<{ value: T; cost: ProcessCost | undefined }> {
  if (target.supervisor === undefined) return { value: await work(), cost: undefined };
  const facts = await target.supervisor.facts();
  const pidsOf = (pids: readonly (number | null | undefined)[]): number[] =>
    pids.filter((pid) => typeof pid === 'number');
  const mount = pidsOf([facts.mount?.pid]).map(measureUsage);
  const nodes = pidsOf(facts.nodes.map((node) => node.pid)).map(measureUsage);
  const value = await work();
  const mountUsage = mount.map((usage) => usage());
  const nodeUsage = nodes.map((usage) => usage());
  return {
    value,
    cost: {
      mountCpuSeconds: mountUsage.reduce((sum, usage) => sum + usage.cpuSeconds, 0),
      nodesCpuSeconds: nodeUsage.reduce((sum, usage) => sum + usage.cpuSeconds, 0),
      mountPeakBytes: Math.max(0, ...mountUsage.map((usage) => usage.peakBytes)),
      nodePeakBytes: Math.max(0, ...nodeUsage.map((usage) => usage.peakBytes)),
    },
  };
}
