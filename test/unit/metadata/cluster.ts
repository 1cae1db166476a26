/**
 * A volume's nodes and coordinator in this process: the real journal, replica and coordinator on a real disk, with connections that a test
 * can cut, freeze and count. A killed node loses its connections at once and its stores are reopened when it restarts.
 */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { Coordinator } from '../../../src/cluster/coordinator.ts';
import {
  type EmbeddedCoordinator,
  openEmbeddedCoordinator,
} from '../../../src/cluster/coordinator-embedded.ts';
import type { DrainingNodes } from '../../../src/cluster/draining-nodes.ts';
import type { NodeLink, NodeLinks, NodeState } from '../../../src/cluster/nodes.ts';
import { ReplicaStore } from '../../../src/cluster/replica-store.ts';
import {
  type CallOptions,
  type RpcClient,
  RpcError,
  type RpcHandler,
  type RpcReply,
  rpcStatus,
} from '../../../src/cluster/rpc.ts';
import type { PrimaryManager } from '../../../src/metadata/manager.ts';
import { openMetadata } from '../../../src/metadata/open.ts';
import type { Logger, Platform } from '../../../src/platform/platform.ts';
import { realPlatform } from '../../../src/platform/real/real-platform.ts';
import type { FragmentStore } from '../../../src/storage/fragment-store.ts';
import { JournalStore } from '../../../src/storage/journal-store.ts';
import { nodeHandler } from '../../../src/storage/node-service.ts';
import { ReplicaService } from '../../../src/storage/replica-service.ts';
import { makeScratch } from '../scratch.ts';

export class RecordingLog implements Logger {
  readonly events: string[] = [];
  debug(): void {}
  info(event: string): void {
    this.events.push(event);
  }
  warn(event: string): void {
    this.events.push(event);
  }
  error(event: string, fields?: object): void {
    this.events.push(`${event} ${JSON.stringify(fields)}`);
  }
  child(): Logger {
    return this;
  }
}

const VOLUME_ID = '00112233445566778899aabbccddeeff';
const JOURNAL_FILE_BYTES = 1024 * 1024;

class TestClient implements RpcClient {
  readonly address = { kind: 'unix', path: '' } as const;
  readonly local = true;
  onClose: (() => void) | undefined;
  closed = false;
  readonly #node: TestNode;
  readonly #cut = new Set<(error: RpcError) => void>();

  constructor(node: TestNode) {
    this.#node = node;
  }

  call(method: number, body: Uint8Array, options: CallOptions = {}): Promise<RpcReply> {
    const sent = Buffer.from(body);
    return new Promise((resolve, reject) => {
      const settle = (run: () => void) => {
        this.#cut.delete(fail);
        if (timer !== undefined) clearTimeout(timer);
        run();
      };
      const fail = (error: RpcError) => settle(() => reject(error));
      const timer =
        options.timeoutMs === undefined
          ? undefined
          : setTimeout(() => fail(new RpcError('timeout', 'no answer')), options.timeoutMs);
      if (this.closed) return fail(new RpcError('closed', 'closed'));
      this.#cut.add(fail);
      this.#node.serve(method, sent).then(
        (reply) => this.#cut.has(fail) && settle(() => resolve(reply)),
        () => this.#cut.has(fail) && fail(new RpcError('closed', 'closed')),
      );
    });
  }

  close(): void {
    this.closed = true;
    for (const fail of [...this.#cut]) fail(new RpcError('closed', 'closed'));
  }
}

export class TestNode implements NodeLink {
  readonly id: number;
  readonly domain: string;
  readonly freeBytes = 2 ** 40;
  readonly capacityBytes = 2 ** 40;
  readonly usedBytes = 0;
  state: NodeState = 'down';
  client: TestClient | undefined;
  journal!: JournalStore;
  replica!: ReplicaService;
  /** Answers these methods with this status instead. */
  readonly refuse = new Map<number, number>();
  /** Calls of these methods are lost on the way. */
  readonly ignore = new Set<number>();
  /** Called before each call is served. */
  onCall: ((method: number) => void) | undefined;
  #handler!: RpcHandler;
  #frozen: (() => void)[] | undefined;
  readonly #cluster: TestCluster;

  constructor(cluster: TestCluster, id: number) {
    this.#cluster = cluster;
    this.id = id;
    this.domain = String(id);
  }

  async start(): Promise<void> {
    const { platform } = this.#cluster;
    const directory = this.#directory;
    this.journal = await JournalStore.open(platform, {
      directory,
      volumeId: Buffer.from(VOLUME_ID, 'hex'),
      fileBytes: JOURNAL_FILE_BYTES,
      maxFiles: 16,
    });
    const store = await ReplicaStore.open(platform, { directory: `${directory}/replica` });
    this.replica = new ReplicaService(platform, store);
    this.#handler = nodeHandler({
      nodeId: this.id,
      log: platform.log,
      fragments: undefined as unknown as FragmentStore, // no test calls the storage service
      journal: this.journal,
      replica: this.replica,
    });
    this.client = new TestClient(this);
    this.#become('up');
  }

  async serve(method: number, body: Buffer): Promise<RpcReply> {
    this.onCall?.(method);
    if (this.ignore.has(method)) return new Promise(() => undefined);
    if (this.#frozen !== undefined) await new Promise<void>((resolve) => this.#frozen?.push(resolve));
    const refused = this.refuse.get(method);
    if (refused !== undefined) {
      return { status: refused as RpcReply['status'], body: Buffer.alloc(0), payloadBytes: 0 };
    }
    const response = await this.#handler({
      method,
      body,
      payload: undefined,
      replyInto: undefined,
      local: true,
    });
    return {
      status: response.status ?? rpcStatus.ok,
      body: Buffer.from(response.body ?? []),
      payloadBytes: 0,
    };
  }

  /** Connections end at once; what was asked before may still reach the disk. */
  cut(): void {
    this.client?.close();
    this.client = undefined;
    this.#become('down');
  }

  reconnect(): void {
    this.client = new TestClient(this);
    this.#become('up');
  }

  async kill(): Promise<void> {
    this.cut();
    await this.stop();
  }

  async stop(): Promise<void> {
    this.thaw();
    await this.replica.close();
    await this.journal.close();
  }

  /** Loses its disk. */
  async wipe(): Promise<void> {
    if (this.state !== 'down') await this.kill();
    rmSync(this.#directory, { recursive: true });
  }

  get #directory(): string {
    return `${this.#cluster.directory}/node-${this.id}`;
  }

  /** Spoils what the journal holds of this entry on the disk. */
  damage(sequence: number): void {
    let damaged = 0;
    for (const name of readdirSync(this.#directory).filter((file) => file.endsWith('.tjl'))) {
      const path = `${this.#directory}/${name}`;
      const bytes = readFileSync(path);
      for (let at = 4096; at < bytes.length; at += 4096) {
        if (bytes.toString('latin1', at + 4, at + 8) !== 'TJFR') continue;
        if (bytes.readUInt32LE(at + 48) === 0) continue; // only cuts
        if (Number(bytes.readBigUInt64LE(at + 32)) !== sequence - 1) continue;
        bytes[at + 100]! ^= 1;
        damaged++;
      }
      writeFileSync(path, bytes);
    }
    if (damaged === 0) throw new Error(`entry ${sequence} is not at the start of a frame of node ${this.id}`);
  }

  freeze(): void {
    this.#frozen = [];
  }

  thaw(): void {
    const waiting = this.#frozen ?? [];
    this.#frozen = undefined;
    for (const resolve of waiting) resolve();
    if (this.state === 'slow') this.#become('up');
  }

  noteFreeBytes(): void {}

  noteSlow(): void {
    if (this.state !== 'up') return;
    this.#become('slow');
    this.#probe();
  }

  /** Up again as soon as it answers. */
  #probe(): void {
    setTimeout(() => {
      if (this.state !== 'slow') return;
      if (this.#frozen === undefined) this.#become('up');
      else this.#probe();
    }, 10);
  }

  #become(state: NodeState): void {
    this.state = state;
    this.#cluster.changed(this);
  }
}

/** The coordinator as one has it that hears nothing by itself. */
function deaf(coordinator: Coordinator): Coordinator {
  return {
    get: (key) => coordinator.get(key),
    list: (prefix) => coordinator.list(prefix),
    put: (key, value, lease) => coordinator.put(key, value, lease),
    delete: (key) => coordinator.delete(key),
    compareAndSwap: (key, version, value, lease) => coordinator.compareAndSwap(key, version, value, lease),
    watch: () => () => undefined,
    lease: (ttlMs) => coordinator.lease(ttlMs),
    close: () => coordinator.close(),
  };
}

export class TestCluster implements NodeLinks {
  readonly directory = makeScratch('metadata-test');
  readonly log = new RecordingLog();
  readonly platform: Platform = realPlatform({ log: this.log });
  readonly links = new Map<number, TestNode>();
  coordinator!: EmbeddedCoordinator;
  readonly #listeners = new Set<(link: NodeLink) => void>();
  #opened = 0;

  static async start(nodes: number): Promise<TestCluster> {
    const cluster = new TestCluster();
    const database = await cluster.platform.databases.open(`${cluster.directory}/coordinator`);
    cluster.coordinator = await openEmbeddedCoordinator(cluster.platform, database);
    for (let id = 1; id <= nodes; id++) await cluster.add(id);
    return cluster;
  }

  async add(id: number): Promise<TestNode> {
    const node = new TestNode(this, id);
    this.links.set(id, node);
    await node.start();
    return node;
  }

  node(id: number): TestNode {
    return this.links.get(id)!;
  }

  /** The links as another process has them: its own view of the same nodes. */
  open(
    options: {
      directory?: string;
      parityFragments?: number;
      waitMs?: number;
      deaf?: boolean;
      draining?: DrainingNodes;
    } = {},
  ): Promise<PrimaryManager> {
    this.#opened++;
    return openMetadata(this.platform, {
      coordinator: options.deaf ? deaf(this.coordinator) : this.coordinator,
      links: this,
      directory: `${this.directory}/${options.directory ?? 'mount'}`,
      parityFragments: options.parityFragments ?? 1,
      volumeId: VOLUME_ID,
      primary: `mount ${this.#opened}`,
      owner: { uid: 1000, gid: 1000 },
      waitMs: options.waitMs ?? 2000,
      ...(options.draining === undefined ? {} : { draining: options.draining }),
    });
  }

  changed(link: NodeLink): void {
    for (const listener of [...this.#listeners]) listener(link);
  }

  onChange(listener: (link: NodeLink) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  settle(): Promise<void> {
    return Promise.resolve();
  }

  reach(): Promise<boolean> {
    return Promise.resolve(false);
  }

  close(): void {}

  async remove(): Promise<void> {
    for (const node of this.links.values()) {
      if (node.state !== 'down') await node.kill();
    }
    await this.coordinator.close();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
