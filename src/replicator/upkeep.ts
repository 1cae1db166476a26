/**
 * What keeps a volume whole, put together: the index of where segments lie, the healer, the inventory of nodes, the scrubber, what keeps the
 * availability that is asked for, what moves fragments between nodes, and what keeps extra copies of those that are read a lot, with one budget for all.
 * Runs in the process that is the volume's primary, and remembers its settings in the metadata.
 */

import { BLOCK_BYTES } from '../base/units.ts';
import type { DrainingNodes } from '../cluster/draining-nodes.ts';
import type { NodeLinks } from '../cluster/nodes.ts';
import {
  decodeAvailabilityState,
  decodeCarriedRate,
  decodeDomainTimes,
  decodeNodeTimes,
  encodeAvailabilityState,
  encodeCarriedRate,
  encodeDomainTimes,
  encodeNodeTimes,
} from '../format/availability-state.ts';
import {
  type BalanceSettings,
  type CopySettings,
  decodeCopySettings,
  decodeHealSettings,
  decodeScrubState,
  encodeCopySettings,
  encodeHealSettings,
  encodeScrubState,
  type HealSettings,
  type ScrubState,
} from '../format/maintenance-state.ts';
import type { SegmentRecord } from '../format/segment-record.ts';
import type { FragmentClaims } from '../log/fragment-claims.ts';
import type { SegmentReader } from '../log/log.ts';
import { ReadUse } from '../log/read-use.ts';
import type { Shape } from '../log/segment-layout.ts';
import type { TargetShape } from '../log/target-shape.ts';
import { IoBudget, RateLimit } from '../maintenance/budget.ts';
import { NodeCalls } from '../maintenance/node-calls.ts';
import { SegmentSources } from '../maintenance/segment-source.ts';
import type { SharedPieces } from '../maintenance/shared-pieces.ts';
import type { PrimaryManager } from '../metadata/manager.ts';
import { MetadataUnavailable } from '../metadata/metadata.ts';
import type { Platform, Timer } from '../platform/platform.ts';
import { Adapter, type AvailabilityReport, NO_AVAILABILITY } from './adapt/adapter.ts';
import { CarriedRate } from './adapt/carried-rate.ts';
import { NodeTimes } from './adapt/node-times.ts';
import { Balancer, type BalanceStatus } from './balance/balancer.ts';
import { DrainSettings } from './balance/drain-settings.ts';
import {
  type NodeReleaseParts,
  obstacle,
  type ReleaseObstacle,
  releaseNode,
} from './balance/node-release.ts';
import { CopyKeeper, DEFAULT_COPY_SETTINGS } from './copies/copy-keeper.ts';
import type { CopyStatus, SegmentCopies } from './copies/copy-report.ts';
import { Healer, type HealStatus } from './heal/healer.ts';
import { Inventory } from './heal/inventory.ts';
import { type RedundancyCount, SegmentPlaces } from './heal/segment-places.ts';
import type { PlanPolicy } from './plan/contract.ts';
import { SavedState } from './saved-state.ts';
import { Scrubber, type ScrubStatus } from './scrub/scrubber.ts';

export interface UpkeepParts {
  readonly links: NodeLinks;
  readonly metadata: PrimaryManager;
  /** Tells of corrupt blocks that somebody met. */
  readonly reader: SegmentReader;
  readonly claims: FragmentClaims;
  /** For what background work puts. */
  readonly pieces: SharedPieces;
  /** This is who changes it, and keeps it durable. */
  readonly draining: DrainingNodes;
  /** Segments of any writer that nodes may have been chosen for. */
  readonly sealedSegments: () => readonly number[];
  /** What new segments aim for, and what they aimed for when the volume was made. */
  readonly shape: TargetShape;
  readonly ownShape: Shape;
  /** Room above the cleaner's reserve, and that below which it begins. */
  readonly room: { headroom(): { readonly blocks: number; readonly beginBlocks: number } };
  /** Unless somebody set it: how long a node is down before it counts as gone. */
  readonly graceMs: number;
  /** Instead of the planner's defaults. */
  readonly layoutPolicy?: Partial<PlanPolicy>;
}

export interface HealReport extends HealStatus, Omit<HealSettings, 'givenUp'> {
  /** What every node holds was compared with what it is to hold. */
  readonly inventoryDone: boolean;
}

export interface BalanceReport extends BalanceStatus {
  readonly paused: boolean;
  /** 0: none. */
  readonly limitBytesPerSecond: number;
}

export interface CopiesReport extends CopyStatus, CopySettings {}

export const DEFAULT_GRACE_MS = 60_000;
export const DEFAULT_SCRUB_INTERVAL_SECONDS = 30 * 24 * 3600;
/** Fragments move for evenness once no node has come or gone for so long. */
const BALANCE_SETTLE_MS = 10_000;
/** Copies are made, and stay, while there is so many times the room that others begin to win some at. */
const COPY_HEADROOMS = 2;
/** From when on the schedule counts is made durable only after a while: commands that open a volume for a moment change nothing. */
const FIRST_SAVE_MS = 60_000;

export class Upkeep {
  readonly #platform: Platform;
  readonly #parts: UpkeepParts;
  readonly #saved: SavedState;
  readonly #drainSettings: DrainSettings;
  readonly #release: NodeReleaseParts;
  readonly #places: SegmentPlaces;
  readonly #calls: NodeCalls;
  readonly #sources: SegmentSources;
  readonly #healLimit: RateLimit;
  readonly #scrubLimit: RateLimit;
  readonly #balanceLimit: RateLimit;
  readonly #healer: Healer;
  readonly #scrubber: Scrubber;
  readonly #inventory: Inventory;
  readonly #carried: CarriedRate;
  readonly #times: NodeTimes;
  readonly #adapter: Adapter;
  readonly #balancer: Balancer;
  readonly #copyLimit: RateLimit;
  readonly #copies: CopyKeeper;
  readonly #unobserve: () => void;
  #healSettings: HealSettings;
  #copySettings: CopySettings;
  #firstSave: Timer | undefined;
  #closed = false;

  constructor(platform: Platform, parts: UpkeepParts) {
    const { links, metadata, reader, claims, pieces, draining, shape, ownShape } = parts;
    this.#platform = platform;
    this.#parts = parts;
    this.#places = new SegmentPlaces(ownShape.parityFragments);
    this.#saved = new SavedState(platform, metadata);
    this.#drainSettings = new DrainSettings(platform, { metadata, links, draining });
    this.#calls = new NodeCalls(links);
    this.#sources = new SegmentSources(platform, links, this.#calls);
    this.#healLimit = new RateLimit(platform);
    this.#scrubLimit = new RateLimit(platform);
    this.#balanceLimit = new RateLimit(platform);
    this.#copyLimit = new RateLimit(platform);
    const budget = new IoBudget(
      platform,
      () => (this.#places.committedBlocks + reader.statistics().blocksRead) * BLOCK_BYTES,
    );
    const shared = {
      ...{ metadata, calls: this.#calls, sources: this.#sources, claims },
      ...{ budget, pieces, draining },
    };
    const balanceSettings = this.#drainSettings.settings;
    this.#balanceLimit.bytesPerSecond = balanceSettings.limitBytesPerSecond || undefined;
    this.#healSettings = this.#saved.load('heal', decodeHealSettings) ?? {
      ...{ paused: false, limitBytesPerSecond: 0, graceMs: parts.graceMs, givenUp: [] },
    };
    this.#healLimit.bytesPerSecond = this.#healSettings.limitBytesPerSecond || undefined;
    this.#unobserve = metadata.observeSegments(this.#places);
    this.#healer = new Healer(
      platform,
      {
        ...{ ...shared, links, shape, places: this.#places, limit: this.#healLimit },
        leastParity: ownShape.parityFragments,
      },
      this.#healSettings,
    );
    const scrubState = this.#saved.load('scrub', decodeScrubState);
    this.#scrubLimit.bytesPerSecond = scrubState?.limitBytesPerSecond || undefined;
    this.#scrubber = new Scrubber(
      platform,
      {
        ...{ ...shared, limit: this.#scrubLimit },
        onDamage: (record, nodeId) => this.#noteDamage(record, nodeId),
        save: (state) => this.#saved.save('scrub', encodeScrubState(state)),
      },
      scrubState ?? firstScrubState(platform.clock.wallMs()),
    );
    if (scrubState === undefined) {
      this.#firstSave = platform.timers.after(FIRST_SAVE_MS, () => this.#saveFirst());
    }
    this.#inventory = new Inventory(platform, {
      ...{ links, metadata, calls: this.#calls },
      onMissing: (record, nodeId) => this.#noteDamage(record, nodeId),
    });
    this.#carried = new CarriedRate(
      platform,
      {
        look: () => void budget.rate,
        save: (rate) => this.#saved.saveIfAble('rate', encodeCarriedRate(rate)),
      },
      this.#saved.load('rate', decodeCarriedRate),
    );
    budget.onWindow = (window) => this.#carried.note(window);
    this.#times = new NodeTimes(
      platform,
      {
        links,
        save: (nodes, domains) =>
          this.#saved.saveIfAble('nodes', encodeNodeTimes(nodes)) &&
          this.#saved.saveIfAble('domains', encodeDomainTimes(domains)),
      },
      this.#saved.load('nodes', decodeNodeTimes) ?? [],
      this.#saved.load('domains', decodeDomainTimes) ?? [],
    );
    this.#adapter = new Adapter(
      platform,
      {
        ...{ ...shared, links, shape, ownShape, places: this.#places, times: this.#times },
        limit: new RateLimit(platform),
        carriedBytesPerSecond: () => this.#carried.bytesPerSecond,
        isGone: (nodeId) => this.#healer.isGone(nodeId),
        mustWait: () => this.#healer.status().state === 'running',
        hasRoom: () => this.#hasRoom(),
        isSettled: () => this.#balancer.isSettled,
        onDamage: (record, nodeId) => this.#healer.noteDamage(record, nodeId),
        save: (state) => this.#saved.save('availability', encodeAvailabilityState(state)),
        ...(parts.layoutPolicy === undefined ? {} : { policy: parts.layoutPolicy }),
      },
      this.#saved.load('availability', decodeAvailabilityState) ?? NO_AVAILABILITY,
    );
    this.#balancer = new Balancer(
      platform,
      {
        ...{ ...shared, links, shape, places: this.#places, limit: this.#balanceLimit },
        isGone: (nodeId) => this.#healer.isGone(nodeId),
        mustWait: () => this.#healer.isWorking || this.#adapter.isConverting,
        hasRoom: () => this.#hasRoom(),
        onDamage: (record, nodeId) => this.#healer.noteDamage(record, nodeId),
        settleMs: Math.min(BALANCE_SETTLE_MS, parts.graceMs),
      },
      balanceSettings.paused,
    );
    this.#copySettings = this.#saved.load('copies', decodeCopySettings) ?? DEFAULT_COPY_SETTINGS;
    this.#copyLimit.bytesPerSecond = this.#copySettings.limitBytesPerSecond || undefined;
    this.#copies = new CopyKeeper(
      platform,
      {
        ...{
          ...shared,
          links,
          places: this.#places,
          use: reader.use ?? new ReadUse(),
          limit: this.#copyLimit,
        },
        isGone: (nodeId) => this.#healer.isGone(nodeId),
        mustWait: () => this.#healer.isWorking || this.#adapter.isConverting,
        hasRoom: () => this.#hasRoom(COPY_HEADROOMS),
        onDamage: (record, nodeId) => this.#noteDamage(record, nodeId),
      },
      this.#copySettings,
    );
    this.#release = {
      ...{ metadata, claims, places: this.#places, settings: this.#drainSettings },
      sealedSegments: parts.sealedSegments,
      memberIds: () => this.#balancer.memberIds,
      parityFragments: () => shape.parityFragments,
    };
    reader.onCorrupt = (record, nodeId) => this.#noteDamage(record, nodeId);
  }

  /** Gets to know the segments that are there; nothing is healed before that. */
  async start(): Promise<void> {
    try {
      await this.#places.load(this.#parts.metadata, () => this.#closed);
      this.#healer.wake();
      this.#adapter.start();
      this.#balancer.wake();
      this.#copies.wake();
    } catch (error) {
      // The metadata may be closed by now, too.
      if (this.#closed) return;
      if (!(error instanceof MetadataUnavailable)) throw error;
      this.#platform.log.warn('segments-not-placed', { why: error.message });
    }
  }

  redundancy(): RedundancyCount {
    const { links } = this.#parts.links;
    return this.#places.count((nodeId) => links.get(nodeId)?.state === 'up');
  }

  heal(): HealReport {
    const { paused, limitBytesPerSecond, graceMs } = this.#healSettings;
    const inventoryDone = this.#inventory.isDone && this.#places.isLoaded;
    return { ...this.#healer.status(), paused, limitBytesPerSecond, graceMs, inventoryDone };
  }

  scrub(): ScrubStatus {
    return this.#scrubber.status();
  }

  availability(): AvailabilityReport {
    return this.#adapter.report();
  }

  /** For commands about the availability. */
  get adapter(): Adapter {
    return this.#adapter;
  }

  #hasRoom(headrooms = 1): boolean {
    const { blocks, beginBlocks } = this.#parts.room.headroom();
    return blocks >= headrooms * beginBlocks;
  }

  /** A node that answers does not have what the record says it has. */
  #noteDamage(record: SegmentRecord, nodeId: number): void {
    if (record.nodes.includes(nodeId)) this.#healer.noteDamage(record, nodeId);
    else this.#copies.noteBad(record.segmentId, nodeId);
  }

  copies(): CopiesReport {
    return { ...this.#copySettings, ...this.#copies.status() };
  }

  /** What is thought of a segment now. */
  explainCopies(segmentId: number): SegmentCopies | undefined {
    return this.#copies.explain(segmentId);
  }

  changeCopies(changes: Partial<CopySettings>): void {
    const settings = { ...this.#copySettings, ...changes };
    this.#saved.save('copies', encodeCopySettings(settings));
    this.#copySettings = settings;
    this.#copyLimit.bytesPerSecond = settings.limitBytesPerSecond || undefined;
    this.#copies.settings = settings;
  }

  /** For writers: room on a node that copies give up, and whether to wait for it. */
  get yielding(): Pick<CopyKeeper, 'yieldingBytes' | 'giveUpAll'> {
    return this.#copies;
  }

  /** Nodes that are down now count as gone. */
  healNow(): void {
    this.#healer.startNow();
    this.changeHealing({ paused: false, givenUp: this.#healer.givenUp });
  }

  changeHealing(changes: Partial<HealSettings>): void {
    this.#healSettings = { ...this.#healSettings, givenUp: this.#healer.givenUp, ...changes };
    this.#saved.save('heal', encodeHealSettings(this.#healSettings));
    const { paused, limitBytesPerSecond, graceMs } = this.#healSettings;
    this.#healLimit.bytesPerSecond = limitBytesPerSecond || undefined;
    this.#healer.graceMs = graceMs;
    this.#healer.paused = paused;
  }

  /** Whatever waits for nodes to settle begins now. */
  balanceNow(): void {
    this.#balancer.startNow();
    this.changeBalancing({ paused: false });
  }

  /** These nodes, and no others, are to be emptied. It holds until it is said otherwise, over restarts, also once they are empty. */
  drain(nodeIds: readonly number[]): void {
    this.#drainSettings.drain(nodeIds);
  }

  /** Lets go of a node that holds nothing: nothing will ever be put on it. Otherwise says what is in the way. */
  release(nodeId: number): Promise<ReleaseObstacle | undefined> {
    return releaseNode(this.#platform, this.#release, nodeId);
  }

  /** What would keep a node from being released now. */
  releaseObstacle(nodeId: number): ReleaseObstacle | undefined {
    return obstacle(this.#release, nodeId);
  }

  balance(): BalanceReport {
    const { paused, limitBytesPerSecond } = this.#drainSettings.settings;
    return { ...this.#balancer.status(), paused, limitBytesPerSecond };
  }

  changeBalancing(changes: Partial<Pick<BalanceSettings, 'paused' | 'limitBytesPerSecond'>>): void {
    this.#drainSettings.change(changes);
    const { paused, limitBytesPerSecond } = this.#drainSettings.settings;
    this.#balanceLimit.bytesPerSecond = limitBytesPerSecond || undefined;
    this.#balancer.paused = paused;
  }

  scrubNow(): void {
    this.#scrubber.start();
  }

  changeScrubbing(
    changes: Partial<Pick<ScrubState, 'paused' | 'limitBytesPerSecond' | 'intervalSeconds'>>,
  ): void {
    if (changes.limitBytesPerSecond !== undefined) {
      this.#scrubLimit.bytesPerSecond = changes.limitBytesPerSecond || undefined;
    }
    this.#scrubber.change(changes);
  }

  #saveFirst(): void {
    if (this.#saved.saveIfAble('scrub', encodeScrubState(this.#scrubber.state))) return;
    this.#firstSave = this.#platform.timers.after(FIRST_SAVE_MS, () => this.#saveFirst());
  }

  /** What is under way ends; the metadata still has to be open. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#firstSave?.cancel();
    this.#parts.reader.onCorrupt = undefined;
    this.#drainSettings.close();
    this.#inventory.close();
    this.#times.close();
    this.#carried.close();
    await Promise.all([
      this.#healer.close(),
      this.#scrubber.close(),
      this.#adapter.close(),
      this.#balancer.close(),
      this.#copies.close(),
    ]);
    this.#unobserve();
    this.#sources.close();
  }
}

function firstScrubState(nowMs: number): ScrubState {
  return {
    ...{ paused: false, underWay: false, limitBytesPerSecond: 0 },
    intervalSeconds: DEFAULT_SCRUB_INTERVAL_SECONDS,
    ...{ position: 0, startedMs: 0, finishedMs: Math.floor(nowMs) },
    ...{ bytesRead: 0, segments: 0, found: 0, repaired: 0 },
  };
}
