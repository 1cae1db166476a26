/**
 * Storage nodes in memory behind the real contracts (NodeLinks, RpcClient, the message codecs), which a test can freeze, kill, fill,
 * corrupt or make refuse. A frozen node serves what it was sent when it thaws, looking at payload memory only then, as a stopped
 * process does with shared memory.
 */
import { BLOCK_BYTES } from '../../../src/base/units.ts';
import type { NodeLink, NodeLinks, NodeState } from '../../../src/cluster/nodes.ts';
import {
  type CallOptions,
  type RpcClient,
  RpcError,
  type RpcReply,
  type RpcStatus,
  rpcMethods,
  rpcStatus,
} from '../../../src/cluster/rpc.ts';
import type { FragmentDescription } from '../../../src/format/fragment-header.ts';
import * as messages from '../../../src/format/storage-messages.ts';
import type { FakeLogFile, FakePlatform } from './fake-platform.ts';

interface StoredFragment {
  readonly description: FragmentDescription;
  readonly location: messages.FragmentLocation;
}

/** What a real node needs for the header of these short fragments. */
const HEADER_BYTES = BLOCK_BYTES;
let lastDescriptor = 0;

export class FakeNode {
  readonly id: number;
  readonly platform: FakePlatform;
  readonly fragments = new Map<string, StoredFragment>();
  readonly file: FakeLogFile = { bytes: Buffer.alloc(0), stuck: undefined, openCount: 0 };
  readonly descriptor = ++lastDescriptor;
  /** Slow is what the links make of a frozen node after 600 ms. */
  slowAfterMs = 600;
  capacityBytes = 2 ** 40;
  usedBytes = 0;
  local = true;
  term = 0;
  /** It has lost the term, and asks for this. */
  challenge: number | undefined;
  /** Answers to puts with this status, if set. */
  refusePuts: RpcStatus | undefined;
  refusePledges: RpcStatus | undefined;
  readonly calls = new Map<number, number>();
  state: NodeState = 'up';
  client: FakeClient;
  frozen: (() => void)[] | undefined;
  readonly #onChange: () => void;
  #fillBytes = 0;

  constructor(id: number, platform: FakePlatform, onChange: () => void) {
    this.id = id;
    this.platform = platform;
    this.#onChange = onChange;
    this.client = new FakeClient(this);
    platform.descriptors.set(this.descriptor, this.file);
  }

  get freeBytes(): number {
    return Math.max(0, this.capacityBytes - this.usedBytes);
  }

  setState(state: NodeState): void {
    if (this.state === state) return;
    this.state = state;
    this.#onChange();
  }

  freeze(): void {
    this.frozen = [];
    this.platform.timers.after(this.slowAfterMs, () => {
      if (this.frozen !== undefined && this.state === 'up') this.setState('slow');
    });
  }

  thaw(): void {
    const waiting = this.frozen ?? [];
    this.frozen = undefined;
    for (const serve of waiting) serve();
    this.setState('up');
  }

  kill(): void {
    const { client } = this;
    this.frozen = undefined;
    client.end();
    this.setState('down');
  }

  restart(): void {
    this.client = new FakeClient(this);
    this.setState('up');
  }

  /** A stuck disk: reads of its files hang until the returned function is called. */
  stickDisk(): () => void {
    let release = () => {};
    this.file.stuck = new Promise((resolve) => {
      release = resolve;
    });
    return () => {
      this.file.stuck = undefined;
      release();
    };
  }

  corrupt(segmentId: number, position: number, block: number): void {
    const { location } = this.fragments.get(`${segmentId}/${position}`)!;
    const at = location.payloadOffset + block * BLOCK_BYTES + 17;
    this.file.bytes[at]! ^= 0x40;
  }

  /** The payload as it lies on the disk. */
  payload(segmentId: number, position: number): Buffer {
    const { location } = this.fragments.get(`${segmentId}/${position}`)!;
    return this.file.bytes.subarray(
      location.payloadOffset,
      location.payloadOffset + location.fragmentBlocks * BLOCK_BYTES,
    );
  }

  serve(method: number, body: Buffer, options: CallOptions): RpcReply {
    this.calls.set(method, (this.calls.get(method) ?? 0) + 1);
    switch (method) {
      case rpcMethods.putFragment:
        return this.#put(messages.decodePutRequest(body), options.payload!);
      case rpcMethods.getFragment:
        return this.#get(messages.decodeGetRequest(body), options.into!);
      case rpcMethods.freeFragments:
        return this.#free(messages.decodeFreeRequest(body));
      case rpcMethods.locateFragment: {
        const stored = this.#find(messages.decodeLocateRequest(body));
        return stored === undefined
          ? reply(rpcStatus.missing)
          : reply(rpcStatus.ok, messages.encodeLocateReply(stored.location));
      }
      case rpcMethods.openLogFile:
        return {
          ...reply(rpcStatus.ok, messages.encodeOpenLogFileReply({ direct: true })),
          descriptor: this.descriptor,
        };
      case rpcMethods.listFragments: {
        const { afterSegmentId, afterPosition, limit } = messages.decodeListRequest(body);
        const behind = [...this.fragments.values()]
          .map(({ description }) => description)
          .filter(
            (d) =>
              d.segmentId > afterSegmentId || (d.segmentId === afterSegmentId && d.position > afterPosition),
          )
          .sort((a, b) => a.segmentId - b.segmentId || a.position - b.position);
        const fragments = behind.slice(0, limit);
        return reply(
          rpcStatus.ok,
          messages.encodeListReply({ more: behind.length > fragments.length, fragments }),
        );
      }
      case rpcMethods.describeFragment: {
        const { segmentId, position } = messages.decodeDescribeRequest(body);
        const stored = this.fragments.get(`${segmentId}/${position}`);
        return stored === undefined
          ? reply(rpcStatus.missing)
          : reply(rpcStatus.ok, messages.encodeDescribeReply(stored.description));
      }
      case rpcMethods.fenceStorage: {
        const term = messages.decodeTerm(body);
        if (this.challenge !== undefined)
          return reply(rpcStatus.conflict, messages.encodeTerm(this.challenge));
        if (term < this.term) return reply(rpcStatus.fenced, messages.encodeTerm(this.term));
        this.term = term;
        return reply(rpcStatus.ok, messages.encodeTerm(term));
      }
      case rpcMethods.pledgeStorage: {
        if (this.refusePledges !== undefined) return reply(this.refusePledges);
        const { term, challenge } = messages.decodePledgeRequest(body);
        if (challenge === this.challenge) this.challenge = undefined;
        return this.serve(rpcMethods.fenceStorage, messages.encodeTerm(term), options);
      }
      default:
        return reply(rpcStatus.invalid);
    }
  }

  #find(name: messages.FragmentName): StoredFragment | undefined {
    const stored = this.fragments.get(`${name.segmentId}/${name.position}`);
    return stored?.description.generation === name.generation ? stored : undefined;
  }

  #put(description: FragmentDescription, payload: Uint8Array): RpcReply {
    if (this.refusePuts !== undefined) return reply(this.refusePuts);
    if (description.term < this.term) return reply(rpcStatus.fenced, messages.encodeTerm(this.term));
    const key = `${description.segmentId}/${description.position}`;
    const held = this.fragments.get(key);
    if (held !== undefined && held.description.generation > description.generation) {
      return reply(rpcStatus.conflict);
    }
    const found = new Uint32Array(description.fragmentBlocks);
    this.platform.kernels.crc32cBlocks(payload, BLOCK_BYTES, found, 0);
    if (Buffer.compare(bytesOf(found), bytesOf(description.checksums)) !== 0) return reply(rpcStatus.corrupt);
    if (held?.description.generation === description.generation) return this.#stored(held.location);
    if (this.freeBytes < payload.length + HEADER_BYTES) return reply(rpcStatus.full);
    const payloadOffset = this.#fillBytes;
    const needed = payloadOffset + payload.length;
    if (needed > this.file.bytes.length) {
      const bytes = Buffer.alloc(Math.max(needed, 2 * this.file.bytes.length));
      this.file.bytes.copy(bytes);
      this.file.bytes = bytes;
    }
    this.#fillBytes += payload.length;
    this.file.bytes.set(payload, payloadOffset);
    const location = { fileId: 1, payloadOffset, fragmentBlocks: description.fragmentBlocks };
    this.fragments.set(key, { description: { ...description, checksums: found }, location });
    this.usedBytes += payload.length + HEADER_BYTES;
    return this.#stored(location);
  }

  #stored(location: messages.FragmentLocation): RpcReply {
    return reply(rpcStatus.ok, messages.encodePutReply({ location, freeBytes: this.freeBytes }));
  }

  #get(request: messages.GetRequest, into: Uint8Array): RpcReply {
    const stored = this.#find(request);
    if (stored === undefined) return reply(rpcStatus.missing);
    const { description } = stored;
    const payload = this.payload(description.segmentId, description.position);
    for (let block = request.firstBlock; block < request.firstBlock + request.blockCount; block++) {
      const bytes = payload.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES);
      if (this.platform.kernels.crc32c(bytes) !== description.checksums[block]) {
        return reply(rpcStatus.corrupt, messages.encodeCorruptBlock(block));
      }
    }
    const lengthBytes = request.blockCount * BLOCK_BYTES;
    into.set(payload.subarray(request.firstBlock * BLOCK_BYTES).subarray(0, lengthBytes));
    return { ...reply(rpcStatus.ok), payloadBytes: lengthBytes };
  }

  #free({ term, names }: messages.FreeRequest): RpcReply {
    if (this.challenge !== undefined) return reply(rpcStatus.busy);
    if (term < this.term) return reply(rpcStatus.fenced, messages.encodeTerm(this.term));
    let freed = 0;
    for (const { segmentId, position, generation } of names) {
      const key = `${segmentId}/${position}`;
      const held = this.fragments.get(key);
      if (held === undefined || held.description.generation > generation) continue;
      this.payload(segmentId, position).fill(0);
      this.fragments.delete(key);
      this.usedBytes -= held.description.fragmentBlocks * BLOCK_BYTES + HEADER_BYTES;
      freed++;
    }
    return reply(rpcStatus.ok, messages.encodeFreeReply({ freed, freeBytes: this.freeBytes }));
  }
}

function bytesOf(checksums: Uint32Array): Buffer {
  return Buffer.from(checksums.buffer, checksums.byteOffset, checksums.byteLength);
}

function reply(status: RpcStatus, body: Buffer = Buffer.alloc(0)): RpcReply {
  return { status, body, payloadBytes: 0 };
}

class FakeClient implements RpcClient {
  readonly address = { kind: 'unix', path: '/nowhere' } as const;
  readonly node: FakeNode;
  closed = false;
  onClose: (() => void) | undefined;
  readonly #open = new Set<(error: RpcError) => void>();

  constructor(node: FakeNode) {
    this.node = node;
  }

  get local(): boolean {
    return this.node.local;
  }

  call(method: number, body: Uint8Array, options: CallOptions = {}): Promise<RpcReply> {
    if (this.closed) return Promise.reject(new RpcError('closed', 'closed'));
    const sent = Buffer.from(body);
    return new Promise((resolve, reject) => {
      this.#open.add(reject);
      const timer =
        options.timeoutMs === undefined
          ? undefined
          : this.node.platform.timers.after(options.timeoutMs, () => {
              this.#open.delete(reject);
              reject(new RpcError('timeout', 'no answer'));
            });
      const serve = (): void => {
        if (this.closed) return;
        timer?.cancel();
        const answered = this.node.serve(method, sent, options);
        if (this.#open.delete(reject)) resolve(answered);
      };
      if (this.node.frozen !== undefined) this.node.frozen.push(serve);
      else setImmediate(() => (this.node.frozen === undefined ? serve() : this.node.frozen.push(serve)));
    });
  }

  end(): void {
    this.closed = true;
    for (const reject of this.#open) reject(new RpcError('closed', 'connection lost'));
    this.#open.clear();
  }

  close(): void {
    this.end();
  }
}

class FakeLink implements NodeLink {
  readonly #node: FakeNode;
  readonly id: number;
  readonly domain: string;
  #noted: number | undefined;

  constructor(node: FakeNode) {
    this.#node = node;
    this.id = node.id;
    this.domain = String(node.id);
  }

  get state(): NodeState {
    return this.#node.state;
  }

  get client(): RpcClient | undefined {
    return this.#node.state === 'down' ? undefined : this.#node.client;
  }

  get freeBytes(): number {
    return this.#noted ?? this.#node.freeBytes;
  }

  get capacityBytes(): number {
    return this.#node.capacityBytes;
  }

  get usedBytes(): number {
    return this.#node.usedBytes;
  }

  noteFreeBytes(freeBytes: number): void {
    this.#noted = freeBytes;
  }

  /** What a ping brings. */
  refresh(): void {
    this.#noted = undefined;
  }

  noteSlow(): void {
    if (this.#node.state === 'up') this.#node.setState('slow');
  }
}

export class FakeCluster implements NodeLinks {
  readonly nodes: FakeNode[] = [];
  readonly links = new Map<number, FakeLink>();
  readonly #listeners = new Set<(link: NodeLink) => void>();

  constructor(platform: FakePlatform, nodeCount: number) {
    for (let id = 1; id <= nodeCount; id++) {
      const node = new FakeNode(id, platform, () => {
        for (const listener of this.#listeners) listener(this.links.get(id)!);
      });
      this.nodes.push(node);
      this.links.set(id, new FakeLink(node));
    }
  }

  node(id: number): FakeNode {
    return this.nodes[id - 1]!;
  }

  /** Every fragment that any node holds, as "segment/position@node". */
  everyFragment(): string[] {
    return this.nodes.flatMap((node) => [...node.fragments.keys()].map((key) => `${key}@${node.id}`)).sort();
  }

  onChange(listener: (link: NodeLink) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async settle(): Promise<void> {}

  /** What makes nodes reachable when somebody insists. */
  onReach: (nodeIds: readonly number[]) => boolean = () => false;

  async reach(nodeIds: readonly number[]): Promise<boolean> {
    return this.onReach(nodeIds);
  }

  close(): void {}
}
