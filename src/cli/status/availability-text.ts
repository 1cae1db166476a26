/** What the replicator says to people about the availability that is asked for. Pure. */
import type { Shape } from '../../log/segment-layout.ts';
import { isSameShape } from '../../log/target-shape.ts';
import type { AvailabilityReport } from '../../replicator/adapt/adapter.ts';
import { formatAvailability, groupsText, remedyText } from '../plan/plan-text.ts';
import { formatSize } from '../volume/sizes.ts';
import { durationText, rateText } from './upkeep-text.ts';

type Outlook = Pick<
  AvailabilityReport,
  'targetUnavailability' | 'predictedUnavailability' | 'next' | 'remedies'
>;

/** What is promised, what is asked for, and what is to follow. */
export function outlookText(report: Outlook): string {
  const { targetUnavailability: target, predictedUnavailability: predicted, next, remedies } = report;
  const parts = [predicted === null ? 'not known' : `${formatAvailability(predicted)} predicted`];
  parts.push(target === null ? 'no target' : `target ${formatAvailability(target)}`);
  if (next !== null) {
    const { inSeconds, groups } = next;
    const layout = `${shapeText(next)}${groups > 1 ? ` in ${groups} groups of nodes` : ''}`;
    parts.push(`${layout} in ${durationText(inSeconds)} if that stays the best`);
  }
  if (remedies.length > 0)
    parts.push(`no layout meets it; what would: ${remedies.map(remedyText).join('; or ')}`);
  return parts.join(', ');
}

export function availabilityText(report: AvailabilityReport): string {
  const { state, segmentsLeft, leftBytes, limitBytesPerSecond, groups } = report;
  const parts = [`availability: ${outlookText(report)}`];
  parts.push(writtenText(report));
  if (segmentsLeft > 0) {
    const left = `${segmentsLeft} older ones to be laid out anew, ${formatSize(leftBytes)}`;
    parts.push(`${left}: ${stuckText(state)}${state === 'running' ? `, ${rateText(report)}` : ''}`);
  }
  if (report.paused && segmentsLeft === 0) parts.push('paused');
  if (limitBytesPerSecond > 0) parts.push(`at most ${formatSize(limitBytesPerSecond)}/s`);
  const lines = [parts.join('; ')];
  if (groups.length > 0) lines.push(`  each segment lies within one group of nodes: ${groupsText(groups)}`);
  lines.push(`  the nodes were seen to carry ${formatSize(report.carriedBytesPerSecond)}/s together`);
  for (const { id, ...share } of report.nodes) lines.push(`  node ${id}: ${measuredText(share)}`);
  for (const { label, ...share } of report.domains) {
    lines.push(`  all nodes of ${label} at once: ${measuredText(share)}`);
  }
  return lines.join('\n');
}

function writtenText({ layout, written }: Pick<AvailabilityReport, 'layout' | 'written'>): string {
  if (written === null) return `too few nodes for new segments, which are to be ${shapeText(layout)}`;
  const isWhole = isSameShape(written, layout);
  return `new segments are ${shapeText(written)}${isWhole ? '' : `, ${shapeText(layout)} with more nodes`}`;
}

const shapeText = ({ dataFragments, parityFragments }: Shape): string =>
  `${dataFragments}+${parityFragments}`;

type Measured = Omit<AvailabilityReport['nodes'][number], 'id'>;

function measuredText({ unavailability, low, high }: Measured): string {
  return `away ${awayText(unavailability)} of the time (80% sure of ${awayText(low)} to ${awayText(high)})`;
}

/** A share of time, in percent. */
export function awayText(share: number): string {
  return `${Number((100 * share).toPrecision(2))}%`;
}

function stuckText(state: AvailabilityReport['state']): string {
  if (state === 'stuck') return 'waiting for room';
  if (state === 'waiting') return 'waiting for nodes, or for rebuilding';
  return state;
}
