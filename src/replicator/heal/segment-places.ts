/**
 * Which segments lie on which nodes, in memory: segments on the same nodes form a class, so that what a node's loss means is a sum over the classes, and
 * what has to be rebuilt is found without a scan. Beside it, what is known to be missing or damaged on nodes that answer.
 *
 * Copies are kept apart: they are on nodes, and no redundancy. Kept by the metadata's observer. Some 45 bytes a segment (12 MB for 1 TiB of full segments), a few hundred a class, and 150 for each segment
 * with a fragment that is known to be bad, or with copies. A few classes for each stripe group; more after rebuilding.
 */
import { BLOCK_BYTES } from '../../base/units.ts';
import type { FragmentCopy, SegmentRecord } from '../../format/segment-record.ts';
import type { PrimaryManager } from '../../metadata/manager.ts';
import type { SegmentObserver } from '../../metadata/segment-table.ts';

export interface PlaceClass {
  /** Ascending. */
  readonly nodes: readonly number[];
  readonly dataFragments: number;
  readonly segments: Set<number>;
  /** Of one fragment of each of them. */
  blocks: number;
}

/** A segment with copies, as the record names them. */
export interface CopiedSegment {
  readonly segmentId: number;
  readonly fragmentBlocks: number;
  readonly dataFragments: number;
  /** By position. */
  readonly nodes: readonly number[];
  readonly copies: readonly FragmentCopy[];
}

interface Damage {
  readonly place: PlaceClass;
  readonly blocks: number;
  readonly nodes: Set<number>;
}

export interface RedundancyCount {
  readonly degradedSegments: number;
  readonly unreadableSegments: number;
  readonly bytesToRepair: number;
  /** Some readable data would be lost with one more node. */
  readonly atRisk: boolean;
}

/** What can be done about segments at this moment. */
export interface HealableNow {
  readonly isGone: (nodeId: number) => boolean;
  readonly isUp: (nodeId: number) => boolean;
  /** As much as the volume is to have, or as the nodes that answer can give. */
  readonly parityNow: number;
}

const PAGE_SEGMENTS = 512;

export class SegmentPlaces implements SegmentObserver {
  /** What every segment is to have. Those that were written while too few nodes were there have less. */
  readonly #fullParity: number;
  readonly #classes = new Map<string, PlaceClass>();
  readonly #damaged = new Map<number, Damage>();
  readonly #copied = new Map<number, CopiedSegment>();
  /** Of copies, by node. */
  readonly #copyBlocks = new Map<number, number>();
  /** Blocks of data that were committed: for those who watch how busy users are. */
  committedBlocks = 0;
  /** A segment with less than full parity was committed. */
  onDegraded: (() => void) | undefined;
  #isLoaded = false;

  constructor(fullParity: number) {
    this.#fullParity = fullParity;
  }

  /** All segments are in it. */
  get isLoaded(): boolean {
    return this.#isLoaded;
  }

  /** What was there before it began to observe. */
  async load(metadata: PrimaryManager, isClosed: () => boolean): Promise<void> {
    for (let after = 0; !isClosed(); ) {
      const page = await metadata.segments(after, PAGE_SEGMENTS);
      for (const { segmentId } of page) {
        // As it is in this turn: the page may be older.
        const record = metadata.segment(segmentId);
        if (record !== undefined && record.liveBlocks > 0) this.#add(record);
      }
      const last = page.at(-1);
      if (last === undefined || page.length < PAGE_SEGMENTS) break;
      after = last.segmentId;
    }
    this.#isLoaded = true;
  }

  committed(record: SegmentRecord): void {
    this.committedBlocks += record.dataBlocks;
    this.#add(record);
    if (record.parityFragments < this.#fullParity) this.onDegraded?.();
  }

  liveChanged(): void {
    // A dead one goes when it is forgotten.
  }

  laidAnew(record: SegmentRecord, before: SegmentRecord): void {
    const damaged = record.generation === before.generation ? [...this.damagedOn(record.segmentId)] : [];
    this.#remove(before);
    if (record.liveBlocks > 0) this.#add(record);
    // The same fragments, some of them elsewhere: one that stays where it was is as bad as it was.
    for (const nodeId of damaged) {
      if (record.nodes[before.nodes.indexOf(nodeId)] === nodeId) this.noteDamage(record, nodeId);
    }
  }

  forgotten(_segmentId: number, record: SegmentRecord): void {
    this.#remove(record);
  }

  #noteCopies({ segmentId, fragmentBlocks, dataFragments, nodes, copies = [] }: SegmentRecord): void {
    if (copies.length === 0 || this.#copied.has(segmentId)) return;
    const copied = { segmentId, fragmentBlocks, dataFragments, nodes, copies };
    this.#copied.set(segmentId, copied);
    this.#countCopies(copied, 1);
  }

  #forgetCopies(segmentId: number): void {
    const copied = this.#copied.get(segmentId);
    if (copied === undefined) return;
    this.#copied.delete(segmentId);
    this.#countCopies(copied, -1);
  }

  #countCopies({ fragmentBlocks, copies }: CopiedSegment, sign: 1 | -1): void {
    for (const { nodeId } of copies) {
      this.#copyBlocks.set(nodeId, (this.#copyBlocks.get(nodeId) ?? 0) + sign * fragmentBlocks);
    }
  }

  #add(record: SegmentRecord): void {
    this.#noteCopies(record);
    const place = this.#placeOf(record);
    if (place.segments.has(record.segmentId)) return;
    place.segments.add(record.segmentId);
    place.blocks += record.fragmentBlocks;
  }

  #remove(record: SegmentRecord): void {
    this.#damaged.delete(record.segmentId);
    this.#forgetCopies(record.segmentId);
    const key = keyOf(record);
    const place = this.#classes.get(key);
    if (place?.segments.delete(record.segmentId) !== true) return;
    place.blocks -= record.fragmentBlocks;
    if (place.segments.size === 0) this.#classes.delete(key);
  }

  #placeOf(record: SegmentRecord): PlaceClass {
    const key = keyOf(record);
    let place = this.#classes.get(key);
    if (place === undefined) {
      const nodes = [...record.nodes].sort((a, b) => a - b);
      place = { nodes, dataFragments: record.dataFragments, segments: new Set(), blocks: 0 };
      this.#classes.set(key, place);
    }
    return place;
  }

  /** A node that answers does not have its fragment of the segment, or a damaged one. */
  noteDamage(record: SegmentRecord, nodeId: number): void {
    const { segmentId, fragmentBlocks } = record;
    if (record.liveBlocks === 0 || !record.nodes.includes(nodeId)) return;
    const known = this.#damaged.get(segmentId);
    if (known !== undefined) known.nodes.add(nodeId);
    else {
      this.#add(record);
      const place = this.#placeOf(record);
      this.#damaged.set(segmentId, { place, blocks: fragmentBlocks, nodes: new Set([nodeId]) });
    }
  }

  noteRepaired(segmentId: number, nodeId: number): void {
    const known = this.#damaged.get(segmentId);
    if (known?.nodes.delete(nodeId) === true && known.nodes.size === 0) this.#damaged.delete(segmentId);
  }

  damagedOn(segmentId: number): ReadonlySet<number> {
    return this.#damaged.get(segmentId)?.nodes ?? NONE;
  }

  /** With the nodes that answer. */
  count(isUp: (nodeId: number) => boolean): RedundancyCount {
    let degradedSegments = 0;
    let unreadableSegments = 0;
    let blocksToRepair = 0;
    let atRisk = false;
    const away = new Map<PlaceClass, number>();
    for (const place of this.#classes.values()) {
      const missing = place.nodes.filter((nodeId) => !isUp(nodeId)).length;
      away.set(place, missing);
      const lacking = lackingParity(place, this.#fullParity);
      if (missing + lacking === 0) continue;
      const spare = place.nodes.length - missing - place.dataFragments;
      degradedSegments += place.segments.size;
      blocksToRepair += (missing + lacking) * place.blocks;
      if (spare < 0) unreadableSegments += place.segments.size;
      if (spare === 0) atRisk = true;
    }
    for (const { place, blocks, nodes } of this.#damaged.values()) {
      let damaged = 0;
      for (const nodeId of nodes) if (isUp(nodeId)) damaged++;
      if (damaged === 0) continue;
      const missing = away.get(place) ?? 0;
      const spare = place.nodes.length - missing - place.dataFragments;
      blocksToRepair += damaged * blocks;
      if (missing + lackingParity(place, this.#fullParity) === 0) degradedSegments++;
      if (spare >= 0 && spare < damaged) unreadableSegments++;
      if (spare === damaged) atRisk = true;
    }
    for (const copied of this.#copied.values()) if (isSaved(copied, isUp)) unreadableSegments--;
    const bytesToRepair = blocksToRepair * BLOCK_BYTES;
    return { degradedSegments, unreadableSegments, bytesToRepair, atRisk };
  }

  classes(): Iterable<PlaceClass> {
    return this.#classes.values();
  }

  /** Segments with copies. */
  copied(): Iterable<CopiedSegment> {
    return this.#copied.values();
  }

  get copiedCount(): number {
    return this.#copied.size;
  }

  /** Of copies on a node. */
  copyBytes(nodeId: number): number {
    return (this.#copyBlocks.get(nodeId) ?? 0) * BLOCK_BYTES;
  }

  /** What lies on a node, in bytes, copies included. */
  bytesHeld(nodeId: number): number {
    let blocks = 0;
    for (const place of this.#classes.values()) if (place.nodes.includes(nodeId)) blocks += place.blocks;
    return blocks * BLOCK_BYTES + this.copyBytes(nodeId);
  }

  /** To be rebuilt: what lies on nodes that are gone for good, and parity that can be added now. In bytes. */
  bytesToHeal({ isGone, isUp, parityNow }: HealableNow): number {
    let blocks = 0;
    for (const place of this.#classes.values()) {
      const gone = place.nodes.filter((nodeId) => isGone(nodeId)).length;
      const lacking = gone > 0 || place.nodes.every(isUp) ? lackingParity(place, parityNow) : 0;
      blocks += place.blocks * (gone + lacking);
    }
    for (const { blocks: each, nodes } of this.#damaged.values()) {
      for (const nodeId of nodes) if (!isGone(nodeId)) blocks += each;
    }
    return blocks * BLOCK_BYTES;
  }

  /**
   * Segments with a fragment on a gone node or a bad one, or with less parity than can be had, most endangered first: those with the fewest good fragments to
   * spare.
   */
  endangered(
    limit: number,
    { isGone, isUp, parityNow }: HealableNow,
    isExcluded: (segmentId: number) => boolean,
  ): number[] {
    const found = new Map<number, number>();
    for (const [segmentId, { place, nodes }] of this.#damaged) {
      if (found.size >= MOST_DAMAGED) break;
      const good = place.nodes.filter((nodeId) => isUp(nodeId) && !nodes.has(nodeId)).length;
      if (!isExcluded(segmentId)) found.set(segmentId, good - place.dataFragments);
    }
    const byNeed = [...this.#classes.values()]
      .filter(
        (place) =>
          place.nodes.some((nodeId) => isGone(nodeId)) ||
          (lackingParity(place, parityNow) > 0 && place.nodes.every(isUp)),
      )
      .map((place) => ({ place, spare: place.nodes.filter(isUp).length - place.dataFragments }))
      .sort((a, b) => a.spare - b.spare);
    let taken = 0;
    for (const { place, spare } of byNeed) {
      for (const segmentId of place.segments) {
        if (taken >= limit) break;
        if (found.has(segmentId) || isExcluded(segmentId)) continue;
        found.set(segmentId, spare);
        taken++;
      }
    }
    return [...found]
      .sort((a, b) => a[1] - b[1])
      .slice(0, limit)
      .map(([segmentId]) => segmentId);
  }
}

/** Parity fragments that it has less than `parity`. */
function lackingParity({ nodes, dataFragments }: PlaceClass, parity: number): number {
  return Math.max(0, parity - (nodes.length - dataFragments));
}

/** Too few of its nodes answer, and with the copies of what the others have it can be read all the same. */
function isSaved(
  { nodes, dataFragments, copies }: CopiedSegment,
  isUp: (nodeId: number) => boolean,
): boolean {
  const answering = nodes.filter(isUp).length;
  if (answering >= dataFragments) return false;
  const covered = copies.filter(({ position, nodeId }) => !isUp(nodes[position]!) && isUp(nodeId)).length;
  return answering + covered >= dataFragments;
}

const NONE: ReadonlySet<number> = new Set();
/** So many damaged segments are weighed against each other at once. */
const MOST_DAMAGED = 1024;

function keyOf(record: SegmentRecord): string {
  return `${[...record.nodes].sort((a, b) => a - b).join(',')}/${record.dataFragments}`;
}
