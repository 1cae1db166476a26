/** What extra copies say to people. Pure. */
import type { CopyReason, SegmentCopies } from '../../replicator/copies/copy-report.ts';
import type { CopiesReport } from '../../replicator/upkeep.ts';
import { formatSize } from '../volume/sizes.ts';

export function copiesText(report: CopiesReport): string {
  const { enabled, copies, copiedSegments, bytes, made, dropped, limitBytesPerSecond } = report;
  const parts = [`copies: ${stateText(report)}`];
  if (copies > 0) parts.push(`${copies} of fragments of ${copiedSegments} segments, ${formatSize(bytes)}`);
  if (made > 0) parts.push(`${made} made`);
  if (dropped > 0) parts.push(`${dropped} dropped`);
  if (limitBytesPerSecond > 0) parts.push(`at most ${formatSize(limitBytesPerSecond)}/s`);
  const lines = [parts.join('; ')];
  if (enabled) {
    const { readsPerDay, busyBytesPerSecond, windowSeconds } = report;
    lines.push(
      `  of what is read ${readsPerDay} times a day or more, from a node that ${rate(busyBytesPerSecond)} or more is read from, ` +
        `measured over ${windowSeconds} s`,
    );
  }
  for (const { id, readBytesPerSecond } of report.nodes) {
    if (readBytesPerSecond > 0) lines.push(`  node ${id}: ${rate(readBytesPerSecond)} read`);
  }
  return lines.join('\n');
}

function stateText({ state, copies }: CopiesReport): string {
  if (state === 'off') return copies > 0 ? 'off, the last ones are dropped' : 'off';
  if (state === 'waiting') return 'waiting: rebuilding goes first, or room is short';
  return state === 'working' ? 'working' : 'on';
}

const reasons: Readonly<Record<CopyReason, string>> = {
  pays: 'it pays',
  'switched-off': 'copies are switched off',
  'little-space': 'the other nodes have little room',
  'read-seldom': 'it is not read often enough',
  'written-often': 'it is overwritten too often',
  'load-is-light': 'none of its nodes is busy',
  'load-is-even': 'its nodes are hardly busier than others',
  'no-node-left': 'every node holds something of it already',
};

const verdicts: Readonly<Record<SegmentCopies['verdict'], string>> = {
  make: 'to be copied',
  keep: 'copied',
  drop: 'copies to be dropped',
  none: 'not copied',
};

/** Of one segment. */
export function useText(use: SegmentCopies): string {
  const { copies, readBytesPerSecond, overwrittenBytesPerSecond, readsPerDay, verdict, reason } = use;
  const where = copies.map(({ position, nodeId }) => `fragment ${position} on node ${nodeId}`);
  const parts = [
    readBytesPerSecond > 0
      ? `read ${rate(readBytesPerSecond)} (${times(readsPerDay)} a day)`
      : 'not read lately',
    ...(overwrittenBytesPerSecond > 0 ? [`overwritten ${rate(overwrittenBytesPerSecond)}`] : []),
    `${verdicts[verdict]}: ${reasons[reason]}`,
    ...(where.length > 0 ? [`copies: ${where.join(', ')}`] : []),
  ];
  return parts.join('; ');
}

const rate = (bytesPerSecond: number): string => `${formatSize(Math.ceil(bytesPerSecond))}/s`;

const times = (count: number): string =>
  count === 1 ? 'once' : `${count < 10 ? count.toFixed(1) : Math.round(count)} times`;
