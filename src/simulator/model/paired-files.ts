/**
 * The files that a paired run has open, each as the handles by which the two sides know it: what is done with them, and the comparison of what they hold.
 * Every write has bytes of its own, so that a block that is somebody else's shows.
 */
import { BLOCK_BYTES as BLOCK } from '../../base/units.ts';
import type { Attributes, FileSystem } from '../../filesystem/file-system.ts';
import { S_IFREG } from './model-inode.ts';
import type { Operation } from './operation.ts';
import type { PairedNode } from './paired-nodes.ts';
import { caller, type TwoSides } from './two-sides.ts';

export interface OpenFile {
  readonly node: PairedNode;
  readonly model: number;
  readonly real: number;
}

export class PairedFiles {
  readonly #sides: TwoSides;
  readonly #files: OpenFile[] = [];
  /** Of the last write. */
  #seed = 0;

  constructor(sides: TwoSides) {
    this.#sides = sides;
  }

  get isEmpty(): boolean {
    return this.#files.length === 0;
  }

  values(): Iterable<OpenFile> {
    return this.#files.values();
  }

  isOpen(node: PairedNode): boolean {
    return this.#files.some((file) => file.node === node);
  }

  /** Somebody has opened it on both sides. */
  add(file: OpenFile): void {
    this.#files.push(file);
  }

  /** None is known to be open from here on. */
  dropAll(): OpenFile[] {
    return this.#files.splice(0);
  }

  /** What an operation on open files says, where there is at least one. */
  async apply({ kind, other, offset, length }: Operation): Promise<void> {
    const file = this.#files[other % this.#files.length]!;
    const { node } = file;
    const both = (call: (fileSystem: FileSystem, inode: number, handle: number) => unknown) =>
      this.#sides.compare(`${kind} ${offset}+${length}`, {
        model: () => call(this.#sides.model, node.model, file.model),
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
        this.#sides.tested.synced(node.model);
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
    await this.compareNode(node, kind);
  }

  /** As a front end does: received into the landing, if there is one. */
  async #write(file: OpenFile, offset: number, length: number): Promise<void> {
    this.#seed += 1;
    const bytes = Buffer.alloc(length);
    for (let at = 0; at < length; at += 512)
      bytes.fill((this.#seed * 37 + at / 512) & 0xff, at, Math.min(length, at + 512));
    await this.#sides.compare(`write ${offset}+${length}`, {
      model: () => this.#sides.model.write(file.node.model, file.model, offset, [bytes]),
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
    await this.compareNode(file.node, 'write');
  }

  /** The attributes, and what a regular file holds. */
  async compareNode(node: PairedNode, what: string): Promise<void> {
    const attributes = await this.#sides.compare(`${what}: attributes`, {
      model: () => this.#sides.model.getAttributes(node.model),
      real: (real) => real.getAttributes(node.real),
    });
    if (node.type !== S_IFREG || !('value' in attributes)) return;
    const { sizeBytes } = attributes.value as Attributes;
    await this.#sides.compare(`${what}: contents`, {
      model: () => contents(this.#sides.model, node.model, 0, 0, sizeBytes + 1),
      real: (real) => contents(real, node.real, 0, 0, sizeBytes + 1),
    });
  }

  async open(node: PairedNode, flags: number): Promise<void> {
    let model = 0;
    let handle = 0;
    const opened = await this.#sides.compare('open', {
      model: () => {
        model = this.#sides.model.open(node.model, flags, caller);
      },
      real: async (real) => {
        handle = await real.open(node.real, flags, caller);
      },
    });
    if ('value' in opened) this.#files.push({ node, model, real: handle });
  }

  async release(which: number): Promise<void> {
    if (this.#files.length === 0) return;
    const [file] = this.#files.splice(which % this.#files.length, 1);
    await this.#sides.compare('release', {
      model: () => this.#sides.model.release(file!.node.model, file!.model),
      real: (real) => real.release(file!.node.real, file!.real),
    });
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
