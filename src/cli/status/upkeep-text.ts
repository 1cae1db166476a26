/** What rebuilding and scrubbing say to people. Pure. */
import type { ScrubStatus } from '../../replicator/scrub/scrubber.ts';
import type { HealReport } from '../../replicator/upkeep.ts';
import { formatSize } from '../volume/sizes.ts';

const plural = (count: number, word: string): string => `${count} ${word}${count === 1 ? '' : 's'}`;

export function healText(report: HealReport): string {
  const { degradedSegments, unreadableSegments, bytesToRepair, goneNodes } = report;
  const parts = [`heal: ${stateText(report)}`];
  if (degradedSegments > 0) {
    parts.push(`${plural(degradedSegments, 'segment')} degraded, ${formatSize(bytesToRepair)} to rebuild`);
  }
  if (unreadableSegments > 0) parts.push(`${plural(unreadableSegments, 'segment')} cannot be read`);
  if (goneNodes.length > 0) parts.push(`gone: ${goneNodes.map((id) => `node ${id}`).join(', ')}`);
  if (report.state === 'running') parts.push(rateText(report));
  return [...parts, ...limitText(report)].join('; ');
}

function stateText({ state, graceMs, degradedSegments, inventoryDone }: HealReport): string {
  if (state === 'idle') return inventoryDone ? 'everything is whole' : 'looking at what the nodes hold';
  if (state === 'waiting') return `waiting ${durationText(graceMs / 1000)} for nodes that are down`;
  if (state === 'stuck') return 'cannot go on: too few nodes, or no room';
  return degradedSegments === 0 ? 'everything is whole' : state;
}

export function scrubText(report: ScrubStatus): string {
  const { state, underWay, bytesRead, bytesLeft, found, repaired, finishedMs, intervalSeconds } = report;
  const parts = [`scrub: ${state}`];
  if (underWay) parts.push(`${formatSize(bytesRead)} read, ${formatSize(bytesLeft)} left`);
  else if (bytesRead > 0) parts.push(`last: ${new Date(finishedMs).toISOString()}, ${formatSize(bytesRead)}`);
  if (bytesRead > 0 || underWay) parts.push(`${found} found, ${repaired} repaired`);
  if (state === 'running') parts.push(rateText(report));
  parts.push(intervalSeconds === 0 ? 'no schedule' : `every ${durationText(intervalSeconds)}`);
  const lines = [[...parts, ...limitText(report)].join('; ')];
  for (const { segmentId, position, nodeId, repaired: isRepaired } of report.findings) {
    const what = `fragment ${position} of segment ${segmentId} on node ${nodeId}`;
    lines.push(`  ${what}: bad, ${isRepaired ? 'repaired' : 'to be rebuilt'}`);
  }
  return lines.join('\n');
}

export function rateText(report: { bytesPerSecond: number; secondsLeft: number | null }): string {
  const { bytesPerSecond, secondsLeft } = report;
  const rate = `${formatSize(Math.round(bytesPerSecond))}/s`;
  return secondsLeft === null ? rate : `${rate}, ${durationText(secondsLeft)} left`;
}

function limitText({ limitBytesPerSecond }: { limitBytesPerSecond: number }): string[] {
  return limitBytesPerSecond === 0 ? [] : [`at most ${formatSize(limitBytesPerSecond)}/s`];
}

export function durationText(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 120) return `${whole} s`;
  if (whole < 120 * 60) return `${Math.round(whole / 60)} min`;
  if (whole < 48 * 3600) return `${Math.round(whole / 3600)} h`;
  return `${Math.round(whole / 86_400)} days`;
}
