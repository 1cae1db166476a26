/**
 * A whole volume in this process, all of it real but the wall clock: storage nodes on a real disk behind Unix sockets, the embedded
 * coordinator, journal, log, metadata manager and file system. Segments are small.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { GIB } from '../../../src/base/units.ts';
import {
  type EmbeddedCoordinator,
  openEmbeddedCoordinator,
} from '../../../src/cluster/coordinator-embedded.ts';
import { nodeLinks } from '../../../src/cluster/node-links.ts';
import type { NodeLinks } from '../../../src/cluster/nodes.ts';
import type { FileSystem } from '../../../src/filesystem/file-system.ts';
import { createFileSystem } from '../../../src/filesystem/tartan-file-system.ts';
import { FragmentLocations } from '../../../src/log/fragment-locations.ts';
import type { SegmentReader, SegmentWriter } from '../../../src/log/log.ts';
import { createSegmentReader } from '../../../src/log/segment-reader.ts';
import { createSegmentWriter } from '../../../src/log/segment-writer.ts';
import { createWriteSlab } from '../../../src/log/write-slab.ts';
import type { PrimaryManager } from '../../../src/metadata/manager.ts';
import { openMetadata } from '../../../src/metadata/open.ts';
import type { Platform } from '../../../src/platform/platform.ts';
import { realPlatform } from '../../../src/platform/real/real-platform.ts';
import { type StorageNode, startStorageNode } from '../../../src/storage/storage-node.ts';
import { makeScratch } from '../scratch.ts';
import { ManualClock, silent } from './harness.ts';

const NODES = 3;
const SLOTS = 16;
const key = Buffer.alloc(32, 5);
const volumeId = '00112233445566778899aabbccddeeff';

export class RealWorld {
  readonly clock = new ManualClock();
  readonly platform: Platform = { ...realPlatform({ log: silent }), clock: this.clock, log: silent };
  readonly #directory = makeScratch('filesystem-test');
  readonly nodes: StorageNode[] = [];
  coordinator!: EmbeddedCoordinator;
  readonly volumeId = volumeId;
  readonly slotCount = SLOTS;
  #reign = 0;
  links!: NodeLinks;
  metadata!: PrimaryManager;
  writer!: SegmentWriter;
  reader!: SegmentReader;
  fileSystem!: FileSystem;

  static async open(): Promise<RealWorld> {
    const world = new RealWorld();
    try {
      const database = await world.platform.databases.open(join(world.#directory, 'coordinator'));
      world.coordinator = await openEmbeddedCoordinator(world.platform, database);
      for (let id = 1; id <= NODES; id++) await world.#startNode(id);
      await world.#mount();
    } catch (error) {
      rmSync(world.#directory, { recursive: true, force: true });
      throw error;
    }
    return world;
  }

  /** The mount's memory and connections are lost; the nodes go on. */
  async crash(): Promise<void> {
    this.links.close();
    this.writer.close();
    this.reader.close();
    await this.#mount();
  }

  async close(): Promise<void> {
    await this.fileSystem.close();
    this.writer.close();
    this.reader.close();
    await this.metadata.close();
    this.links.close();
    for (const node of this.nodes) await node.close();
    await this.coordinator.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  async #startNode(id: number): Promise<void> {
    const directory = join(this.#directory, `node-${id}`);
    const node = await startStorageNode(this.platform, {
      ...{ directory, nodeId: id, volumeId, key, capacityBytes: 8 * GIB },
      address: { kind: 'unix', path: join(this.#directory, `node-${id}.sock`) },
    });
    this.nodes.push(node);
    const record = { id, address: `unix:${join(this.#directory, `node-${id}.sock`)}` };
    await this.coordinator.put(`nodes/${id}`, Buffer.from(JSON.stringify(record)));
  }

  async #mount(): Promise<void> {
    this.#reign += 1;
    const { platform } = this;
    const shape = { dataFragments: NODES - 1, parityFragments: 1 };
    const slab = createWriteSlab(platform.memory, shape, { segmentBlocks: 40, slotCount: SLOTS });
    this.links = nodeLinks(platform, this.coordinator, { key, slab: slab.slab });
    await this.links.settle(3000);
    this.metadata = await openMetadata(platform, {
      ...{ coordinator: this.coordinator, links: this.links, parityFragments: 1, volumeId },
      directory: join(this.#directory, `mount-${this.#reign}`),
      primary: `mount-${this.#reign}`,
      owner: { uid: 0, gid: 0 },
    });
    const { metadata, links } = this;
    const locations = new FragmentLocations();
    this.writer = createSegmentWriter(platform, { links, slab, locations, term: metadata.term });
    this.reader = createSegmentReader(platform, { links, locations });
    const { writer, reader } = this;
    this.fileSystem = await createFileSystem(platform, { metadata, writer, reader });
  }
}
