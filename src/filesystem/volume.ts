/**
 * A volume, opened by the process that is its primary: connections to the nodes, the log's writer and reader, the metadata manager
 * and the file system, put together in the order they need, and taken apart in the reverse one.
 *
 * The mount's process puts a front end before it; the simulator drives it as it is. It owns everything it opens, not the coordinator.
 */
import { Cleaner } from '../cleaner/cleaner.ts';
import { CLEANER_SLOTS } from '../cleaner/space.ts';
import type { Coordinator } from '../cluster/coordinator.ts';
import { DrainingNodes } from '../cluster/draining-nodes.ts';
import { nodeLinks } from '../cluster/node-links.ts';
import type { NodeLinks } from '../cluster/nodes.ts';
import { FragmentClaims } from '../log/fragment-claims.ts';
import { FragmentLocations } from '../log/fragment-locations.ts';
import type { SegmentReader, SegmentWriter } from '../log/log.ts';
import { OrphanSweep } from '../log/orphan-sweep.ts';
import { SegmentIds } from '../log/segment-ids.ts';
import { type Shape, WIDEST_SHAPE } from '../log/segment-layout.ts';
import { createSegmentReader } from '../log/segment-reader.ts';
import { createSegmentWriter } from '../log/segment-writer.ts';
import { TargetShape } from '../log/target-shape.ts';
import { WritableNodes } from '../log/writable-nodes.ts';
import { createWriteSlab, type WriteSlab, type WriteSlabOptions } from '../log/write-slab.ts';
import { Relocator, relocationBatchBlocks } from '../maintenance/relocator.ts';
import { SharedPieces } from '../maintenance/shared-pieces.ts';
import type { PrimaryManager } from '../metadata/manager.ts';
import { openMetadata } from '../metadata/open.ts';
import type { Platform } from '../platform/platform.ts';
import { loadBalanceSettings } from '../replicator/balance/drain-settings.ts';
import type { PlanPolicy } from '../replicator/plan/contract.ts';
import { DEFAULT_GRACE_MS, Upkeep } from '../replicator/upkeep.ts';
import type { FileSystem } from './file-system.ts';
import { createFileSystem } from './tartan-file-system.ts';

/** Nodes that are just starting are waited for so long; what is away then is away. */
const DEFAULT_SETTLE_TIMEOUT_MS = 3_000;
/** As many as work on segments at once where a node is rebuilt. */
const REPAIR_SLOTS = 3;

export interface VolumeOptions {
  readonly coordinator: Coordinator;
  /** The volume's key. */
  readonly key: Uint8Array;
  /** 32 hex digits. */
  readonly volumeId: string;
  readonly dataFragments: number;
  readonly parityFragments: number;
  /** For the metadata's own view: a cache that may be lost. */
  readonly directory: string;
  /** Names the process; what makes it unlike any other is drawn here. */
  readonly name: string;
  /** Owner of the root directory of a new volume. */
  readonly owner: { readonly uid: number; readonly gid: number };
  readonly readOnly?: boolean;
  readonly settleTimeoutMs?: number;
  /** How long nodes are waited for before the metadata cannot be opened. */
  readonly metadataWaitMs?: number;
  /** Size of the memory for segments on their way. */
  readonly slab?: WriteSlabOptions;
  /** How long a node is down before it is rebuilt elsewhere, unless somebody set it. */
  readonly healGraceMs?: number;
  /** Instead of the planner's defaults. */
  readonly layoutPolicy?: Partial<PlanPolicy>;
  /** Called when a phase of the opening begins. */
  readonly onPhase?: (phase: string) => void;
}

export interface Volume {
  readonly metadata: PrimaryManager;
  readonly writer: SegmentWriter;
  readonly reader: SegmentReader;
  readonly fileSystem: FileSystem;
  readonly links: NodeLinks;
  /** What new segments aim for now. */
  readonly shape: Shape;
  /** Who has which segments' fragments in hand. */
  readonly claims: FragmentClaims;
  /** Rebuilding and scrubbing. */
  readonly upkeep: Upkeep;
  /** For all who move blocks. */
  readonly relocator: Relocator;
  readonly cleaner: Cleaner;
  /** Makes everything durable and lets go of it. */
  close(): Promise<void>;
}

/** Rejects as openMetadata does; what was opened until then is let go of. */
export async function openVolume(platform: Platform, options: VolumeOptions): Promise<Volume> {
  const { coordinator, key } = options;
  options.onPhase?.('connecting to the nodes');
  const shape = new TargetShape(options);
  const draining = new DrainingNodes();
  const slabOptions = {
    ...options.slab,
    cleanerSlots: CLEANER_SLOTS,
    repairSlots: REPAIR_SLOTS,
    widest: WIDEST_SHAPE,
  };
  const slab = createWriteSlab(platform.memory, shape, slabOptions);
  const links = nodeLinks(platform, coordinator, { key, slab: slab.slab });
  try {
    await links.settle(options.settleTimeoutMs ?? DEFAULT_SETTLE_TIMEOUT_MS);
    options.onPhase?.('recovering the metadata');
    const metadata = await openMetadata(platform, {
      coordinator,
      links,
      directory: options.directory,
      get parityFragments() {
        return shape.parityFragments;
      },
      draining,
      volumeId: options.volumeId,
      primary: `${options.name}-${platform.random.bytes(8).toString('hex')}`,
      owner: options.owner,
      ...(options.metadataWaitMs === undefined ? {} : { waitMs: options.metadataWaitMs }),
    });
    options.onPhase?.('recovering the log');
    // Before anything is written: a node that was released gets nothing.
    draining.replace(loadBalanceSettings(platform, metadata));
    return await openLog(platform, options, { metadata, links, slab, shape, draining });
  } catch (error) {
    links.close();
    throw error;
  }
}

interface LogParts {
  readonly metadata: PrimaryManager;
  readonly links: NodeLinks;
  readonly slab: WriteSlab;
  /** The one that the slab's writers go by. */
  readonly shape: TargetShape;
  readonly draining: DrainingNodes;
}

interface Log {
  readonly writer: SegmentWriter;
  readonly reader: SegmentReader;
  readonly relocator: Relocator;
  readonly cleaner: Cleaner;
}

/** What is given up when writers need the room. */
type Yielding = Pick<Upkeep['yielding'], 'yieldingBytes' | 'giveUpAll'>;

/** The users' writer and the cleaner's, with what both share, and what belongs to them. `yielding`: undefined as long as nothing is. */
function createLog(
  platform: Platform,
  { metadata, links, slab, shape, draining }: LogParts,
  yielding: () => Yielding | undefined,
): Log {
  const { term } = metadata;
  const { segmentBlocks } = slab.geometry;
  const locations = new FragmentLocations();
  const nodes = new WritableNodes(links, shape, draining);
  const reigns = () => metadata.reigns();
  const shared = { links, locations, term, ids: new SegmentIds(term), nodes, reigns };
  const userSlots = slab.slotCount - CLEANER_SLOTS;
  // The users' writer leaves room to the cleaner, which is made from it.
  const room = {
    reserveSegments: () => cleaner.space.reserveSegments(),
    mayWait: (isMoreComing: boolean) => yielding()?.giveUpAll() === true || cleaner.mayWait(isMoreComing),
  };
  const writer = createSegmentWriter(platform, {
    ...{ ...shared, room, slab: slab.part(0, userSlots), leastProtection: 'degraded' as const },
    yieldingBytes: (nodeId) => yielding()?.yieldingBytes(nodeId) ?? 0,
  });
  // What has full parity keeps it.
  const relocationWriter = createSegmentWriter(platform, {
    ...{ ...shared, leastProtection: 'full' as const },
    slab: slab.part(userSlots, CLEANER_SLOTS),
    landingBlocks: relocationBatchBlocks(segmentBlocks),
  });
  metadata.isPending = (segmentId) => writer.isPending(segmentId) || relocationWriter.isPending(segmentId);
  const reader = createSegmentReader(platform, { links, locations });
  const relocator = new Relocator(platform, {
    metadata,
    writer: relocationWriter,
    reader,
    links,
    segmentBlocks,
  });
  const cleaner = new Cleaner(platform, { metadata, users: writer, relocator, slab });
  return { writer, reader, relocator, cleaner };
}

async function openLog(platform: Platform, options: VolumeOptions, parts: LogParts): Promise<Volume> {
  const { metadata, links, slab } = parts;
  let upkeep: Upkeep | undefined;
  const { writer, reader, relocator, cleaner } = createLog(platform, parts, () => upkeep?.yielding);
  const { readOnly = false } = options;
  let fileSystem: FileSystem;
  try {
    // What the last reign left may need room before anything else.
    if (!readOnly) void cleaner.start();
    const { space } = cleaner;
    fileSystem = await createFileSystem(platform, { metadata, writer, reader, space, readOnly });
  } catch (error) {
    await cleaner.close();
    writer.close();
    reader.close();
    await metadata.close();
    throw error;
  }
  const claims = new FragmentClaims();
  const orphans = new OrphanSweep(platform, {
    links,
    claims,
    term: metadata.term,
    record: (segmentId) => metadata.segment(segmentId),
    isKnown: (segmentId) => metadata.isKnownSegment(segmentId),
  });
  const { shape, draining } = parts;
  const { healGraceMs: graceMs = DEFAULT_GRACE_MS } = options;
  const stopRecounting = shape.onChange(() => cleaner.recount());
  const opened = new Upkeep(platform, {
    ...{ links, metadata, reader, claims, draining, shape, graceMs },
    pieces: new SharedPieces(slab.repairSlots),
    sealedSegments: () => [...writer.sealedSegments, ...relocator.sealedSegments],
    ownShape: options,
    ...(options.layoutPolicy === undefined ? {} : { layoutPolicy: options.layoutPolicy }),
    room: { headroom: () => cleaner.space.spareRoom() },
  });
  upkeep = opened;
  void opened.start();
  // Beside the first requests: nobody waits for it, and without it pages are taken one by one.
  slab.populate().catch((error: unknown) => {
    platform.log.warn('slab-not-populated', { error: String(error) });
  });
  return {
    metadata,
    writer,
    reader,
    fileSystem,
    links,
    shape,
    claims,
    upkeep: opened,
    relocator,
    cleaner,
    async close() {
      orphans.close();
      stopRecounting();
      await Promise.all([opened.close(), fileSystem.close()]);
      await cleaner.close();
      writer.close();
      reader.close();
      await metadata.close();
      links.close();
    },
  };
}
