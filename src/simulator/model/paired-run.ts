/**
 * Runs the same operations on the reference model and on a file system under test and compares what each call gives: result or errno,
 * attributes, contents. Inodes and handles are numbered by the pair, since the two give them different numbers.
 *
 * Here is what each operation on names and attributes does; those on open files are in paired-files.ts, and how results are compared in two-sides.ts.
 */
import type { Attributes, FileSystem } from '../../filesystem/file-system.ts';
import type { MemoryFileSystem } from './memory-file-system.ts';
import { S_IFDIR, S_IFMT, S_IFREG } from './model-inode.ts';
import { NAMES, type Operation } from './operation.ts';
import { PairedFiles } from './paired-files.ts';
import { type PairedNode, PairedNodes } from './paired-nodes.ts';
import { caller, type TestedSide, TwoSides } from './two-sides.ts';

const XATTRS = ['user.a', 'user.b'];

export class PairedRun {
  readonly #model: MemoryFileSystem;
  readonly #tested: TestedSide;
  readonly #sides: TwoSides;
  readonly #nodes: PairedNodes;
  readonly #files: PairedFiles;

  constructor(model: MemoryFileSystem, tested: TestedSide) {
    this.#model = model;
    this.#tested = tested;
    this.#sides = new TwoSides(model, tested);
    this.#nodes = new PairedNodes(tested.root);
    this.#files = new PairedFiles(this.#sides);
  }

  async apply(operation: Operation): Promise<void> {
    const { kind } = operation;
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
        return this.#files.open(this.#nodes.node(operation.node), operation.other === 9 ? 0o1000 : 0);
      case 'release':
        return this.#files.release(operation.other);
      case 'pause':
        return this.#tested.pause();
      case 'syncAll':
        await this.#sides.compare('syncAll', { model: () => undefined, real: (real) => real.syncAll() });
        this.#tested.synced('all');
        return;
      case 'chmod':
      case 'setTimes':
      case 'truncate':
      case 'setXattr':
      case 'removeXattr':
        return this.#applyToNode(operation);
      case 'fsyncDirectory':
        return this.#syncDirectory(this.#nodes.node(operation.node));
      default:
        if (this.#files.isEmpty) return;
        return this.#files.apply(operation);
    }
  }

  /** Compares everything that can be reached. */
  async compareAll(): Promise<void> {
    const seen = new Set<number>();
    const walk = async (node: PairedNode, path: string): Promise<void> => {
      await this.#files.compareNode(node, path);
      if (seen.has(node.model) || node.type !== S_IFDIR) return;
      seen.add(node.model);
      for (const name of NAMES.slice(0, 4)) {
        const found = await this.#lookup(node, name);
        if (found !== undefined) await walk(found, `${path}/${name}`);
      }
    };
    await walk(this.#nodes.root, '');
    for (const { node } of this.#files.values()) await this.#files.compareNode(node, 'open file');
  }

  /** Lets go of everything that the file system under test holds for this run, which ends with it. */
  async abandon(fileSystem: FileSystem): Promise<void> {
    for (const { node, real } of this.#files.dropAll()) await fileSystem.release(node.real, real);
    for (const { real, lookups } of this.#nodes.dropAll()) if (lookups > 0) fileSystem.forget(real, lookups);
  }

  async releaseAll(): Promise<void> {
    while (!this.#files.isEmpty) await this.#files.release(0);
  }

  /** What the file with this name in the root holds, as the model has it. */
  modelFile(name: number): { size: number; bytes: Uint8Array } | undefined {
    const found = this.#model.lookup(1, NAMES[name]!);
    if (found === undefined || (found.mode & S_IFMT) !== S_IFREG) return undefined;
    const bytes = Buffer.concat(this.#model.read(found.inode, 0, 0, found.sizeBytes).parts);
    return { size: found.sizeBytes, bytes };
  }

  async #applyToNames({ kind, node, name, other, offset }: Operation): Promise<void> {
    const directory = this.#nodes.directory(node);
    // Which of two errors comes first is nobody's business: names that are too long go where one directory is concerned.
    const text = NAMES[kind === 'rename' || kind === 'link' ? name % 4 : name]!;
    const second = kind === 'rename' ? this.#nodes.directory(other) : this.#nodes.node(other);
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
        const linked = await this.#sides.compare('link', {
          model: () => this.#model.link(second.model, directory.model, text, caller),
          real: (real) => real.link(second.real, directory.real, text, caller),
        });
        if ('value' in linked) second.lookups += 1;
        return;
      }
      case 'unlink':
        await this.#sides.compare('unlink', {
          model: () => this.#model.unlink(directory.model, text, caller),
          real: (real) => real.unlink(directory.real, text, caller),
        });
        return;
      case 'removeDirectory':
        await this.#sides.compare('removeDirectory', {
          model: () => this.#model.removeDirectory(directory.model, text, caller),
          real: (real) => real.removeDirectory(directory.real, text, caller),
        });
        return;
      case 'rename':
        await this.#sides.compare('rename', {
          model: () => this.#model.rename(directory.model, text, second.model, newName, offset % 3, caller),
          real: (real) => real.rename(directory.real, text, second.real, newName, offset % 3, caller),
        });
        return;
      default:
        await this.#sides.compare('listing', {
          model: () => list(this.#model, directory.model),
          real: (real) => list(real, directory.real),
        });
    }
  }

  async #applyToNode({ kind, node, name, offset, length, other }: Operation): Promise<void> {
    const target = this.#nodes.node(node);
    const both = (call: (fileSystem: FileSystem, inode: number) => unknown) =>
      this.#sides.compare(kind, {
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

  async #syncDirectory(directory: PairedNode): Promise<void> {
    const done = await this.#sides.compare('fsyncDirectory', {
      model: () => this.#model.fsyncDirectory(directory.model, 0),
      real: (real) => real.fsyncDirectory(directory.real, 0),
    });
    if ('value' in done) this.#tested.synced('names');
  }

  async #create(directory: PairedNode, name: string): Promise<void> {
    let model: { attributes: Attributes; handle: number } | undefined;
    let made: { attributes: Attributes; handle: number } | undefined;
    await this.#sides.compare('create', {
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
    const node = this.#nodes.known(model.attributes, made.attributes);
    this.#files.add({ node, model: model.handle, real: made.handle });
  }

  async #make(
    what: string,
    directory: PairedNode,
    call: (fileSystem: FileSystem, parent: number) => unknown,
  ): Promise<void> {
    let model: Attributes | undefined;
    const made = await this.#sides.compare(what, {
      model: () => {
        model = call(this.#model, directory.model) as Attributes;
        return model;
      },
      real: (real) => call(real, directory.real),
    });
    if (model !== undefined && 'value' in made) this.#nodes.known(model, made.value as Attributes);
  }

  async #lookup(directory: PairedNode, name: string): Promise<PairedNode | undefined> {
    let model: Attributes | undefined;
    const found = await this.#sides.compare('lookup', {
      model: () => {
        model = this.#model.lookup(directory.model, name);
        return model;
      },
      real: (real) => real.lookup(directory.real, name, caller),
    });
    if (model === undefined || !('value' in found)) return undefined;
    return this.#nodes.known(model, found.value as Attributes);
  }

  async #forget({ node }: Operation): Promise<void> {
    const target = this.#nodes.node(node);
    if (target === this.#nodes.root || this.#files.isOpen(target)) return;
    this.#nodes.drop(target);
    await this.#sides.compare('forget', {
      model: () => this.#model.forget(target.model, target.lookups),
      real: (real) => real.forget(target.real, target.lookups),
    });
  }
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
