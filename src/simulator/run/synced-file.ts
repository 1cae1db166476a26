/** The smallest workload: one file that is written, synced and read back. */
import { ErrnoError } from '../../base/errno.ts';
import { ROOT_INODE } from '../../filesystem/file-system.ts';
import {
  CheckFailed,
  type MountedFileSystem,
  MountLost,
  type Workload,
  type WorkloadContext,
} from '../contract.ts';

const CALLER = { uid: 0, gid: 0, pid: 1 };
const BLOCKS = 64;
const BLOCK = 4096;
const O_RDWR = 2;

export class SyncedFile implements Workload {
  readonly name: string;
  #inode: number | undefined;
  #created = false;
  /** For each block: fill byte synced; and those that may be instead. */
  readonly #synced = new Array<number>(BLOCKS).fill(0);
  readonly #maybe = Array.from({ length: BLOCKS }, () => new Set<number>());
  #generation = 0;
  #next = 1;

  constructor(name: string) {
    this.name = name;
  }

  async run(context: WorkloadContext): Promise<void> {
    while (!context.stopping) {
      try {
        const mount = await context.mounted();
        await this.#round(context, mount);
      } catch (error) {
        if (!(error instanceof MountLost) && !(error instanceof ErrnoError)) throw error;
        await context.sleep(20);
      }
    }
  }

  async #lookup(context: WorkloadContext, mount: MountedFileSystem): Promise<number> {
    if (this.#generation === mount.generation && this.#inode !== undefined) return this.#inode;
    const found = await context.operate(mount, 'lookup', { name: this.name }, (fs) =>
      fs.lookup(ROOT_INODE, this.name, CALLER),
    );
    if (found === undefined) {
      if (this.#created) throw new CheckFailed(`${this.name} is gone`);
      const made = await context.operate(mount, 'create', { name: this.name }, (fs) =>
        fs.create(ROOT_INODE, this.name, 0o644, O_RDWR, CALLER),
      );
      await context.operate(mount, 'fsync', {}, (fs) => fs.fsync(made.attributes.inode, made.handle, false));
      this.#created = true;
      this.#inode = made.attributes.inode;
    } else this.#inode = found.inode;
    this.#generation = mount.generation;
    return this.#inode;
  }

  async #round(context: WorkloadContext, mount: MountedFileSystem): Promise<void> {
    const { dice } = context;
    const inode = await this.#lookup(context, mount);
    const handle = await context.operate(mount, 'open', {}, (fs) => fs.open(inode, O_RDWR, CALLER));
    const touched: [number, number][] = [];
    for (let i = dice.below(12); i >= 0; i--) {
      const block = dice.below(BLOCKS);
      const fill = 1 + (this.#next++ % 250);
      this.#maybe[block]!.add(fill);
      const bytes = Buffer.alloc(BLOCK, fill);
      await context.operate(mount, 'write', { block, fill }, (fs) =>
        fs.write(inode, handle, block * BLOCK, [bytes], false),
      );
      touched.push([block, fill]);
    }
    await context.operate(mount, 'fsync', {}, (fs) => fs.fsync(inode, handle, false));
    for (const [block, fill] of touched) {
      this.#synced[block] = fill;
      this.#maybe[block]!.clear();
    }
    const block = dice.below(BLOCKS);
    await this.#compare(context, mount, inode, handle, block);
    await context.operate(mount, 'release', {}, (fs) => fs.release(inode, handle));
    await context.sleep(dice.exponential(20));
  }

  async #compare(
    context: WorkloadContext,
    mount: MountedFileSystem,
    inode: number,
    handle: number,
    block: number,
  ) {
    const result = await context.operate(mount, 'read', { block }, (fs) =>
      fs.read(inode, handle, block * BLOCK, BLOCK),
    );
    const bytes = Buffer.concat(result.parts);
    result.release();
    const got = bytes.length === 0 ? 0 : bytes[0]!;
    if (bytes.some((byte) => byte !== got)) throw new CheckFailed(`${this.name} block ${block} is torn`);
    if (got !== this.#synced[block] && !this.#maybe[block]!.has(got)) {
      throw new CheckFailed(`${this.name} block ${block} holds ${got}, not ${this.#synced[block]}`);
    }
  }

  async check(context: WorkloadContext): Promise<void> {
    const mount = await context.mounted();
    const inode = await this.#lookup(context, mount);
    const handle = await context.operate(mount, 'open', {}, (fs) => fs.open(inode, O_RDWR, CALLER));
    for (let block = 0; block < BLOCKS; block++) await this.#compare(context, mount, inode, handle, block);
    await context.operate(mount, 'release', {}, (fs) => fs.release(inode, handle));
  }
}
