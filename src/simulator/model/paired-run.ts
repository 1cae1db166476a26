/**
 * Runs the same operations on the reference model and on a file system under test and compares what each call gives: result or errno,
 * attributes, contents. Inodes and handles are numbered by the pair, since the two give them different numbers.
 *
 * Operations are plain records whose numbers are taken modulo what there is, so that any sequence that somebody draws or shrinks
 * to is a valid one.
 */
import { isDeepStrictEqual } from 'node:util';
import { type ErrnoCode, ErrnoError } from '../../base/errno.ts';
import { BLOCK_BYTES as BLOCK } from '../../base/units.ts';
import type { Attributes, FileSystem } from '../../filesystem/file-system.ts';
import { CheckFailed } from '../contract.ts';
import type { MemoryFileSystem } from './memory-file-system.ts';

const caller = { uid: 7, gid: 8, pid: 9 };
const NO_TIMES = {
  ...{ atimeSeconds: 0, atimeNanoseconds: 0, mtimeSeconds: 0, mtimeNanoseconds: 0 },
  ...{ ctimeSeconds: 0, ctimeNanoseconds: 0 },
};
const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
export const NAMES = ['a', 'b', 'c', 'd', 'n'.repeat(256)];
const XATTRS = ['user.a', 'user.b'];

/** One operation. Meaning of the numbers depends on `kind`; see PairedRun.apply. */
export interface Operation {
  readonly kind: Kind;
  readonly node: number;
  readonly name: number;
  readonly other: number;
  readonly offset: number;
  readonly length: number;
}

/** How often each kind is worth doing. */
export const WEIGHTS = {
  create: 3,
  makeDirectory: 1,
  makeNode: 1,
  symbolicLink: 1,
  link: 1,
  unlink: 2,
  removeDirectory: 1,
  rename: 2,
  lookup: 2,
  forget: 1,
  open: 3,
  release: 2,
  read: 6,
  write: 14,
  writeBlocks: 10,
  truncate: 4,
  fsync: 3,
  fsyncDirectory: 1,
  flush: 1,
  allocate: 1,
  punch: 3,
  zeroRange: 2,
  seek: 3,
  chmod: 1,
  setTimes: 1,
  setXattr: 1,
  removeXattr: 1,
  listing: 1,
  syncAll: 1,
  pause: 3,
} as const;
export type Kind = keyof typeof WEIGHTS;

interface Node {
  readonly model: number;
  readonly real: number;
  readonly type: number;
  lookups: number;
}

interface OpenFile {
  readonly node: Node;
  readonly model: number;
  readonly real: number;
}

type Outcome = { value: unknown } | { errno: ErrnoCode };

/** Both results of one operation; `attributes` are compared without inode numbers. */
interface Sides {
  model(): unknown;
  real(real: FileSystem): unknown;
}

/** The file system under test and what is known about it. */
export interface TestedSide {
  /** Runs one call; rejects with what is no ErrnoError when there is no answer. */
  call<T>(what: string, operation: (fileSystem: FileSystem) => T | Promise<T>): Promise<T>;
  /** The directory that stands for the model's root. */
  readonly root: number;
  /** False: times are not compared, since the clocks differ. */
  readonly comparesTimes: boolean;
  /** What the operation 'pause' does. */
  pause(): Promise<void>;
  /** A failure that may be although the model does not fail: the run then ends with Tolerated. */
  tolerates(code: ErrnoCode): boolean;
  /** Everything so far became durable: of the model's inode, of all names and attributes in any case, of all files for 'all'. */
  synced(what: number | 'names' | 'all'): void;
}

/** The operation failed as it may; whether it had an effect is not known. */
export class Tolerated extends Error {
  override readonly name = 'Tolerated';
  readonly code: ErrnoCode;

  constructor(code: ErrnoCode, what: string) {
    super(`${what}: ${code}`);
    this.code = code;
  }
}

export class PairedRun {
  readonly #model: MemoryFileSystem;
  readonly #tested: TestedSide;
  readonly nodes: Node[];
  readonly #files: OpenFile[] = [];
  #seed = 0;

  constructor(model: MemoryFileSystem, tested: TestedSide) {
    this.#model = model;
    this.#tested = tested;
    this.nodes = [{ model: 1, real: tested.root, type: S_IFDIR, lookups: 1 }];
  }

  async apply(operation: Operation): Promise<void> {
    const { kind, offset, length } = operation;
    switch (kind) {
      case 'create':
      case 'makeDirectory':
      case 'makeNode':
      case 'symbolicLink':
      case 'link':
      case 'unlink':
      case 'removeDirectory':
      case 'rename':
      case 'lookup':
      case 'listing':
        return this.#applyToNames(operation);
      case 'forget':
        return this.#forget(operation);
      case 'open':
        return this.#open(this.#node(operation.node), operation.other === 9 ? 0o1000 : 0);
      case 'release':
        return this.#release(operation.other);
      case 'pause':
        return this.#tested.pause();
      case 'syncAll':
        await this.#both('syncAll', { model: () => undefined, real: (real) => real.syncAll() });
        this.#tested.synced('all');
        return;
      case 'chmod':
      case 'setTimes':
      case 'truncate':
      case 'setXattr':
      case 'removeXattr':
        return this.#applyToNode(operation);
      case 'fsyncDirectory':
        return this.#syncDirectory(this.#node(operation.node));
      default: {
        if (this.#files.length === 0) return;
        const file = this.#files[operation.other % this.#files.length]!;
        return this.#applyToFile(kind, file, offset, length);
      }
    }
  }

  /** Compares everything that can be reached. */
  async compareAll(): Promise<void> {
    const seen = new Set<number>();
    const walk = async (node: Node, path: string): Promise<void> => {
      await this.#compareNode(node, path);
      if (seen.has(node.model) || node.type !== S_IFDIR) return;
      seen.add(node.model);
      for (const name of NAMES.slice(0, 4)) {
        const found = await this.#lookup(node, name);
        if (found !== undefined) await walk(found, `${path}/${name}`);
      }
    };
    await walk(this.nodes[0]!, '');
    for (const file of this.#files) await this.#compareNode(file.node, 'open file');
  }

  /** Lets go of everything that the file system under test holds for this run, which ends with it. */
  async abandon(fileSystem: FileSystem): Promise<void> {
    for (const { node, real } of this.#files.splice(0)) await fileSystem.release(node.real, real);
    for (const { real, lookups } of this.nodes.splice(1)) if (lookups > 0) fileSystem.forget(real, lookups);
  }

  async releaseAll(): Promise<void> {
    while (this.#files.length > 0) await this.#release(0);
  }

  /** What the file with this name in the root holds, as the model has it. */
  modelFile(name: number): { size: number; bytes: Uint8Array } | undefined {
    const found = this.#model.lookup(1, NAMES[name]!);
    if (found === undefined || (found.mode & S_IFMT) !== S_IFREG) return undefined;
    const bytes = Buffer.concat(this.#model.read(found.inode, 0, 0, found.sizeBytes).parts);
    return { size: found.sizeBytes, bytes };
  }

  async #both(what: string, sides: Sides): Promise<Outcome> {
    const model = await outcome(sides.model);
    const real = await outcome(() => this.#tested.call(what, sides.real));
    const modelText = 'value' in model ? this.#comparable(model.value) : model;
    const realText = 'value' in real ? this.#comparable(real.value) : real;
    if (isDeepStrictEqual(modelText, realText)) return real;
    if ('errno' in real && this.#tested.tolerates(real.errno)) throw new Tolerated(real.errno, what);
    throw new CheckFailed(`${what}: expected ${brief(modelText)}, got ${brief(realText)}`);
  }

  /** Attributes without what the two need not agree on. */
  #comparable(value: unknown): unknown {
    if (typeof value !== 'object' || value === null || !('linkCount' in value)) return value;
    return this.#tested.comparesTimes ? { ...value, inode: 0 } : { ...value, inode: 0, ...NO_TIMES };
  }

  async #applyToNames({ kind, node, name, other, offset }: Operation): Promise<void> {
    const directory = this.#directory(node);
    // Which of two errors comes first is nobody's business: names that are too long go where one directory is concerned.
    const text = NAMES[kind === 'rename' || kind === 'link' ? name % 4 : name]!;
    const second = kind === 'rename' ? this.#directory(other) : this.#node(other);
    const newName = NAMES[offset % 4]!;
    const make = (call: (fileSystem: FileSystem, parent: number) => unknown) =>
      this.#make(kind, directory, call);
    switch (kind) {
      case 'create':
        return this.#create(directory, text);
      case 'makeDirectory':
        return make((one, parent) => one.makeDirectory(parent, text, 0o750, caller));
      case 'makeNode':
        return make((one, parent) => one.makeNode(parent, text, 0o010644, 0, caller));
      case 'symbolicLink':
        return make((one, parent) => one.symbolicLink(parent, text, Buffer.from('target'), caller));
      case 'lookup':
        await this.#lookup(directory, text);
        return;
      case 'link': {
        const linked = await this.#both('link', {
          model: () => this.#model.link(second.model, directory.model, text, caller),
          real: (real) => real.link(second.real, directory.real, text, caller),
        });
        if ('value' in linked) second.lookups += 1;
        return;
      }
      case 'unlink':
        await this.#both('unlink', {
          model: () => this.#model.unlink(directory.model, text, caller),
          real: (real) => real.unlink(directory.real, text, caller),
        });
        return;
      case 'removeDirectory':
        await this.#both('removeDirectory', {
          model: () => this.#model.removeDirectory(directory.model, text, caller),
          real: (real) => real.removeDirectory(directory.real, text, caller),
        });
        return;
      case 'rename':
        await this.#both('rename', {
          model: () => this.#model.rename(directory.model, text, second.model, newName, offset % 3, caller),
          real: (real) => real.rename(directory.real, text, second.real, newName, offset % 3, caller),
        });
        return;
      default:
        await this.#both('listing', {
          model: () => list(this.#model, directory.model),
          real: (real) => list(real, directory.real),
        });
    }
  }

  async #applyToNode({ kind, node, name, offset, length, other }: Operation): Promise<void> {
    const target = this.#node(node);
    const both = (call: (fileSystem: FileSystem, inode: number) => unknown) =>
      this.#both(kind, {
        model: () => call(this.#model, target.model),
        real: (real) => call(real, target.real),
      });
    const xattr = XATTRS[name % 2]!;
    switch (kind) {
      case 'truncate':
        await both((one, inode) => one.setAttributes(inode, { sizeBytes: offset }, caller));
        return;
      case 'chmod':
        await both((one, inode) => one.setAttributes(inode, { mode: offset & 0o7777, uid: length }, caller));
        return;
      case 'setTimes':
        await both((one, inode) =>
          one.setAttributes(
            inode,
            { atime: 'now', mtime: other % 2 === 0 ? 'now' : { seconds: offset, nanoseconds: length } },
            caller,
          ),
        );
        return;
      case 'setXattr':
        await both((one, inode) => one.setXattr(inode, xattr, Buffer.from(`v${offset}`), other % 3));
        await both((one, inode) => one.getXattr(inode, xattr));
        return;
      default:
        await both((one, inode) => one.removeXattr(inode, xattr));
        await both(async (one, inode) => [...(await one.listXattrs(inode))].sort());
    }
  }

  async #applyToFile(kind: Kind, file: OpenFile, offset: number, length: number): Promise<void> {
    const { node } = file;
    const both = (call: (fileSystem: FileSystem, inode: number, handle: number) => unknown) =>
      this.#both(`${kind} ${offset}+${length}`, {
        model: () => call(this.#model, node.model, file.model),
        real: (real) => call(real, node.real, file.real),
      });
    switch (kind) {
      case 'read':
        await both((one, inode, handle) => contents(one, inode, handle, offset, length));
        return;
      case 'write':
        await this.#write(file, offset, length);
        return;
      case 'writeBlocks':
        await this.#write(file, offset - (offset % BLOCK), length - (length % BLOCK) + BLOCK);
        return;
      case 'fsync':
        await both((one, inode, handle) => one.fsync(inode, handle, false));
        this.#tested.synced(node.model);
        return;
      case 'flush':
        await both((one, inode, handle) => one.flush(inode, handle));
        return;
      case 'allocate':
        await both((one, inode, handle) => one.fallocate(inode, handle, offset % 2, offset, length));
        return;
      case 'punch':
        await both((one, inode, handle) => one.fallocate(inode, handle, 3, offset, length));
        return;
      case 'zeroRange':
        await both((one, inode, handle) => one.fallocate(inode, handle, 16 + (offset % 2), offset, length));
        return;
      default:
        await both((one, inode, handle) => one.seek(inode, handle, offset, 3 + (length % 2)));
    }
    await this.#compareNode(node, kind);
  }

  async #syncDirectory(directory: Node): Promise<void> {
    const done = await this.#both('fsyncDirectory', {
      model: () => this.#model.fsyncDirectory(directory.model, 0),
      real: (real) => real.fsyncDirectory(directory.real, 0),
    });
    if ('value' in done) this.#tested.synced('names');
  }

  /** As a front end does: received into the landing, if there is one. */
  async #write(file: OpenFile, offset: number, length: number): Promise<void> {
    this.#seed += 1;
    const bytes = Buffer.alloc(length);
    for (let at = 0; at < length; at += 512)
      bytes.fill((this.#seed * 37 + at / 512) & 0xff, at, Math.min(length, at + 512));
    await this.#both(`write ${offset}+${length}`, {
      model: () => this.#model.write(file.node.model, file.model, offset, [bytes]),
      real: async (real) => {
        let landing = real.writeLanding();
        while (landing === undefined) {
          await real.whenWritable();
          landing = real.writeLanding();
        }
        const landed: Uint8Array[] = [];
        for (let at = 0, part = 0; at < length; part++) {
          const into = landing[part]!.subarray(0, length - at);
          into.set(bytes.subarray(at, at + into.length));
          landed.push(into);
          at += into.length;
        }
        const done = real.write(file.node.real, file.real, offset, landed, true);
        if (done instanceof Promise) for (const part of landed) part.fill(0xcc);
        await done;
      },
    });
    await this.#compareNode(file.node, 'write');
  }

  async #compareNode(node: Node, what: string): Promise<void> {
    const attributes = await this.#both(`${what}: attributes`, {
      model: () => this.#model.getAttributes(node.model),
      real: (real) => real.getAttributes(node.real),
    });
    if (node.type !== S_IFREG || !('value' in attributes)) return;
    const { sizeBytes } = attributes.value as Attributes;
    await this.#both(`${what}: contents`, {
      model: () => contents(this.#model, node.model, 0, 0, sizeBytes + 1),
      real: (real) => contents(real, node.real, 0, 0, sizeBytes + 1),
    });
  }

  async #create(directory: Node, name: string): Promise<void> {
    let model: { attributes: Attributes; handle: number } | undefined;
    let made: { attributes: Attributes; handle: number } | undefined;
    await this.#both('create', {
      model: () => {
        model = this.#model.create(directory.model, name, 0o644, 0, caller);
        return model.attributes;
      },
      real: async (real) => {
        made = await real.create(directory.real, name, 0o644, 0, caller);
        return made.attributes;
      },
    });
    if (model === undefined || made === undefined) return;
    const node = this.#known(model.attributes, made.attributes);
    this.#files.push({ node, model: model.handle, real: made.handle });
  }

  async #make(
    what: string,
    directory: Node,
    call: (fileSystem: FileSystem, parent: number) => unknown,
  ): Promise<void> {
    let model: Attributes | undefined;
    const made = await this.#both(what, {
      model: () => {
        model = call(this.#model, directory.model) as Attributes;
        return model;
      },
      real: (real) => call(real, directory.real),
    });
    if (model !== undefined && 'value' in made) this.#known(model, made.value as Attributes);
  }

  async #lookup(directory: Node, name: string): Promise<Node | undefined> {
    let model: Attributes | undefined;
    const found = await this.#both('lookup', {
      model: () => {
        model = this.#model.lookup(directory.model, name);
        return model;
      },
      real: (real) => real.lookup(directory.real, name, caller),
    });
    if (model === undefined || !('value' in found)) return undefined;
    return this.#known(model, found.value as Attributes);
  }

  /** The pair of an inode that both have found, with one look-up more. */
  #known(model: Attributes, real: Attributes): Node {
    let node = this.nodes.find((one) => one.model === model.inode);
    if (node === undefined) {
      node = { model: model.inode, real: real.inode, type: model.mode & S_IFMT, lookups: 0 };
      this.nodes.push(node);
    }
    if (node.real !== real.inode)
      throw new CheckFailed(`inode ${real.inode} is not the expected ${node.real}`);
    node.lookups += 1;
    return node;
  }

  async #forget({ node }: Operation): Promise<void> {
    const target = this.#node(node);
    if (target === this.nodes[0] || this.#files.some((file) => file.node === target)) return;
    this.nodes.splice(this.nodes.indexOf(target), 1);
    await this.#both('forget', {
      model: () => this.#model.forget(target.model, target.lookups),
      real: (real) => real.forget(target.real, target.lookups),
    });
  }

  async #open(node: Node, flags: number): Promise<void> {
    let model = 0;
    let handle = 0;
    const opened = await this.#both('open', {
      model: () => {
        model = this.#model.open(node.model, flags, caller);
      },
      real: async (real) => {
        handle = await real.open(node.real, flags, caller);
      },
    });
    if ('value' in opened) this.#files.push({ node, model, real: handle });
  }

  async #release(which: number): Promise<void> {
    if (this.#files.length === 0) return;
    const [file] = this.#files.splice(which % this.#files.length, 1);
    await this.#both('release', {
      model: () => this.#model.release(file!.node.model, file!.model),
      real: (real) => real.release(file!.node.real, file!.real),
    });
  }

  /** Mostly a directory, and now and then what happens to be there. Of the first ten, so that the tree stays small. */
  #directory(which: number): Node {
    if (which === 9) return this.#node(which);
    const directories = this.nodes.slice(0, 10).filter(({ type }) => type === S_IFDIR);
    return directories[which % directories.length]!;
  }

  #node(which: number): Node {
    return this.nodes[which % this.nodes.length]!;
  }
}

async function outcome(call: () => unknown): Promise<Outcome> {
  try {
    return { value: await call() };
  } catch (error) {
    if (error instanceof ErrnoError) return { errno: error.code };
    throw error;
  }
}

async function contents(
  fileSystem: FileSystem,
  inode: number,
  handle: number,
  offset: number,
  length: number,
): Promise<Buffer> {
  const result = await fileSystem.read(inode, handle, offset, length);
  const bytes = Buffer.concat(result.parts);
  result.release();
  if (bytes.length !== result.lengthBytes) throw new Error('parts do not add up to the length');
  return bytes;
}

async function list(fileSystem: FileSystem, inode: number): Promise<string[]> {
  const handle = await fileSystem.openDirectory(inode, caller);
  const names: string[] = [];
  let cookie = 0n;
  for (let more = true; more; ) {
    more = false;
    let room = 2;
    await fileSystem.readDirectory(inode, handle, cookie, false, (entry) => {
      if (room-- === 0) {
        more = true;
        return false;
      }
      cookie = entry.cookie;
      names.push(`${entry.name}:${entry.type}`);
      return true;
    });
  }
  await fileSystem.releaseDirectory(inode, handle);
  return names.sort();
}

function brief(value: unknown): string {
  if (value instanceof Uint8Array)
    return `${value.length} bytes ${Buffer.from(value.subarray(0, 16)).toString('hex')}`;
  return (
    JSON.stringify(value, (_key, inner) => (typeof inner === 'bigint' ? String(inner) : inner))?.slice(
      0,
      600,
    ) ?? 'nothing'
  );
}
