/**
 * How a result of the file system becomes a reply, kind by kind. An answer is stateless: it gets the value, and
 * undoes what the value holds (a look-up count, an open handle) when the reply did not reach the kernel.
 */

import { MAX_NAME_BYTES } from '../base/limits.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import type {
  Attributes,
  CreatedFile,
  FileSystem,
  FileSystemStatistics,
  MaybePromise,
  ReadResult,
} from '../filesystem/file-system.ts';
import { ENTRY_OUT_BYTES, OpenReply } from './protocol.ts';
import type { Reply } from './reply.ts';
import { ENTRY_WORDS, putAbsence, putAttributes, putEntry, putLong, VALID_SECONDS } from './words.ts';

export interface Answer<T> {
  /** Fills the reply in. May throw ErrnoError instead (a value that does not fit). */
  encode(reply: Reply, value: T): void;
  /** After the reply was handed to the kernel, or dropped. */
  settle?(value: T): void;
  /** The reply was not taken: `node` is the inode that the request was about. */
  undo?(fileSystem: FileSystem, value: T, node: number): MaybePromise<void>;
}

const ATTR_OUT_BYTES = 104;
const OPEN_OUT_BYTES = 16;
const STATFS_OUT_BYTES = 80;

const FILE_FLAGS = OpenReply.KEEP_CACHE | OpenReply.PARALLEL_DIRECT_WRITES;

function putOpen(words: Uint32Array, at: number, handle: number, flags: number): void {
  putLong(words, at, handle);
  words[at + 2] = flags;
  words[at + 3] = 0;
}

export const done: Answer<unknown> = { encode: () => undefined };

export const entry: Answer<Attributes> = {
  encode(reply, attributes) {
    putEntry(reply.body, 0, attributes);
    reply.bodyBytes = ENTRY_OUT_BYTES;
  },
  undo: (fileSystem, attributes) => fileSystem.forget(attributes.inode, 1),
};

export const entryOrAbsence: Answer<Attributes | undefined> = {
  encode(reply, attributes) {
    if (attributes === undefined) putAbsence(reply.body, 0);
    else putEntry(reply.body, 0, attributes);
    reply.bodyBytes = ENTRY_OUT_BYTES;
  },
  undo(fileSystem, attributes) {
    if (attributes !== undefined) fileSystem.forget(attributes.inode, 1);
  },
};

export const attributes: Answer<Attributes> = {
  encode(reply, value) {
    putLong(reply.body, 0, VALID_SECONDS);
    putLong(reply.body, 2, 0);
    putAttributes(reply.body, 4, value);
    reply.bodyBytes = ATTR_OUT_BYTES;
  },
};

export const openFile: Answer<number> = {
  encode(reply, handle) {
    putOpen(reply.body, 0, handle, FILE_FLAGS);
    reply.bodyBytes = OPEN_OUT_BYTES;
  },
  undo: (fileSystem, handle, node) => fileSystem.release(node, handle),
};

export const createdFile: Answer<CreatedFile> = {
  encode(reply, created) {
    putEntry(reply.body, 0, created.attributes);
    putOpen(reply.body, ENTRY_WORDS, created.handle, FILE_FLAGS);
    reply.bodyBytes = ENTRY_OUT_BYTES + OPEN_OUT_BYTES;
  },
  undo(fileSystem, created) {
    const { inode } = created.attributes;
    fileSystem.forget(inode, 1);
    return fileSystem.release(inode, created.handle);
  },
};

export const data: Answer<ReadResult> = {
  encode(reply, result) {
    reply.parts = result.parts;
  },
  settle: (result) => result.release(),
};

export const bytes: Answer<Uint8Array> = {
  encode(reply, value) {
    reply.parts = [value];
  },
};

/** struct fuse_write_out, and fuse_getxattr_out, which is the same. */
export const length: Answer<number> = {
  encode(reply, lengthBytes) {
    putLong(reply.body, 0, lengthBytes);
    reply.bodyBytes = 8;
  },
};

export const statistics: Answer<FileSystemStatistics> = {
  encode(reply, value) {
    const { body } = reply;
    body.fill(0, 0, STATFS_OUT_BYTES / 4);
    putLong(body, 0, value.totalBlocks);
    putLong(body, 2, value.freeBlocks);
    putLong(body, 4, value.availableBlocks);
    putLong(body, 6, value.inodes);
    putLong(body, 8, value.freeInodes);
    body[10] = BLOCK_BYTES;
    body[11] = MAX_NAME_BYTES;
    body[12] = BLOCK_BYTES;
    reply.bodyBytes = STATFS_OUT_BYTES;
  },
};
