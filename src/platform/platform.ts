/**
 * The one seam to the machine. The real implementation is used in production; a simulated one runs a whole cluster in one
 * process from one seed. Nothing outside src/platform reads a clock, draws a random number, opens a socket or a file.
 *
 * Failures of the machine are MachineError with the system's code; they are expected conditions, never assertions.
 */
import type { AbstractLevel } from 'abstract-level';

export interface Platform {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: RandomSource;
  readonly log: Logger;
  readonly disk: Disk;
  readonly network: Network;
  readonly memory: Memory;
  readonly databases: Databases;
  readonly kernels: Kernels;
}

/** An expected failure of disk or network. `code` is the system's, such as ENOSPC, EIO, ECONNREFUSED. */
export class MachineError extends Error {
  override readonly name = 'MachineError';
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

export interface FileTime {
  readonly seconds: number;
  readonly nanoseconds: number;
}

export interface Clock {
  /** Wall clock: milliseconds since 1970, with fractions. */
  wallMs(): number;
  /** What the kernel would stamp a file with now: where it stamped one just before, the very same time. */
  fileTime(): FileTime;
  /** Monotonic milliseconds, with fractions; for time-outs and rates. */
  monotonicMs(): number;
}

export interface Timer {
  cancel(): void;
}

export interface Timers {
  /** Runs once after `delayMs`. A timer does not keep the process alive. */
  after(delayMs: number, run: () => void): Timer;
  sleep(delayMs: number): Promise<void>;
  /** Runs at the end of this turn of the event loop, after I/O callbacks (setImmediate). */
  defer(run: () => void): void;
  /** A hint: something that takes microseconds is waited for, or nothing any more. Until it comes the event loop need not sleep. */
  waitAwake(isWaiting: boolean): void;
}

export interface RandomSource {
  bytes(lengthBytes: number): Buffer;
  /** Uniform in [0, bound), bound at most 2^32. */
  below(bound: number): number;
}

export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;
/** Structured log: an event in kebab-case and its fields. */
export interface Logger {
  debug(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
  child(fields: LogFields): Logger;
}

export interface OpenOptions {
  readonly write?: boolean;
  readonly create?: boolean;
  /** Fail when it exists. */
  readonly exclusive?: boolean;
  /** O_DIRECT where the file system allows it, buffered otherwise: see DiskFile.direct. */
  readonly direct?: boolean;
}

export interface Disk {
  open(path: string, options: OpenOptions): Promise<DiskFile>;
  makeDirectory(path: string): Promise<void>; // with parents; an existing one is fine
  list(path: string): Promise<string[]>;
  exists(path: string): Promise<boolean>;
  remove(path: string): Promise<void>; // a file, or a tree; absent is fine
  rename(from: string, to: string): Promise<void>;
  /** Makes creations, renames and removals in the directory durable. */
  syncDirectory(path: string): Promise<void>;
  readSmallFile(path: string): Promise<Buffer>;
  /** Replaces the file atomically and durably. */
  writeSmallFile(path: string, bytes: Uint8Array): Promise<void>;
  space(path: string): Promise<{ totalBytes: number; freeBytes: number }>;
}

/**
 * A file for direct I/O. With `direct`, buffers come from Memory and positions and lengths are multiples of 4096.
 * Reads behind the end return fewer bytes. Writes are whole or throw.
 */
export interface DiskFile {
  readonly path: string;
  readonly direct: boolean;
  /** Descriptor to hand to another process of this machine; undefined where there is none (simulation). */
  readonly descriptor: number | undefined;
  read(buffers: readonly Uint8Array[], positionBytes: number): Promise<number>;
  /** The same for the many small ones: no promise. `done` gets the bytes read, or a negative errno number. */
  readThen(into: Uint8Array, positionBytes: number, done: (result: number) => void): void;
  /** `durable`: the bytes (and what is needed to read them back) are on the disk when it resolves (RWF_DSYNC). */
  write(
    buffers: readonly Uint8Array[],
    positionBytes: number,
    options?: { durable?: boolean },
  ): Promise<void>;
  /** The same in this turn; for small transfers where a thread hop costs more than the disk. */
  readSync(buffer: Uint8Array, positionBytes: number): number;
  writeSync(buffer: Uint8Array, positionBytes: number, options?: { durable?: boolean }): void;
  sync(): Promise<void>; // fdatasync
  allocate(positionBytes: number, lengthBytes: number): Promise<void>; // extends the size
  punchHole(positionBytes: number, lengthBytes: number): Promise<void>;
  truncate(lengthBytes: number): Promise<void>;
  size(): Promise<number>;
  close(): Promise<void>;
}

/** unix: a socket path; tcp: host and port. Text form `unix:/path` or `tcp:host:port`. */
export type Address =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number };

export interface Network {
  /** Port 0 picks one: see Listener.address. */
  listen(address: Address, onConnection: (connection: Connection) => void): Promise<Listener>;
  connect(address: Address, timeoutMs: number): Promise<Connection>;
}

export interface Listener {
  readonly address: Address;
  close(): Promise<void>;
}

/**
 * An ordered byte stream. `send` takes the bytes before it returns (sends or copies them) and never blocks; the owner keeps
 * `queuedBytes` bounded. Data is only delivered once `onData` is set; the view passed to it is valid during the call only.
 */
export interface Connection {
  readonly peer: string;
  readonly queuedBytes: number;
  send(parts: readonly Uint8Array[]): void;
  onData: ((bytes: Uint8Array) => void) | undefined;
  /** Called once, with the reason when it was not an orderly end. */
  onClose: ((reason: MachineError | undefined) => void) | undefined;
  /** Back-pressure: no more data is read after what is being delivered now, until `resume`. */
  pause(): void;
  resume(): void;
  /** Present on connections within one machine: passes descriptors beside the stream (SCM_RIGHTS), in order with it. */
  readonly descriptors?: {
    /** Sends `bytes` with the descriptor attached. The descriptor stays the caller's. */
    send(descriptor: number, bytes: Uint8Array): void;
    /** Called before the onData call that carries the bytes it was sent with. The receiver owns the descriptor. */
    onReceive: ((descriptor: number) => void) | undefined;
  };
  close(): void;
}

/** Page-aligned memory. */
export interface Memory {
  /** Touched already. */
  allocate(lengthBytes: number): Buffer;
  /** Memory that can be shared with processes of this machine. */
  createSlab(lengthBytes: number): Slab;
  /** Maps a slab that another process created. */
  mapSlab(descriptor: number, lengthBytes: number): Slab;
  /**
   * Opens a received descriptor of a file for direct reads (see DiskFile). Takes ownership of the descriptor.
   */
  openDescriptor(descriptor: number, direct: boolean): DiskFile;
}

export interface Slab {
  readonly lengthBytes: number;
  readonly buffer: Buffer;
  readonly descriptor: number | undefined;
  /**
   * Takes the memory, beside whatever else the process does: all of it is there from then on, and the first `touchedBytes` as a transfer likes
   * them. May last half a second. Its creator's to call; without it pages are taken when they are first used. Rejects with MachineError.
   */
  populate(touchedBytes: number): Promise<void>;
  close(): void;
}

export type Database = AbstractLevel<Buffer, Buffer, Buffer>;

export interface Databases {
  /**
   * Opens (or creates) an ordered key-value store, bytes to bytes. Batches are atomic; durable with `sync: true`. `getSync` is
   * available. A corrupt one rejects with MachineError code ECORRUPT; one in use with EBUSY.
   */
  open(path: string, options?: { cacheBytes?: number; writeBufferBytes?: number }): Promise<Database>;
  destroy(path: string): Promise<void>;
}

/** Checksums and erasure codes; native code and a TypeScript twin implement it. */
export interface Kernels {
  readonly name: string;
  crc32c(bytes: Uint8Array): number;
  /** One checksum a block of `blockBytes` into out[outIndex...]. bytes.length is a multiple of blockBytes. */
  crc32cBlocks(bytes: Uint8Array, blockBytes: number, out: Uint32Array, outIndex: number): void;
  /** Systematic: fills parity rows firstRow... from all data fragments, all of one length. Row 0 is XOR. */
  encodeParity(parity: readonly Uint8Array[], data: readonly Uint8Array[], firstRow?: number): void;
  /**
   * Rebuilds the wanted fragments (data 0..k-1, parity k..k+m-1) from any k present ones. shards.length === k + m.
   */
  reconstruct(
    shards: readonly (Uint8Array | undefined)[],
    dataFragments: number,
    parityFragments: number,
    wanted: readonly { index: number; out: Uint8Array }[],
  ): void;
}
