/** The status report for people. Pure. */
import { groupsText } from '../plan/plan-text.ts';
import type { WorkFacts } from '../supervisor/control-messages.ts';
import { formatTable } from '../terminal/table.ts';
import { formatSize } from '../volume/sizes.ts';
import { awayText, outlookText } from './availability-text.ts';
import { drainText } from './balance-text.ts';
import type { NodeReport, ReplicaStatus, StatusReport } from './status-report.ts';
import { rateText } from './upkeep-text.ts';

function percent(part: number, whole: number): string {
  return whole === 0 ? '-' : `${Math.round((100 * part) / whole)}%`;
}

export function statusText(report: StatusReport): string {
  const { capacity, manager } = report;
  const lines = [
    `${report.volume}: ${report.health} - ${report.reason}`,
    `next: ${report.next}`,
    '',
    nodeTable(report.nodes),
    '',
  ];
  for (const mount of report.mounts) lines.push(`mounted     ${mount.path} (process ${mount.pid})`);
  lines.push(`redundancy  ${redundancyText(report)}${repairText(report)}`);
  const { groups } = report.availability;
  if (groups.length > 0) lines.push(`groups      ${groupsText(groups)} (each segment lies within one)`);
  if (capacity.totalBytes > 0) {
    const { usedBytes, totalBytes, availableBytes } = capacity;
    lines.push(
      `capacity    ${formatSize(usedBytes)} used of ${formatSize(totalBytes)} (${percent(usedBytes, totalBytes)}), ` +
        `${formatSize(availableBytes)} available, ${report.files} files`,
    );
  }
  if (report.availability.predictedUnavailability !== null) {
    lines.push(`available   ${outlookText(report.availability)}`);
  }
  if (report.cleaning.cleanedSegments > 0 || report.cleaning.running) lines.push(cleaningText(report));
  if (report.copies.copies > 0) {
    const { copiedSegments, copies, bytes } = report.copies;
    lines.push(`copies      ${copies} of fragments of ${copiedSegments} segments, ${formatSize(bytes)}`);
  }
  for (const work of report.work) lines.push(workText(work));
  if (manager.term > 0) {
    const primary = manager.primary === null ? 'no primary' : `primary at ${manager.primary}`;
    const entries = manager.primary === null ? '' : `, ${manager.committedSequence} entries`;
    lines.push(`metadata    term ${manager.term}, ${primary}${entries}`);
    for (const replica of manager.replicas) lines.push(`  replica   ${replicaText(replica)}`);
  }
  return lines.join('\n');
}

function redundancyText({ redundancy: { data, parity }, availability: { written } }: StatusReport): string {
  const isWhole = written === null || (written.dataFragments === data && written.parityFragments === parity);
  const now = isWhole
    ? ''
    : `, written as ${written.dataFragments}+${written.parityFragments} with the nodes that answer`;
  return `${data}+${parity}${now}`;
}

function cleaningText({ cleaning }: StatusReport): string {
  const { running, cleanedSegments, movedBytes, writeAmplification, reclaimableBytes } = cleaning;
  const amplification =
    writeAmplification === null ? '' : `, write amplification ${writeAmplification.toFixed(2)}`;
  return (
    `cleaning    ${running ? 'at work' : 'at rest'}: ${cleanedSegments} segments, ` +
    `${formatSize(movedBytes)} moved${amplification}, ${formatSize(reclaimableBytes)} to be won`
  );
}

function workText(work: WorkFacts): string {
  const { kind, state, doneBytes, leftBytes } = work;
  const left = `${formatSize(doneBytes)} done, ${formatSize(leftBytes)} left`;
  const rate = state === 'running' ? `, ${rateText(work)}` : '';
  const name = kind === 'availability' ? 'new layout' : kind === 'balance' ? 'rebalance' : kind;
  return `${name.padEnd(11)} ${state}: ${left}${rate}`;
}

function replicaText(replica: ReplicaStatus): string {
  const { node, state, lagEntries, lagBytes, checkpointLagEntries } = replica;
  if (state === 'unknown') return `node ${node}`;
  const lag =
    lagEntries === 0 ? 'no entries behind' : `${lagEntries} entries (${formatSize(lagBytes)}) behind`;
  const copy =
    checkpointLagEntries !== null
      ? `, checkpoint ${checkpointLagEntries === 0 ? 'as the primary' : `${checkpointLagEntries} entries older`}`
      : '';
  return `node ${node}: ${state}, ${lag}${copy}`;
}

function repairText({ redundancy }: StatusReport): string {
  if (redundancy.degradedSegments === 0) return '';
  return `, ${redundancy.degradedSegments} segments degraded, ${formatSize(redundancy.bytesToRepair)} to repair`;
}

function stateText({ state, draining }: NodeReport): string {
  return draining === null ? state : `${state}, ${drainText(draining)}`;
}

export function nodeTable(nodes: readonly NodeReport[]): string {
  const isLabelled = nodes.some(({ domain }) => domain !== null);
  return formatTable(
    [
      { title: 'NODE', align: 'right' },
      { title: 'STATE' },
      { title: 'PID', align: 'right' },
      { title: 'USED', align: 'right' },
      { title: 'CAPACITY', align: 'right' },
      { title: 'AWAY', align: 'right' },
      ...(isLabelled ? [{ title: 'DOMAIN' }] : []),
      { title: 'ADDRESS' },
    ],
    nodes.map((node) => [
      String(node.id),
      stateText(node),
      node.pid === null ? '-' : String(node.pid),
      node.capacityBytes === 0 ? '-' : formatSize(node.usedBytes),
      node.capacityBytes === 0 ? '-' : formatSize(node.capacityBytes),
      node.unavailability === null ? '-' : awayText(node.unavailability),
      ...(isLabelled ? [node.domain ?? '-'] : []),
      node.address,
    ]),
  );
}
