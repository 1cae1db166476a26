/**
 * INIT: what this front end asks of the kernel. A pure function from the kernel's offer to our reply.
 *
 * The mount is exclusive: nobody else changes the volume under the kernel, so it may keep pages, names, attributes, links and directory
 * listings, and write back when it likes (docs/decisions say why for each). Advisory locks stay in the kernel, because neither
 * POSIX_LOCKS nor FLOCK_LOCKS is asked for.
 */
import { MAX_REQUEST_BYTES } from '../base/limits.ts';
import { KIB, MIB } from '../base/units.ts';
import {
  InitFlag,
  InitFlag2,
  MAX_PAGES,
  OLDEST_PROTOCOL_MINOR,
  PAGE_BYTES,
  PROTOCOL_MAJOR,
  PROTOCOL_MINOR,
} from './protocol.ts';

/** The kernel's offer. */
export interface InitRequest {
  readonly major: number;
  readonly minor: number;
  readonly maxReadAheadBytes: number;
  readonly flags: number;
  readonly flags2: number;
}

export interface InitReply {
  readonly minor: number;
  readonly maxReadAheadBytes: number;
  readonly flags: number;
  readonly flags2: number;
  readonly maxBackground: number;
  readonly congestionThreshold: number;
  readonly maxWriteBytes: number;
  readonly maxPages: number;
}

/** 'other-major': answer with our major number alone and wait for another INIT. */
export type InitOutcome = InitReply | 'other-major' | 'too-old';

export const INIT_OUT_BYTES = 64;
const OLD_MAX_WRITE_BYTES = 128 * KIB;
/** Requests of read-ahead and write-back under way at once. Congestion throttles readers of /sys only. */
const MAX_BACKGROUND = 128;
const CONGESTION_THRESHOLD = 96;
const MAX_READ_AHEAD_BYTES = 16 * MIB;

const WANTED_FLAGS =
  InitFlag.ASYNC_READ |
  InitFlag.ATOMIC_O_TRUNC |
  InitFlag.BIG_WRITES |
  InitFlag.DONT_MASK |
  InitFlag.POSIX_ACL |
  InitFlag.DO_READDIRPLUS |
  InitFlag.READDIRPLUS_AUTO |
  InitFlag.ASYNC_DIO |
  InitFlag.WRITEBACK_CACHE |
  InitFlag.PARALLEL_DIROPS |
  InitFlag.MAX_PAGES |
  InitFlag.CACHE_SYMLINKS |
  InitFlag.NO_OPENDIR_SUPPORT |
  InitFlag.EXPLICIT_INVAL_DATA |
  InitFlag.HANDLE_KILLPRIV_V2 |
  InitFlag.SETXATTR_EXT |
  InitFlag.INIT_EXT;

const WANTED_FLAGS2 = InitFlag2.DIRECT_IO_ALLOW_MMAP;

export function negotiate(offer: InitRequest): InitOutcome {
  if (offer.major > PROTOCOL_MAJOR) return 'other-major';
  if (offer.major < PROTOCOL_MAJOR || offer.minor < OLDEST_PROTOCOL_MINOR) return 'too-old';
  const flags = offer.flags & WANTED_FLAGS;
  const hasMaxPages = (flags & InitFlag.MAX_PAGES) !== 0;
  const maxWriteBytes = hasMaxPages ? MAX_REQUEST_BYTES : OLD_MAX_WRITE_BYTES;
  return {
    minor: Math.min(offer.minor, PROTOCOL_MINOR),
    maxReadAheadBytes: Math.max(offer.maxReadAheadBytes, MAX_READ_AHEAD_BYTES),
    flags,
    flags2: (flags & InitFlag.INIT_EXT) !== 0 ? offer.flags2 & WANTED_FLAGS2 : 0,
    maxBackground: MAX_BACKGROUND,
    congestionThreshold: CONGESTION_THRESHOLD,
    maxWriteBytes,
    maxPages: hasMaxPages ? MAX_PAGES : OLD_MAX_WRITE_BYTES / PAGE_BYTES,
  };
}

/** struct fuse_init_out. */
export function putInitReply(words: Uint32Array, reply: InitReply): void {
  words.fill(0, 0, INIT_OUT_BYTES / 4);
  words[0] = PROTOCOL_MAJOR;
  words[1] = reply.minor;
  words[2] = reply.maxReadAheadBytes;
  words[3] = reply.flags;
  words[4] = reply.maxBackground | (reply.congestionThreshold << 16);
  words[5] = reply.maxWriteBytes;
  words[6] = 1; // Time granularity: nanoseconds.
  words[7] = reply.maxPages;
  words[8] = reply.flags2;
}
