/**
 * One file whose every byte is known: what reads must give, and what a crash may leave (model/file-history.ts). It belongs to one user,
 * who does one thing at a time with it.
 *
 * After a loss of the mount, and after a failure whose effect is not known, `ready` judges what is there and goes on from it.
 */
import { BLOCK_BYTES } from '../../base/units.ts';
import { FALLOC_FL_KEEP_SIZE } from '../../filesystem/file-system.ts';
import type { MountedFileSystem, WorkloadContext } from '../contract.ts';
import { newBlock } from '../model/blocks.ts';
import { FileHistory } from '../model/file-history.ts';
import { readContents } from '../model/tree.ts';
import { caller, type Session } from './session.ts';

const O_RDWR = 2;
const MAX_READ_BYTES = 256 * 1024;
const HOLE: Uint8Array = new Uint8Array(BLOCK_BYTES);

interface Opened {
  readonly session: Session;
  readonly directory: number;
  readonly inode: number;
  readonly handle: number;
}

export class TrackedFile {
  readonly name: string;
  /** What it holds, block by block, with zeros behind the end. A block never changes: another takes its place. */
  #blocks: Uint8Array[] = [];
  #sizeBytes = 0;
  #history = new FileHistory();
  #moment = 0;
  /** A crash cannot take the name any more. */
  #nameIsDurable = false;
  #namedMs = Number.POSITIVE_INFINITY;
  #opened: Opened | undefined;
  /** Where the contents were last seen or made: without a loss of the mount they need no judgement. */
  #lastMount: MountedFileSystem | undefined;
  /** The moment before an operation that failed, so that its effect is open. */
  #openSince: number | undefined;
  #answered: { moment: number; atMs: number }[] = [];

  constructor(name: string) {
    this.name = name;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** The file is open in this session and holds what it should. */
  async ready(session: Session, directory: number): Promise<void> {
    if (this.#openSince !== undefined && this.#lastMount === session.mount) {
      await session.insist('syncAll', {}, (one) => one.syncAll());
      this.#history.synced(this.#openSince);
      this.#nameIsDurable = true;
      if (this.#opened !== undefined) await this.#judge(session, this.#opened.inode);
    }
    if (this.#opened?.session.mount !== session.mount) await this.#open(session, directory);
  }

  /** The bytes must not change any more. */
  async write(offsetBytes: number, bytes: Buffer): Promise<void> {
    const endBytes = offsetBytes + bytes.length;
    const { inode, handle } = this.#opened!;
    await this.#change('write', { at: offsetBytes, length: bytes.length }, (one) => {
      this.#sizeBytes = Math.max(this.#sizeBytes, endBytes);
      const endBlock = Math.ceil(endBytes / BLOCK_BYTES);
      while (this.#blocks.length < endBlock) this.#blocks.push(HOLE);
      for (let block = Math.floor(offsetBytes / BLOCK_BYTES); block < endBlock; block++) {
        const written = overwritten(this.#blocks[block]!, bytes, block * BLOCK_BYTES - offsetBytes);
        this.#blocks[block] = written;
        this.#history.wrote(this.#moment++, block, written, endBytes);
      }
      return one.write(inode, handle, offsetBytes, [bytes], false);
    });
  }

  append(bytes: Buffer): Promise<void> {
    return this.write(this.#sizeBytes, bytes);
  }

  /** To nothing: other sizes are the random workload's. */
  async truncate(): Promise<void> {
    const { inode } = this.#opened!;
    await this.#change('truncate', {}, async (one) => {
      this.#hold(Buffer.alloc(0));
      this.#history.cut(this.#moment++, 0);
      await one.setAttributes(inode, { sizeBytes: 0 }, caller);
    });
  }

  /** Room for the first `lengthBytes`, whatever the file's size. */
  reserve(lengthBytes: number): Promise<void> {
    const { session, inode, handle } = this.#opened!;
    return session.call('fallocate', { name: this.name, length: lengthBytes }, (one) =>
      one.fallocate(inode, handle, FALLOC_FL_KEEP_SIZE, 0, lengthBytes),
    );
  }

  async fsync(): Promise<void> {
    const { session, inode, handle } = this.#opened!;
    await session.call('fsync', { name: this.name }, (one) => one.fsync(inode, handle, false));
    this.#history.synced(this.#moment);
    this.#nameIsDurable = true;
    this.#answered = [];
  }

  /** Reads through the open handle and compares. */
  async readBack(offsetBytes: number, lengthBytes: number): Promise<void> {
    const { session, inode, handle } = this.#opened!;
    const end = Math.min(this.#sizeBytes, offsetBytes + lengthBytes);
    for (let at = offsetBytes; at < end; at += MAX_READ_BYTES) {
      const length = Math.min(MAX_READ_BYTES, end - at);
      const fields = { name: this.name, at, length };
      const problem = await session.call('read', fields, async (one) => {
        const result = await one.read(inode, handle, at, length);
        const found = this.#mismatch(result.parts, at, length);
        result.release();
        return found;
      });
      if (problem !== undefined) session.fail(`${this.name}: ${problem}`);
    }
  }

  /** All of it, and no byte more. */
  async verify(): Promise<void> {
    const { session, inode } = this.#opened!;
    const attributes = await session.call('getAttributes', { name: this.name }, (one) =>
      one.getAttributes(inode),
    );
    if (attributes.sizeBytes !== this.#sizeBytes)
      session.fail(`${this.name}: size ${attributes.sizeBytes}, expected ${this.#sizeBytes}`);
    await this.readBack(0, this.#sizeBytes);
  }

  /** Takes the name away for good, whatever became of it before. */
  async remove(session: Session, directory: number): Promise<void> {
    this.#nameIsDurable = false;
    this.#namedMs = Number.POSITIVE_INFINITY;
    if (this.#opened?.session.mount === session.mount) await this.release();
    if ((await session.lookup(directory, this.name)) !== undefined)
      await session.call('unlink', { name: this.name }, (one) => one.unlink(directory, this.name, caller));
    await session.insist('fsyncDirectory', {}, (one) => one.fsyncDirectory(directory, 0));
  }

  async release(): Promise<void> {
    const opened = this.#opened;
    this.#opened = undefined;
    if (opened === undefined) return;
    const { session, inode, handle } = opened;
    await session.call('release', { name: this.name }, async (one) => {
      await one.release(inode, handle);
      one.forget(inode, 1);
    });
  }

  async #open(session: Session, directory: number): Promise<void> {
    this.#opened = undefined;
    const found = await session.insist('lookup', { name: this.name }, (one) =>
      one.lookup(directory, this.name, caller),
    );
    if (found === undefined) {
      if (this.#nameIsDurable || this.#namedMs < survivedUntilMs(session.context, this.#lastMount))
        session.fail(`${this.name} is gone, which must be there`);
      const made = await session.call('create', { name: this.name }, (one) =>
        one.create(directory, this.name, 0o644, O_RDWR, caller),
      );
      this.#restart(Buffer.alloc(0), session.mount);
      this.#namedMs = session.context.world.scheduler.nowMs;
      this.#opened = { session, directory, inode: made.attributes.inode, handle: made.handle };
      return;
    }
    const { inode } = found;
    if (this.#lastMount !== session.mount || this.#openSince !== undefined) {
      await this.#judge(session, inode);
      this.#nameIsDurable = true;
    }
    const handle = await session.insist('open', { name: this.name }, (one) =>
      one.open(inode, O_RDWR, caller),
    );
    this.#opened = { session, directory, inode, handle };
  }

  /** What is there must be possible; from now on it is what is known. */
  async #judge(session: Session, inode: number): Promise<void> {
    const { bytes } = await readContents(
      (what, operation) => session.insist(what, { name: this.name }, operation),
      inode,
    );
    const survivedMs = survivedUntilMs(session.context, this.#lastMount);
    const survived = this.#answered.findLast(({ atMs }) => atMs < survivedMs)?.moment ?? 0;
    if (this.#history.possible(bytes, survived).length === 0)
      session.fail(
        `${this.name}, mount ${session.mount.generation}: ${this.#history.explain(bytes, survived)}`,
      );
    this.#restart(bytes, session.mount);
  }

  #restart(bytes: Buffer, mount: MountedFileSystem): void {
    this.#lastMount = mount;
    this.#hold(bytes);
    this.#moment = 0;
    this.#openSince = undefined;
    this.#answered = [];
    this.#history = new FileHistory();
    for (const [block, content] of this.#blocks.entries())
      this.#history.wrote(this.#moment++, block, content, bytes.length);
    this.#history.synced(this.#moment);
  }

  async #change(
    what: string,
    fields: Readonly<Record<string, number>>,
    run: Parameters<Session['call']>[2],
  ): Promise<void> {
    const { session } = this.#opened!;
    const before = this.#moment;
    try {
      await session.call(what, { name: this.name, ...fields }, run);
      this.#answered.push({ moment: this.#moment, atMs: session.context.world.scheduler.nowMs });
    } catch (error) {
      this.#openSince ??= before;
      throw error;
    }
  }

  #hold(bytes: Buffer): void {
    this.#sizeBytes = bytes.length;
    this.#blocks = [];
    for (let at = 0; at < bytes.length; at += BLOCK_BYTES) this.#blocks.push(overwritten(HOLE, bytes, at));
  }

  /** What is wrong with bytes that were read; undefined: nothing. */
  #mismatch(parts: readonly Uint8Array[], at: number, lengthBytes: number): string | undefined {
    let position = at;
    for (const part of parts) {
      for (let from = 0; from < part.length; ) {
        const block = this.#blocks[Math.floor(position / BLOCK_BYTES)] ?? HOLE;
        const inBlock = position % BLOCK_BYTES;
        const length = Math.min(part.length - from, BLOCK_BYTES - inBlock);
        const expected = block.subarray(inBlock, inBlock + length);
        const found = part.subarray(from, from + length);
        if (Buffer.compare(expected, found) !== 0) return difference(expected, found, position);
        from += length;
        position += length;
      }
    }
    if (position === at + lengthBytes) return undefined;
    return `a read at ${at} gave ${position - at} bytes of ${lengthBytes}`;
  }
}

/** The block with those of the bytes that lie in it, which begins at `from` of them, or that many before them if it is negative. */
function overwritten(block: Uint8Array, bytes: Uint8Array, from: number): Uint8Array {
  const end = from + BLOCK_BYTES;
  if (from >= 0 && end <= bytes.length) return bytes.subarray(from, end);
  const changed = newBlock(block);
  changed.set(bytes.subarray(Math.max(0, from), Math.max(0, end)), Math.max(0, -from));
  return changed;
}

/** What a mount had answered before this time survives its end without a sync, where the scenario says so. */
export function survivedUntilMs(context: WorkloadContext, mount: MountedFileSystem | undefined): number {
  const { lossWindowMs } = context.allowed;
  if (lossWindowMs === undefined || mount?.diedAtMs === undefined) return Number.NEGATIVE_INFINITY;
  return mount.diedAtMs - lossWindowMs;
}

function difference(expected: Uint8Array, found: Uint8Array, position: number): string {
  const first = expected.findIndex((byte, index) => byte !== found[index]);
  const from = first - (first % 4);
  const hex = (bytes: Uint8Array) => Buffer.from(bytes.subarray(from, from + 16)).toString('hex');
  return `byte ${position + first} is wrong: expected ${hex(expected)}, got ${hex(found)}`;
}
