/**
 * Loads the native addon, and declares its raw functions. Raw functions answer failures with negative errno numbers and
 * trust their arguments; the other files of this folder validate, and turn the numbers into errors.
 */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { getSystemErrorName } from 'node:util';
import { packageDirectory } from '../package-directory.ts';
import { MachineError } from '../platform.ts';

/** An opaque native object. */
export type NativeHandle = { readonly __native: unique symbol };

export interface NativeAddon {
  awakeOpen(): NativeHandle | number;
  awakeExpect(handle: NativeHandle, expected: boolean): number;

  /** Two doubles: seconds and nanoseconds. */
  fileTime(out: Uint8Array): void;

  kernelLevels(): string[];
  forceKernelLevel(name: string): number;
  crc32c(bytes: Uint8Array, seed: number): number;
  crc32cBlocks(bytes: Uint8Array, blockBytes: number, out: Uint32Array, outIndex: number): number;
  encodeParity(parity: readonly Uint8Array[], data: readonly Uint8Array[], firstRow: number): number;
  combine(outs: readonly Uint8Array[], inputs: readonly Uint8Array[], coefficients: Uint8Array): number;

  slabCreate(lengthBytes: number): number;
  slabMap(descriptor: number, lengthBytes: number): ArrayBuffer | number;
  slabPopulate(descriptor: number, memory: ArrayBufferLike, touchedBytes: number): Promise<number> | number;
  detachBuffer(memory: ArrayBufferLike): number;
  alignedMemory(lengthBytes: number, alignmentBytes: number): ArrayBuffer | number;

  diskOpen(
    entries: number,
    forceThreads: boolean,
    completions: Int32Array,
    onComplete: (count: number) => void,
  ): NativeHandle | number;
  diskEngine(handle: NativeHandle): string;
  diskTransfer(
    handle: NativeHandle,
    write: boolean,
    fd: number,
    bytes: Uint8Array | readonly Uint8Array[],
    positionBytes: number,
    flags: number,
  ): number;
  diskSync(handle: NativeHandle, fd: number): number;
  diskAllocate(
    handle: NativeHandle,
    fd: number,
    mode: number,
    positionBytes: number,
    lengthBytes: number,
  ): number;
  diskFlush(handle: NativeHandle): number;
  diskClose(handle: NativeHandle): number;
  preadSync(fd: number, bytes: Uint8Array, positionBytes: number, flags: number): number;
  pwriteSync(fd: number, bytes: Uint8Array, positionBytes: number, flags: number): number;

  connectUnix(path: string): number;
  listenerOpen(path: string, mode: number, onConnection: (result: number) => void): NativeHandle | number;
  listenerClose(handle: NativeHandle): void;
  channelOpen(
    fd: number,
    receiveBuffer: Uint8Array,
    queueLimitBytes: number,
    busyPollUs: number,
    onData: (lengthBytes: number) => void,
    onEvent: (kind: number, value: number) => void,
  ): NativeHandle | number;
  channelSend(
    handle: NativeHandle,
    bytes: Uint8Array | readonly Uint8Array[],
    descriptor: number | undefined,
  ): number;
  channelRead(handle: NativeHandle, enabled: boolean): number;
  channelQueued(handle: NativeHandle): number;
  channelPeer(handle: NativeHandle): number[] | number;
  channelKeepAlive(handle: NativeHandle, enabled: boolean): number;
  channelClose(handle: NativeHandle): void;
}

const addonPath = join(packageDirectory, 'native-bindings', 'build', 'Release', 'tartan.node');

function load(): NativeAddon {
  try {
    return createRequire(import.meta.url)(addonPath) as NativeAddon;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.split('\n', 1)[0] : String(cause);
    throw new Error(`cannot load the native addon (${reason}); run npm run build`, { cause });
  }
}

let loaded: NativeAddon | undefined;

/** The addon, loaded at first use. `Raw` is what a folder that brings its own C files declares of them. */
export function nativeAddon<Raw = NativeAddon>(): Raw {
  loaded ??= load();
  return loaded as unknown as Raw;
}

/** The error for a negative errno number, such as -28. `what` says what failed, on what. */
export function machineError(result: number, what: string): MachineError {
  const code = getSystemErrorName(result);
  return new MachineError(code, `${what}: ${code}`);
}

/** Passes a raw result on, or throws what its negative number stands for. */
export function checked<Value>(result: Value | number, what: string): Value {
  if (typeof result === 'number' && result < 0) throw machineError(result, what);
  return result as Value;
}
