/**
 * A real volume in this process to damage and check: storage nodes on a real disk, the embedded coordinator, and either a file system or
 * the bare metadata over them. One node more than a segment is wide, so that fragments can move.
 */
import { closeSync, openSync, readdirSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { BLOCK_BYTES, MIB } from '../../../src/base/units.ts';
import { coordinatorKeys, type ManagerRecord } from '../../../src/cluster/coordinator.ts';
import {
  type EmbeddedCoordinator,
  openEmbeddedCoordinator,
} from '../../../src/cluster/coordinator-embedded.ts';
import { nodeLinks } from '../../../src/cluster/node-links.ts';
import { encodeRecord } from '../../../src/cluster/node-record.ts';
import type { NodeLinks } from '../../../src/cluster/nodes.ts';
import { rpcMethods } from '../../../src/cluster/rpc.ts';
import { openVolume, type Volume } from '../../../src/filesystem/volume.ts';
import type { FragmentDescription } from '../../../src/format/fragment-header.ts';
import type { RedoSink } from '../../../src/format/journal-entry.ts';
import type { SegmentRecord } from '../../../src/format/segment-record.ts';
import { decodeLocateReply, encodeLocateRequest } from '../../../src/format/storage-messages.ts';
import { type CheckOptions, checkVolume } from '../../../src/fsck/check-volume.ts';
import type { CheckSummary, Finding } from '../../../src/fsck/findings.ts';
import type { PrimaryManager } from '../../../src/metadata/manager.ts';
import { openMetadata } from '../../../src/metadata/open.ts';
import type { MetadataState } from '../../../src/metadata/state.ts';
import type { Database, Logger, Platform } from '../../../src/platform/platform.ts';
import { realPlatform } from '../../../src/platform/real/real-platform.ts';
import { type StorageNode, startStorageNode } from '../../../src/storage/storage-node.ts';
import { makeScratch } from '../scratch.ts';

export const silent: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silent,
};

const key = Buffer.alloc(32, 5);
export const volumeId = '00112233445566778899aabbccddeeff';
export const caller = { uid: 0, gid: 0, pid: 1 };
const NODES = 4;
const DATA_FRAGMENTS = 2;

export class CheckWorld {
  readonly platform: Platform = realPlatform({ log: silent });
  readonly #directory = makeScratch('fsck-test');
  readonly #nodes = new Map<number, StorageNode>();
  #coordinator!: EmbeddedCoordinator;
  #opened = 0;
  /** A file system is attached. */
  volume: Volume | undefined;
  links!: NodeLinks;
  metadata!: PrimaryManager;

  readonly #capacityBytes: number;
  readonly #dataFragments: number;
  readonly #parityFragments: number;

  constructor(capacityBytes = 256 * MIB, dataFragments = DATA_FRAGMENTS, parityFragments = 1) {
    this.#capacityBytes = capacityBytes;
    this.#dataFragments = dataFragments;
    this.#parityFragments = parityFragments;
  }

  /** `capacityBytes`: what fragments may take on each of the nodes. */
  static async open(
    capacityBytes?: number,
    nodes = NODES,
    dataFragments = DATA_FRAGMENTS,
    parityFragments = 1,
  ): Promise<CheckWorld> {
    const world = new CheckWorld(capacityBytes, dataFragments, parityFragments);
    const database = await world.platform.databases.open(join(world.#directory, 'coordinator'));
    world.#coordinator = await openEmbeddedCoordinator(world.platform, database);
    for (let id = 1; id <= nodes; id++) await world.startNode(id);
    await world.mount();
    return world;
  }

  async startNode(id: number): Promise<void> {
    const path = join(this.#directory, `node-${id}.sock`);
    const node = await startStorageNode(this.platform, {
      ...{
        directory: this.#nodeDirectory(id),
        nodeId: id,
        volumeId,
        key,
        capacityBytes: this.#capacityBytes,
      },
      address: { kind: 'unix', path },
    });
    this.#nodes.set(id, node);
    await this.#coordinator.put(`nodes/${id}`, Buffer.from(JSON.stringify({ id, address: `unix:${path}` })));
    if (this.links !== undefined) await this.#whenLinked(id, true);
  }

  /** The volume does not have it any more. */
  async removeNode(id: number): Promise<void> {
    await this.#coordinator.delete(`nodes/${id}`);
    while (this.links.links.has(id)) await this.platform.timers.sleep(5);
    await this.#nodes.get(id)?.close();
    this.#nodes.delete(id);
  }

  async stopNode(id: number): Promise<void> {
    await this.#nodes.get(id)?.close();
    this.#nodes.delete(id);
    await this.#whenLinked(id, false);
  }

  async #whenLinked(id: number, up: boolean): Promise<void> {
    while ((this.links.links.get(id)?.state === 'up') !== up) await this.platform.timers.sleep(5);
  }

  #nodeDirectory(id: number): string {
    return join(this.#directory, `node-${id}`);
  }

  /** Flips bytes of a fragment on its node's disk, which runs on. */
  async corrupt(nodeId: number, segmentId: number, position: number): Promise<void> {
    const { links } = this;
    const name = { segmentId, position, generation: this.metadata.segment(segmentId)!.generation };
    const reply = await links.links
      .get(nodeId)!
      .client!.call(rpcMethods.locateFragment, encodeLocateRequest(name));
    const { fileId, payloadOffset } = decodeLocateReply(reply.body);
    const directory = join(this.#nodeDirectory(nodeId), 'storage');
    const file = readdirSync(directory).find(
      (each) => Number.parseInt(each, 10) === fileId && each.endsWith('.tlog'),
    );
    if (file === undefined) throw new Error(`no log file ${fileId} in ${directory}`);
    const descriptor = openSync(join(directory, file), 'r+');
    writeSync(descriptor, Buffer.alloc(64, 0xa5), 0, 64, payloadOffset + 128);
    closeSync(descriptor);
  }

  /** Removes a fragment behind everybody's back. */
  async freeFragment(nodeId: number, segmentId: number, position: number): Promise<void> {
    const { generation } = this.metadata.segment(segmentId)!;
    const node = this.#nodes.get(nodeId)!;
    await node.fragments.free(this.metadata.term, [{ segmentId, position, generation }]);
  }

  /** Both copies of the state of its fragments' store rot while it is stopped. */
  loseStoreState(id: number): void {
    writeFileSync(join(this.#nodeDirectory(id), 'storage/state.slot'), Buffer.alloc(2 * BLOCK_BYTES, 0x5a));
  }

  /** The node comes back with a new disk. */
  async emptyNode(id: number): Promise<void> {
    await this.stopNode(id);
    rmSync(this.#nodeDirectory(id), { recursive: true, force: true });
    await this.startNode(id);
  }

  /** The bytes of a file that writeFile made. */
  async readFile(inode: number, lengthBytes: number): Promise<Buffer> {
    const { fileSystem } = this.volume!;
    const handle = await fileSystem.open(inode, 0, caller);
    const pieces: Buffer[] = [];
    for (let offset = 0; offset < lengthBytes; offset += 64 * 1024) {
      const wanted = Math.min(64 * 1024, lengthBytes - offset);
      const found = await fileSystem.read(inode, handle, offset, wanted);
      for (const part of found.parts) pieces.push(Buffer.from(part));
      found.release();
    }
    await fileSystem.release(inode, handle);
    return Buffer.concat(pieces);
  }

  /** Replaces a fragment by one that is whole and another one. */
  async forgeFragment(
    segment: SegmentRecord,
    position: number,
    forge: (description: FragmentDescription, payload: Buffer) => FragmentDescription,
  ): Promise<void> {
    const nodeId = segment.nodes[position]!;
    const { segmentId, generation, fragmentBlocks } = segment;
    const payload = this.platform.memory.allocate(fragmentBlocks * BLOCK_BYTES);
    const old = this.#nodes.get(nodeId)!.fragments;
    await old.get({ segmentId, position, generation }, 0, fragmentBlocks, payload);
    const forged = forge(await old.describe({ segmentId, position }), payload);
    const checksums = new Uint32Array(fragmentBlocks);
    this.platform.kernels.crc32cBlocks(payload, BLOCK_BYTES, checksums, 0);
    await this.freeFragment(nodeId, segmentId, position);
    // It refuses what was freed until it starts anew.
    await this.stopNode(nodeId);
    await this.startNode(nodeId);
    const put = { ...forged, checksums, term: this.metadata.term };
    await this.#nodes.get(nodeId)!.fragments.put(put, payload);
  }

  /** Puts a fragment of a segment onto a node that is not to have it. */
  async copyFragment(segment: SegmentRecord, position: number, toNode: number): Promise<void> {
    const from = this.#nodes.get(segment.nodes[position]!)!;
    const { segmentId, generation, fragmentBlocks } = segment;
    const payload = this.platform.memory.allocate(fragmentBlocks * BLOCK_BYTES);
    await from.fragments.get({ segmentId, position, generation }, 0, fragmentBlocks, payload);
    const description = await from.fragments.describe({ segmentId, position });
    await this.#nodes.get(toNode)!.fragments.put({ ...description, term: this.metadata.term }, payload);
  }

  async tellCoordinator(record: ManagerRecord): Promise<void> {
    await this.#coordinator.put(coordinatorKeys.manager, encodeRecord(record));
  }

  get nodes(): ReadonlyMap<number, StorageNode> {
    return this.#nodes;
  }

  #options() {
    this.#opened++;
    return {
      ...{ coordinator: this.#coordinator, key, volumeId, owner: { uid: 0, gid: 0 } },
      parityFragments: this.#parityFragments,
      directory: this.#viewDirectory(),
    };
  }

  async mount(): Promise<void> {
    this.volume = await openVolume(this.platform, {
      ...this.#options(),
      dataFragments: this.#dataFragments,
      name: 'mount',
      slab: { segmentBlocks: 40, slotCount: 16 },
    });
    this.links = this.volume.links;
    this.metadata = this.volume.metadata;
  }

  /** Closes the file system and opens the metadata alone. */
  async rest(): Promise<void> {
    await this.#closeVolume();
    await this.#openAtRest();
  }

  async #openAtRest(): Promise<void> {
    const options = this.#options();
    this.links = nodeLinks(this.platform, this.#coordinator, { key });
    await this.links.settle(3000);
    this.metadata = await openMetadata(this.platform, {
      ...options,
      links: this.links,
      primary: `check-${this.#opened}`,
    });
  }

  /** Loses the primary's memory and its view, at rest: the next one replays the journal from a replica. */
  async crash(): Promise<void> {
    this.links.close();
    await this.#openAtRest();
  }

  /** Makes records of the primary's own store unreadable, behind its back. At rest. */
  damageStore(damaged: readonly string[]): Promise<void> {
    return this.#spoilStore(async (database) => {
      for (const key of damaged) await database.put(Buffer.from(key, 'latin1'), Buffer.from('not a record'));
    });
  }

  /** Takes records out of the primary's own store, behind its back. At rest. */
  dropFromStore(dropped: readonly string[]): Promise<void> {
    return this.#spoilStore(async (database) => {
      for (const key of dropped) await database.del(Buffer.from(key, 'latin1'));
    });
  }

  async #spoilStore(spoil: (database: Database) => Promise<void>): Promise<void> {
    await this.#closeVolume();
    const directory = this.#viewDirectory();
    const database = await this.platform.databases.open(directory);
    await spoil(database);
    await database.close();
    this.#opened--;
    await this.#openAtRest();
  }

  #viewDirectory(): string {
    return join(this.#directory, `view-${this.#opened}`);
  }

  async #closeVolume(): Promise<void> {
    const { volume } = this;
    this.volume = undefined;
    if (volume !== undefined) await volume.close();
    else {
      await this.metadata.close();
      this.links.close();
    }
  }

  async remount(): Promise<void> {
    await this.#closeVolume();
    await this.mount();
  }

  damage<T>(change: (redo: RedoSink, state: MetadataState) => T): T {
    return this.metadata.repair(change);
  }

  async check(options: Partial<CheckOptions> = {}): Promise<{ findings: Finding[]; summary: CheckSummary }> {
    const { platform, links, metadata } = this;
    const claims = this.volume?.claims;
    const parts = {
      ...{ platform, links, metadata, volumeId, coordinator: this.#coordinator },
      ...(claims === undefined ? {} : { claims }),
    };
    const checking = checkVolume(parts, { atRest: this.volume === undefined, settleMs: 50, ...options });
    const findings: Finding[] = [];
    for (;;) {
      const next = await checking.next();
      if (next.done === true) return { findings, summary: next.value };
      findings.push(next.value);
    }
  }

  /** Creates a file at a path of one name, filled with its name. */
  async writeFile(name: string, lengthBytes: number, parent = 1): Promise<number> {
    const { fileSystem } = this.volume!;
    const { attributes, handle } = await fileSystem.create(parent, name, 0o644, 2, caller);
    for (let offset = 0; offset < lengthBytes; offset += 64 * 1024) {
      const bytes = Buffer.alloc(Math.min(64 * 1024, lengthBytes - offset), `${name} ${offset} `);
      await fileSystem.write(attributes.inode, handle, offset, [bytes], false);
    }
    await fileSystem.release(attributes.inode, handle);
    return attributes.inode;
  }

  async segments(): Promise<SegmentRecord[]> {
    return (await this.metadata.segments(0, 1000)).filter((record) => record.liveBlocks > 0);
  }

  async close(): Promise<void> {
    await this.#closeVolume();
    for (const node of this.#nodes.values()) await node.close();
    await this.#coordinator.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

export interface Sample {
  readonly top: number;
  readonly a: number;
  readonly b: number;
  readonly dir: number;
  readonly deep: number;
  readonly link: number;
}

/** Some of everything in a directory of its own: directories, links, attributes, a deleted file. */
export async function makeSample(world: CheckWorld, name: string, scale = 1): Promise<Sample> {
  const { fileSystem } = world.volume!;
  const top = (await fileSystem.makeDirectory(1, name, 0o755, caller)).inode;
  const a = await world.writeFile('a', 300_000 * scale, top);
  const b = await world.writeFile('b', 120_000 * scale, top);
  const dir = (await fileSystem.makeDirectory(top, 'dir', 0o755, caller)).inode;
  const deep = await world.writeFile('deep', 90_000 * scale, dir);
  const link = (await fileSystem.symbolicLink(dir, 'link', Buffer.from('../a'), caller)).inode;
  await fileSystem.link(a, dir, 'a-too', caller);
  await fileSystem.setXattr(b, 'user.colour', Buffer.from('red'), 0);
  await fileSystem.setXattr(b, 'user.shape', Buffer.from('round'), 0);
  const opened = await fileSystem.open(a, 0, caller);
  await fileSystem.fallocate(a, opened, 1, 200_000 * scale, 400_000 * scale);
  await fileSystem.release(a, opened);
  await world.writeFile('gone', 100_000 * scale, top);
  await fileSystem.syncAll();
  await fileSystem.unlink(top, 'gone', caller);
  await fileSystem.syncAll();
  return { top, a, b, dir, deep, link };
}

/** A volume with files of all kinds. It is not healed behind the check's back. */
export async function populated(): Promise<{ world: CheckWorld; sample: Sample }> {
  const world = await CheckWorld.open();
  world.volume!.upkeep.changeHealing({ paused: true });
  return { world, sample: await makeSample(world, 'sample') };
}
