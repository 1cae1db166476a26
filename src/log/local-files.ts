/**
 * Descriptors of the log files of nodes on this machine, as the nodes passed them: reads go straight to the disk, without the node.
 *
 * A connection that is gone means that the node may be dead and its disk another's: all its files are closed and not used again. The
 * number of open files is bounded; one that is being read is closed when its last read ends.
 */
import { LRUCache } from 'lru-cache';
import type { NodeLink, NodeLinks } from '../cluster/nodes.ts';
import { type RpcClient, RpcError, rpcMethods, rpcStatus } from '../cluster/rpc.ts';
import { FormatError } from '../format/fields.ts';
import { decodeOpenLogFileReply, encodeOpenLogFileRequest } from '../format/storage-messages.ts';
import { type DiskFile, type Logger, MachineError, type Memory } from '../platform/platform.ts';

const MAX_OPEN_FILES = 512;
const OPEN_TIMEOUT_MS = 2000;
const FILES_PER_NODE = 2 ** 32;

export class LocalFile {
  readonly #file: DiskFile;
  readonly #log: Logger;
  #reads = 0;
  #retired = false;

  constructor(file: DiskFile, log: Logger) {
    this.#file = file;
    this.#log = log;
  }

  /** Not handed out any more: its node's connection is gone, or others took its place. */
  get isRetired(): boolean {
    return this.#retired;
  }

  /** `done` gets the bytes read, or a negative errno number. */
  read(into: Uint8Array, positionBytes: number, done: (result: number) => void): void {
    this.#reads++;
    this.#file.readThen(into, positionBytes, (result) => {
      this.#reads--;
      if (this.#retired && this.#reads === 0) this.#close();
      done(result);
    });
  }

  /** Closes it as soon as nobody reads. */
  retire(): void {
    if (this.#retired) return;
    this.#retired = true;
    if (this.#reads === 0) this.#close();
  }

  #close(): void {
    this.#file.close().catch((error: unknown) => {
      if (!(error instanceof MachineError)) throw error;
      this.#log.warn('log-file-close-failed', { path: this.#file.path, cause: error.message });
    });
  }
}

export class LocalFiles {
  readonly #links: NodeLinks;
  readonly #memory: Memory;
  readonly #log: Logger;
  readonly #files = new LRUCache<number, LocalFile>({
    max: MAX_OPEN_FILES,
    dispose: (file) => file.retire(),
  });
  readonly #opening = new Map<number, Promise<LocalFile | undefined>>();
  /** The connection that a node's files came through. */
  readonly #clients = new Map<number, RpcClient>();
  readonly #unsubscribe: () => void;

  constructor(links: NodeLinks, memory: Memory, log: Logger) {
    this.#links = links;
    this.#memory = memory;
    this.#log = log;
    this.#unsubscribe = links.onChange((link) => this.#checkConnection(link));
  }

  find(link: NodeLink, fileId: number): LocalFile | undefined {
    if (this.#clients.get(link.id) !== link.client) return undefined;
    return this.#files.peek(link.id * FILES_PER_NODE + fileId);
  }

  /** undefined: the node does not hand it out; read through the node. */
  open(link: NodeLink, fileId: number): Promise<LocalFile | undefined> {
    const found = this.find(link, fileId);
    if (found !== undefined) return Promise.resolve(found);
    const key = link.id * FILES_PER_NODE + fileId;
    let opening = this.#opening.get(key);
    if (opening === undefined) {
      opening = this.#open(link, fileId, key).finally(() => this.#opening.delete(key));
      this.#opening.set(key, opening);
    }
    return opening;
  }

  async #open(link: NodeLink, fileId: number, key: number): Promise<LocalFile | undefined> {
    const client = link.client;
    if (client === undefined || !client.local) return undefined;
    this.#checkConnection(link);
    try {
      const body = encodeOpenLogFileRequest(fileId);
      const reply = await client.call(rpcMethods.openLogFile, body, { timeoutMs: OPEN_TIMEOUT_MS });
      if (reply.status !== rpcStatus.ok || reply.descriptor === undefined) return undefined;
      const { direct } = decodeOpenLogFileReply(reply.body);
      const file = new LocalFile(this.#memory.openDescriptor(reply.descriptor, direct), this.#log);
      if (this.#links.links.get(link.id)?.client !== client) {
        file.retire();
        return undefined;
      }
      this.#clients.set(link.id, client);
      this.#files.set(key, file);
      return file;
    } catch (error) {
      if (!(error instanceof RpcError) && !(error instanceof FormatError)) throw error;
      this.#log.warn('log-file-not-opened', { node: link.id, file: fileId, cause: error.message });
      return undefined;
    }
  }

  #checkConnection(link: NodeLink): void {
    const client = this.#clients.get(link.id);
    if (client === undefined || client === link.client) return;
    this.#clients.delete(link.id);
    for (const key of [...this.#files.keys()]) {
      if (Math.floor(key / FILES_PER_NODE) === link.id) this.#files.delete(key);
    }
  }

  close(): void {
    this.#unsubscribe();
    this.#files.clear();
    this.#clients.clear();
  }
}
