/**
 * The verdict on a volume: pure, from facts that the supervisor gathered. The shape is a stable interface for scripts
 * (`tartan status --json`); fields are added, never changed.
 */
import type { JournalReport } from '../../metadata/journal-report.ts';
import type { AvailabilityReport } from '../../replicator/adapt/adapter.ts';
import type { MountStatistics, NodeFacts, VolumeFacts, WorkFacts } from '../supervisor/control-messages.ts';
import type { VolumeFile } from '../volume/volume-file.ts';

export type Health = 'healthy' | 'degraded' | 'unavailable';
export type NodeReportState = 'up' | 'slow' | 'starting' | 'stopped' | 'down';

export interface StatusReport {
  readonly volume: string;
  readonly directory: string;
  readonly health: Health;
  readonly reason: string;
  readonly next: string;
  readonly nodes: readonly NodeReport[];
  readonly mounts: readonly {
    readonly path: string;
    readonly pid: number | null;
    readonly primary: boolean;
  }[];
  readonly manager: {
    readonly term: number;
    readonly primary: string | null;
    /** Entries that every replica has; 0 without a primary, as are all sequences below. */
    readonly committedSequence: number;
    readonly checkpointSequence: number;
    readonly replicas: readonly ReplicaStatus[];
  };
  readonly redundancy: {
    readonly data: number;
    readonly parity: number;
    readonly degradedSegments: number;
    readonly unreadableSegments: number;
    readonly bytesToRepair: number;
  };
  readonly capacity: {
    readonly totalBytes: number;
    readonly usedBytes: number;
    readonly availableBytes: number;
  };
  /** Of the cleaner, since the mount began. */
  readonly cleaning: {
    readonly running: boolean;
    readonly cleanedSegments: number;
    readonly movedBytes: number;
    /** What went to the log for each byte that users wrote; null before they wrote any. */
    readonly writeAmplification: number | null;
    readonly reclaimableBytes: number;
  };
  /** Extra ones of fragments that are read a lot. */
  readonly copies: MountStatistics['copies'];
  readonly availability: {
    /** Share of time that the data may be unavailable; null: nobody asked for anything. */
    readonly targetUnavailability: number | null;
    /** As the model predicts it; null: too few nodes, or nobody tells. */
    readonly predictedUnavailability: number | null;
    /** Of new segments with the nodes that answer; null: too few, or nobody tells. */
    readonly written: AvailabilityReport['written'];
    /** Node ids by group that segments are kept within; none: any nodes share segments. */
    readonly groups: AvailabilityReport['groups'];
    readonly next: AvailabilityReport['next'];
    readonly remedies: AvailabilityReport['remedies'];
  };
  /** Rebuilding, scrubbing and laying out anew, while there is something to do. */
  readonly work: readonly WorkFacts[];
  readonly files: number;
  readonly supervisor: { readonly pid: number | null; readonly restart: boolean };
}

export interface ReplicaStatus {
  readonly node: number;
  /** unknown: no primary tells. */
  readonly state: 'current' | 'behind' | 'filling' | 'unknown';
  readonly durableSequence: number;
  readonly lagEntries: number;
  readonly lagBytes: number;
  readonly checkpointSequence: number | null;
  /** Entries that its copy of the state is behind the primary's. */
  readonly checkpointLagEntries: number | null;
}

export interface NodeReport {
  readonly id: number;
  readonly state: NodeReportState;
  readonly pid: number | null;
  readonly address: string;
  readonly usedBytes: number;
  readonly capacityBytes: number;
  /** Label of the nodes that are likely to fail with it; null: none. */
  readonly domain: string | null;
  /** What it still holds, of one that is to be emptied; null: it is not, or nobody tells. */
  readonly draining: { readonly bytesLeft: number; readonly journal: boolean } | null;
  /** Measured share of the time that it is away, 0..1; null: nobody tells. */
  readonly unavailability: number | null;
}

function nodeState(node: NodeFacts): NodeReportState {
  // A node that somebody runs by hand has a link and no process that we know of.
  if (node.link !== 'down') return node.link;
  if (node.process === 'starting') return 'starting';
  return node.process === 'absent' && node.stoppedOnPurpose ? 'stopped' : 'down';
}

function drainingOf(nodeId: number, statistics: MountStatistics | undefined): NodeReport['draining'] {
  const found = statistics?.draining.find(({ id }) => id === nodeId);
  return found === undefined ? null : { bytesLeft: found.bytesLeft, journal: found.journal };
}

const plural = (count: number, word: string): string => `${count} ${word}${count === 1 ? '' : 's'}`;

interface Verdict {
  readonly health: Health;
  readonly reason: string;
  readonly next: string;
}

const START = 'tartan up';

/** `facts` is undefined when no supervisor answers. */
export function statusReport(
  volume: VolumeFile,
  directory: string,
  facts: VolumeFacts | undefined,
): StatusReport {
  const statistics = facts?.mount?.statistics ?? undefined;
  const nodes = (facts?.nodes ?? []).map((node) => ({
    id: node.id,
    state: nodeState(node),
    pid: node.pid,
    address: node.address,
    usedBytes: node.usedBytes,
    capacityBytes: node.capacityBytes,
    domain: node.domain,
    draining: drainingOf(node.id, statistics),
    unavailability: statistics?.availability.nodes.find(({ id }) => id === node.id)?.unavailability ?? null,
  }));
  const layout = statistics?.availability.layout ?? volume;
  const mount = facts?.mount ?? undefined;
  return {
    volume: volume.name,
    directory,
    ...verdict(volume, facts, nodes, statistics),
    nodes: facts === undefined ? stoppedNodes(volume) : nodes,
    mounts:
      mount?.process === 'running'
        ? [{ path: mount.path, pid: mount.pid, primary: statistics !== undefined }]
        : [],
    manager: {
      term: statistics?.journal.term ?? facts?.manager?.term ?? 0,
      primary: mount !== undefined && statistics !== undefined ? mount.path : null,
      committedSequence: statistics?.journal.committedSequence ?? 0,
      checkpointSequence: statistics?.journal.checkpointSequence ?? 0,
      replicas: statistics === undefined ? unknownReplicas(facts) : replicaStatus(statistics.journal),
    },
    redundancy: {
      data: layout.dataFragments,
      parity: layout.parityFragments,
      degradedSegments: statistics?.degradedSegments ?? 0,
      unreadableSegments: statistics?.unreadableSegments ?? 0,
      bytesToRepair: statistics?.bytesToRepair ?? 0,
    },
    capacity: {
      totalBytes: statistics?.totalBytes ?? 0,
      usedBytes: statistics?.usedBytes ?? 0,
      availableBytes: statistics?.availableBytes ?? 0,
    },
    cleaning: cleaningReport(statistics),
    copies: statistics?.copies ?? { copiedSegments: 0, copies: 0, bytes: 0 },
    availability: availabilityReport(statistics),
    work: statistics?.work ?? [],
    files: statistics?.files ?? 0,
    supervisor: { pid: facts?.supervisorPid ?? null, restart: facts?.restart ?? false },
  };
}

function availabilityReport(statistics: MountStatistics | undefined): StatusReport['availability'] {
  const { targetUnavailability, predictedUnavailability, written, groups, next, remedies } =
    statistics?.availability ?? {};
  return {
    targetUnavailability: targetUnavailability ?? null,
    predictedUnavailability: predictedUnavailability ?? null,
    written: written ?? null,
    groups: groups ?? [],
    next: next ?? null,
    remedies: remedies ?? [],
  };
}

function cleaningReport(statistics: MountStatistics | undefined): StatusReport['cleaning'] {
  const cleaning = statistics?.cleaning;
  const { writtenBytes = 0, movedBytes = 0 } = cleaning ?? {};
  return {
    running: cleaning?.running ?? false,
    cleanedSegments: cleaning?.cleanedSegments ?? 0,
    movedBytes,
    writeAmplification: writtenBytes === 0 ? null : (writtenBytes + movedBytes) / writtenBytes,
    reclaimableBytes: cleaning?.reclaimableBytes ?? 0,
  };
}

function replicaStatus({ replicas, checkpointSequence: own }: JournalReport): ReplicaStatus[] {
  return replicas.map(({ nodeId, checkpointSequence, ...replica }) => ({
    node: nodeId,
    ...replica,
    checkpointSequence,
    checkpointLagEntries: checkpointSequence === null ? null : Math.max(0, own - checkpointSequence),
  }));
}

function unknownReplicas(facts: VolumeFacts | undefined): ReplicaStatus[] {
  return (facts?.manager?.members ?? []).map((node) => ({
    node,
    state: 'unknown',
    durableSequence: 0,
    lagEntries: 0,
    lagBytes: 0,
    checkpointSequence: null,
    checkpointLagEntries: null,
  }));
}

function stoppedNodes(volume: VolumeFile): NodeReport[] {
  return volume.nodes.map((id) => ({
    id,
    state: 'stopped',
    pid: null,
    address: '',
    usedBytes: 0,
    capacityBytes: 0,
    domain: volume.nodeSettings?.[id]?.domain ?? null,
    draining: null,
    unavailability: null,
  }));
}

function verdict(
  volume: VolumeFile,
  facts: VolumeFacts | undefined,
  nodes: readonly NodeReport[],
  statistics: MountStatistics | undefined,
): Verdict {
  if (facts === undefined) {
    return { health: 'unavailable', reason: 'the volume is not running', next: START };
  }
  const live = nodes.filter((node) => node.state === 'up').length;
  const { parityFragments } = statistics?.availability.layout ?? volume;
  const meant = Math.min(parityFragments + 1, volume.nodes.length);
  // With fewer than that, what is written has less parity: as long as no more are away than it bears.
  const needed = Math.min(meant, Math.max(1, volume.nodes.length - parityFragments));
  const away = nodes.filter((node) => node.state !== 'up');
  const bringBack = bringBackCommand(away);
  const { mount } = facts;
  if (mount === null) {
    return { health: 'unavailable', reason: 'the volume is not mounted', next: START };
  }
  if (mount.process === 'starting') {
    const reason = `the mount at ${mount.path} is starting: ${mount.detail}`;
    return { health: 'unavailable', reason, next: 'wait a moment' };
  }
  if (mount.process === 'absent') {
    const why = mount.failure ?? 'its process ended';
    return { health: 'unavailable', reason: `the mount at ${mount.path} is down: ${why}`, next: START };
  }
  if (statistics === undefined) {
    const reason = `the mount process ${mount.pid} does not answer`;
    return { health: 'unavailable', reason, next: 'tartan down --force, then tartan up' };
  }
  if (statistics.unreadableSegments > 0) {
    const reason = `${plural(statistics.unreadableSegments, 'segment')} of data cannot be read: too many nodes are down`;
    return { health: 'unavailable', reason, next: bringBack };
  }
  if (live < needed) {
    const reason = `${live} of ${plural(nodes.length, 'node')} up: ${needed} are needed to write`;
    return { health: 'unavailable', reason, next: bringBack };
  }
  const trouble = statistics.metadataTrouble ?? statistics.logTrouble;
  if (trouble !== null) return { health: 'unavailable', reason: trouble, next: bringBack };
  return runningVerdict(away, statistics, { meant, live }, bringBack);
}

/** The volume reads and writes; is it as safe as it is meant to be? */
function runningVerdict(
  away: readonly NodeReport[],
  statistics: MountStatistics,
  { meant, live }: { readonly meant: number; readonly live: number },
  bringBack: string,
): Verdict {
  if (away.length > 0) {
    const names = away.map((node) => `${node.id} (${node.state})`).join(', ');
    const reason =
      `${away.length === 1 ? 'node' : 'nodes'} ${names} away; all data is readable` +
      (statistics.degradedSegments > 0
        ? `, ${plural(statistics.degradedSegments, 'segment')} with fewer fragments than meant`
        : '') +
      (live < meant ? '; what is written now has less parity than meant' : '');
    return { health: 'degraded', reason, next: bringBack };
  }
  if (statistics.degradedSegments > 0) {
    const reason = `${plural(statistics.degradedSegments, 'segment')} with fewer fragments than meant`;
    const isHealing = statistics.work.some(({ kind, state }) => kind === 'heal' && state === 'running');
    const next = isHealing ? 'wait until it is rebuilt: tartan wait healed' : 'tartan heal status';
    return { health: 'degraded', reason, next };
  }
  const current = statistics.journal.replicas.filter((replica) => replica.state === 'current').length;
  if (current < meant) {
    const reason = `only ${plural(current, 'metadata replica')} current`;
    return { health: 'degraded', reason, next: 'wait a moment: others are being filled' };
  }
  return { health: 'healthy', reason: 'every node is up', next: 'nothing to do' };
}

function bringBackCommand(away: readonly NodeReport[]): string {
  const gone = away.filter((node) => node.state === 'stopped' || node.state === 'down');
  if (gone.length > 0) return gone.map((node) => `tartan node start ${node.id}`).join('; ');
  const slow = away.filter((node) => node.state === 'slow');
  if (slow.length > 0) {
    return slow.map((node) => `look at process ${node.pid}, or tartan node kill ${node.id}`).join('; ');
  }
  return away.length > 0 ? 'wait a moment' : START;
}
