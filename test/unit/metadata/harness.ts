/**
 * The state without nodes: a transaction goes to it and into groups that are kept, checkpoints go to one real database.
 */
import { rmSync } from 'node:fs';
import { afterAll } from 'vitest';
import { decodeGroup, GroupEncoder } from '../../../src/format/journal-entry.ts';
import { nameHash } from '../../../src/metadata/directory-table.ts';
import * as namespace from '../../../src/metadata/namespace.ts';
import { MetadataState } from '../../../src/metadata/state.ts';
import { type StateReader, stateReader } from '../../../src/metadata/state-reader.ts';
import { Transaction } from '../../../src/metadata/transaction.ts';
import type { Database } from '../../../src/platform/platform.ts';
import { realPlatform } from '../../../src/platform/real/real-platform.ts';
import { makeScratch } from '../scratch.ts';
import { RecordingLog } from './cluster.ts';

export const platform = realPlatform({ log: new RecordingLog() });
export const { crc32c } = platform.kernels;
export const TIME = { seconds: 1_700_000_000, nanoseconds: 5 };

/** In memory: nothing here is about what a crash of the machine leaves. */
let scratch: string | undefined;
let databases = 0;

afterAll(() => {
  if (scratch !== undefined) rmSync(scratch, { recursive: true, force: true });
});

export async function newDatabase(): Promise<Database> {
  scratch ??= makeScratch('state-test');
  databases++;
  return platform.databases.open(`${scratch}/${databases}`);
}

export async function dump(database: Database): Promise<Map<string, string>> {
  const pairs = await database.iterator().all();
  return new Map(pairs.map(([key, value]) => [key.toString('hex'), value.toString('hex')]));
}

export class StateHarness {
  readonly database: Database;
  readonly reader: StateReader;
  readonly state: MetadataState;
  readonly redo: Transaction;
  readonly groups: Buffer[] = [];
  readonly #encoder = new GroupEncoder(crc32c);
  #sequence: number;

  private constructor(database: Database, hash: (name: string) => number, sequence: number) {
    this.database = database;
    this.reader = stateReader(database, crc32c, () => undefined);
    this.state = new MetadataState(this.reader, crc32c, hash);
    this.redo = new Transaction(this.#encoder, this.state);
    this.#sequence = sequence;
  }

  /** An empty volume with its root. `hash` places names. */
  static async format(hash = nameHash(1)): Promise<StateHarness> {
    const harness = new StateHarness(await newDatabase(), hash, 0);
    const root = { mode: 0o40755, uid: 0, gid: 0, rdev: 0, time: TIME };
    harness.redo.newInode(namespace.newInode(1, root, 1, 0));
    harness.closeGroup();
    return harness;
  }

  /** What a start finds in a database that stands at `sequence`, after the groups behind it. */
  static async recover(
    database: Database,
    sequence: number,
    groups: readonly Buffer[],
    hash = nameHash(1),
  ): Promise<StateHarness> {
    const harness = new StateHarness(database, hash, sequence);
    await harness.state.load(harness.reader);
    for (const group of groups) {
      harness.#sequence++;
      decodeGroup(group, harness.#sequence, crc32c, harness.state);
    }
    return harness;
  }

  get sequence(): number {
    return this.#sequence;
  }

  closeGroup(): void {
    if (this.#encoder.operations > 0)
      this.groups.push(this.#encoder.close(++this.#sequence, Buffer.alloc(this.#encoder.lengthBytes)));
  }

  /** Starts a checkpoint; the returned function writes it down and ends it, step by step as it is called. */
  beginCheckpoint(): { write(): Promise<void>; finish(): void } {
    this.closeGroup();
    this.state.freeze();
    const records = this.state.frozenRecords();
    return {
      write: async () => {
        const batch = this.database.batch();
        for (const { key, value } of records) {
          if (value === undefined) batch.del(Buffer.from(key, 'latin1'));
          else batch.put(Buffer.from(key, 'latin1'), value);
        }
        await batch.write();
      },
      finish: () => {
        for (const _ of this.state.thaw());
      },
    };
  }

  async checkpoint(): Promise<void> {
    const checkpoint = this.beginCheckpoint();
    await checkpoint.write();
    checkpoint.finish();
  }
}

/** Runs for redo operations, from [inode, fileBlock, blockIndex, count] each; checksums follow from the segment and the index. */
export function runsOf(segmentId: number, runs: readonly (readonly [number, number, number, number])[]) {
  const checksums: number[] = [];
  const checksumIndexes: number[] = [];
  for (const [, , index, count] of runs) {
    checksumIndexes.push(checksums.length);
    for (let i = 0; i < count; i++) checksums.push(checksumOf(segmentId, index + i));
  }
  return {
    runCount: runs.length,
    inodes: Float64Array.from(runs, (run) => run[0]),
    fileBlocks: Float64Array.from(runs, (run) => run[1]),
    blockIndexes: Uint32Array.from(runs, (run) => run[2]),
    counts: Uint32Array.from(runs, (run) => run[3]),
    checksumIndexes: Uint32Array.from(checksumIndexes),
    checksums: Uint32Array.from(checksums),
  };
}

export function checksumOf(segmentId: number, index: number): number {
  return (Math.imul(segmentId % 65_537, 2_654_435_761) + index) >>> 0;
}

export function recordOf(segmentId: number, dataBlocks: number) {
  const fragmentBlocks = Math.ceil((dataBlocks + 1) / 2);
  return {
    segmentId,
    generation: 0,
    dataFragments: 2,
    parityFragments: 1,
    fragmentBlocks,
    dataBlocks,
    summaryBlocks: 1,
    nodes: [1, 2, 3],
    liveBlocks: 0,
  };
}
