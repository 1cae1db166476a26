/**
 * Directory entries packed for one READDIR or READDIRPLUS reply, in a buffer from a small pool: the file system may pass
 * entries over several turns, while other replies are built.
 */
import { KIB } from '../base/units.ts';
import type { Attributes, DirectoryEntry, FileSystem } from '../filesystem/file-system.ts';
import type { Answer } from './answer.ts';
import { DIRENT_HEAD_BYTES, ENTRY_OUT_BYTES } from './protocol.ts';
import { ENTRY_WORDS, putEntry, putLong, TWO_TO_32 } from './words.ts';

const FILL_BYTES = 128 * KIB;
const MAX_POOLED = 8;
const pool: DirectoryFill[] = [];

export class DirectoryFill {
  readonly #bytes: Buffer;
  readonly #words: Uint32Array;
  readonly #cookies: BigUint64Array;
  #limitBytes = 0;
  #plus = false;
  #usedBytes = 0;
  /** Handed to the file system: false when the entry did not fit. */
  readonly sink: (entry: DirectoryEntry) => boolean;

  /** Give it back by release(). */
  static take(limitBytes: number, plus: boolean): DirectoryFill {
    const fill = pool.pop() ?? new DirectoryFill();
    fill.#limitBytes = Math.min(limitBytes, FILL_BYTES);
    fill.#plus = plus;
    fill.#usedBytes = 0;
    return fill;
  }

  constructor() {
    const memory = new ArrayBuffer(FILL_BYTES);
    this.#bytes = Buffer.from(memory);
    this.#words = new Uint32Array(memory);
    this.#cookies = new BigUint64Array(memory);
    this.sink = (entry) => this.#add(entry);
  }

  release(): void {
    if (pool.length < MAX_POOLED) pool.push(this);
  }

  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#usedBytes);
  }

  /** Gives the look-up counts back that the accepted entries hold. */
  forgetAll(fileSystem: FileSystem): void {
    if (!this.#plus) return;
    for (let at = 0; at < this.#usedBytes; ) {
      const inode = this.#words[at / 4]! + this.#words[at / 4 + 1]! * TWO_TO_32;
      if (inode !== 0) fileSystem.forget(inode, 1);
      const nameBytes = this.#words[(at + ENTRY_OUT_BYTES + 16) / 4]!;
      at += recordBytes(ENTRY_OUT_BYTES, nameBytes);
    }
  }

  #add(entry: DirectoryEntry): boolean {
    const head = this.#plus ? ENTRY_OUT_BYTES : 0;
    const nameBytes = entry.name.length;
    const length = recordBytes(head, nameBytes);
    const begin = this.#usedBytes;
    if (begin + length > this.#limitBytes) return false;
    if (this.#plus) this.#putHead(begin / 4, entry.attributes);
    const at = begin + head;
    putLong(this.#words, at / 4, entry.inode);
    this.#cookies[at / 8 + 1] = entry.cookie;
    this.#words[at / 4 + 4] = nameBytes;
    this.#words[at / 4 + 5] = entry.type >>> 12;
    this.#bytes.write(entry.name, at + DIRENT_HEAD_BYTES, 'latin1');
    this.#bytes.fill(0, at + DIRENT_HEAD_BYTES + nameBytes, begin + length);
    this.#usedBytes = begin + length;
    return true;
  }

  /** Without attributes ('.' and '..') the entry names no inode, and the kernel looks it up when it has to. */
  #putHead(at: number, attributes: Attributes | undefined): void {
    if (attributes === undefined) this.#words.fill(0, at, at + ENTRY_WORDS);
    else putEntry(this.#words, at, attributes);
  }
}

/** Records are padded to 8 bytes. */
function recordBytes(headBytes: number, nameBytes: number): number {
  return (headBytes + DIRENT_HEAD_BYTES + nameBytes + 7) & ~7;
}

export const directoryAnswer: Answer<DirectoryFill> = {
  encode(reply, fill) {
    reply.parts = [fill.bytes];
  },
  settle: (fill) => fill.release(),
  undo: (fileSystem, fill) => fill.forgetAll(fileSystem),
};
