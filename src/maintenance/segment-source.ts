/**
 * Reads the fragments of one segment for background work: straight from the disk where the node's log files are at hand, checked here
 * against what the fragment's header says; through the node otherwise, which checks them itself.
 *
 * A read that does not end in time may still write to its memory: whoever lends it is told.
 */
import { BLOCK_BYTES } from '../base/units.ts';
import type { NodeLinks } from '../cluster/nodes.ts';
import type { FragmentDescription } from '../format/fragment-header.ts';
import type { SegmentRecord } from '../format/segment-record.ts';
import { FragmentLocations } from '../log/fragment-locations.ts';
import { FragmentRead } from '../log/fragment-read.ts';
import { FragmentReader } from '../log/fragment-reader.ts';
import { LocalFiles } from '../log/local-files.ts';
import type { Platform } from '../platform/platform.ts';
import type { CallFailure, NodeCalls } from './node-calls.ts';
import type { Lender } from './repair-memory.ts';

/** A disk that takes longer is stuck. */
const READ_TIMEOUT_MS = 15_000;

/** What segments are read with: one for all of the background work of a volume, with files that it closes at its end. */
export class SegmentSources {
  readonly #platform: Platform;
  readonly #calls: NodeCalls;
  readonly #locations = new FragmentLocations();
  readonly #files: LocalFiles;
  readonly #reader: FragmentReader;

  constructor(platform: Platform, links: NodeLinks, calls: NodeCalls) {
    this.#platform = platform;
    this.#calls = calls;
    this.#files = new LocalFiles(links, platform.memory, platform.log);
    this.#reader = new FragmentReader(platform, links, this.#locations, this.#files);
  }

  /** `lender`: whose memory is read into. */
  open(record: SegmentRecord, lender: Lender): SegmentSource {
    return new SegmentSource(this.#platform, this.#calls, this.#reader, record, lender);
  }

  /** Nothing of a segment is read again soon. */
  forget(segmentId: number): void {
    this.#locations.forgetSegment(segmentId);
  }

  close(): void {
    this.#files.close();
  }
}

export class SegmentSource {
  readonly record: SegmentRecord;
  readonly #platform: Platform;
  readonly #calls: NodeCalls;
  readonly #reader: FragmentReader;
  readonly #lender: Lender;
  /** By node: each has one fragment of the segment. */
  readonly #descriptions = new Map<number, Promise<FragmentDescription | CallFailure>>();

  constructor(
    platform: Platform,
    calls: NodeCalls,
    reader: FragmentReader,
    record: SegmentRecord,
    lender: Lender,
  ) {
    this.#platform = platform;
    this.#calls = calls;
    this.#reader = reader;
    this.#lender = lender;
    this.record = record;
  }

  /** The header of the fragment, or of a copy of it on another node: the one that the record means, or why not. */
  describe(
    position: number,
    nodeId = this.record.nodes[position]!,
  ): Promise<FragmentDescription | CallFailure> {
    let asked = this.#descriptions.get(nodeId);
    if (asked === undefined) {
      asked = this.#describe(position, nodeId);
      this.#descriptions.set(nodeId, asked);
    }
    return asked;
  }

  async #describe(position: number, nodeId: number): Promise<FragmentDescription | CallFailure> {
    const { record } = this;
    const found = await this.#calls.describe(nodeId, { segmentId: record.segmentId, position });
    if (typeof found === 'string') return found;
    if (found.generation !== record.generation) return 'missing';
    return fits(record, position, found) ? found : 'corrupt';
  }

  /** Fills `into` with the fragment's blocks from `firstBlock` on. */
  async read(
    position: number,
    firstBlock: number,
    into: Uint8Array,
    nodeId = this.record.nodes[position]!,
  ): Promise<'ok' | CallFailure> {
    const described = await this.describe(position, nodeId);
    if (typeof described === 'string') return described;
    const count = into.length / BLOCK_BYTES;
    const read = new FragmentRead(
      this.record,
      position,
      firstBlock,
      count,
      into,
      described.checksums,
      firstBlock,
    );
    read.nodeId = nodeId;
    const reading = this.#reader.read(read);
    const outcome = await this.#inTime(reading);
    if (outcome !== 'late') return outcome;
    read.cancelled = true;
    this.#lender.giveUp(reading.then(() => undefined));
    if (read.transferring) void this.#reader.outlast(read, reading);
    return 'unreachable';
  }

  #inTime<T>(reading: Promise<T>): Promise<T | 'late'> {
    return new Promise((resolve, reject) => {
      const timer = this.#platform.timers.after(READ_TIMEOUT_MS, () => resolve('late'));
      reading.then(
        (outcome) => {
          timer.cancel();
          resolve(outcome);
        },
        (bug: unknown) => {
          timer.cancel();
          reject(bug);
        },
      );
    });
  }
}

/** The header says what the segment's record says. How much parity there was when it was written does not matter: the record rules. */
export function fits(record: SegmentRecord, position: number, found: FragmentDescription): boolean {
  return (
    found.segmentId === record.segmentId &&
    found.position === position &&
    found.dataFragments === record.dataFragments &&
    found.fragmentBlocks === record.fragmentBlocks &&
    found.dataBlocks === record.dataBlocks &&
    found.summaryBlocks === record.summaryBlocks
  );
}

/** Length of a fragment's payload. */
export function payloadBytes(record: Pick<SegmentRecord, 'fragmentBlocks'>): number {
  return record.fragmentBlocks * BLOCK_BYTES;
}
