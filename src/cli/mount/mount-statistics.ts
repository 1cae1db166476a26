/** What the mount process tells about the volume: metadata, log and space. */
import { BLOCK_BYTES } from '../../base/units.ts';
import type { Cleaner } from '../../cleaner/cleaner.ts';
import type { NodeLinks } from '../../cluster/nodes.ts';
import type { FileSystem } from '../../filesystem/file-system.ts';
import type { SegmentReader, SegmentWriter } from '../../log/log.ts';
import type { PrimaryManager } from '../../metadata/manager.ts';
import type { AvailabilityReport } from '../../replicator/adapt/adapter.ts';
import type { Upkeep } from '../../replicator/upkeep.ts';
import type { MountStatistics, WorkFacts } from '../supervisor/control-messages.ts';

export interface MountParts {
  readonly metadata: PrimaryManager;
  readonly writer: SegmentWriter;
  readonly reader: SegmentReader;
  readonly fileSystem: FileSystem;
  readonly links: NodeLinks;
  readonly upkeep: Upkeep;
  readonly cleaner: Cleaner;
}

export async function mountStatistics(parts: MountParts): Promise<MountStatistics> {
  const { metadata, writer, reader, fileSystem, cleaner } = parts;
  const space = await fileSystem.statistics();
  const totals = metadata.totals();
  const read = reader.statistics();
  const cleaning = cleaner.statistics();
  const availability = parts.upkeep.availability();
  return {
    journal: metadata.journalReport(),
    metadataTrouble: metadata.trouble?.message ?? null,
    logTrouble: writer.trouble?.message ?? null,
    files: totals.inodes,
    totalBytes: space.totalBlocks * BLOCK_BYTES,
    usedBytes: (space.totalBlocks - space.freeBlocks) * BLOCK_BYTES,
    availableBytes: space.availableBlocks * BLOCK_BYTES,
    segments: totals.segments,
    ...redundancyOf(parts.upkeep),
    work: workUnderWay(parts.upkeep, availability),
    availability,
    draining: parts.upkeep.balance().draining,
    copies: copiesOf(parts.upkeep),
    blocksRebuilt: read.blocksRebuilt,
    corruptBlocks: read.corruptBlocks,
    cleaning: {
      running: cleaning.running,
      cleanedSegments: cleaning.cleanedSegments,
      movedBytes: cleaning.movedBlocks * BLOCK_BYTES,
      writtenBytes: cleaning.userBlocks * BLOCK_BYTES,
      reclaimableBytes: cleaning.reclaimableBlocks * BLOCK_BYTES,
    },
  };
}

/** What is under way in the background, paused work included. */
function workUnderWay(upkeep: Upkeep, availability: AvailabilityReport): WorkFacts[] {
  const work: WorkFacts[] = [];
  const heal = upkeep.heal();
  if (heal.degradedSegments > 0) {
    const { state, doneBytes, bytesToRepair, bytesPerSecond, secondsLeft } = heal;
    work.push({ kind: 'heal', state, doneBytes, leftBytes: bytesToRepair, bytesPerSecond, secondsLeft });
  }
  const scrub = upkeep.scrub();
  if (scrub.underWay) {
    const { state, bytesRead, bytesLeft, bytesPerSecond, secondsLeft } = scrub;
    const leftBytes = bytesLeft;
    work.push({ kind: 'scrub', state, doneBytes: bytesRead, leftBytes, bytesPerSecond, secondsLeft });
  }
  const balance = balanceWork(upkeep);
  if (balance !== undefined) work.push(balance);
  const { state, segmentsLeft, doneBytes, leftBytes, bytesPerSecond, secondsLeft } = availability;
  if (segmentsLeft > 0) {
    work.push({ kind: 'availability', state, doneBytes, leftBytes, bytesPerSecond, secondsLeft });
  }
  return work;
}

function balanceWork(upkeep: Upkeep): WorkFacts | undefined {
  const { state, reason, moved, bytesLeft, bytesPerSecond, secondsLeft } = upkeep.balance();
  if (state === 'idle') return undefined;
  const running = reason === undefined ? 'running' : 'waiting';
  return {
    kind: 'balance',
    state: state === 'paused' ? 'paused' : state === 'blocked' ? 'stuck' : running,
    doneBytes: moved,
    leftBytes: Math.ceil(bytesLeft),
    ...{ bytesPerSecond, secondsLeft },
  };
}

function copiesOf(upkeep: Upkeep): MountStatistics['copies'] {
  const { copiedSegments, copies, bytes } = upkeep.copies();
  return { copiedSegments, copies, bytes };
}

function redundancyOf(upkeep: Upkeep) {
  const { degradedSegments, unreadableSegments, bytesToRepair } = upkeep.redundancy();
  return { degradedSegments, unreadableSegments, bytesToRepair };
}
