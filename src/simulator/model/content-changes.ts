/**
 * Changes of a regular file's contents in the reference model, told to the observer in the terms in which they become durable: whole blocks are written or
 * become holes, a size grows or is cut. Times are the caller's, and so is what the observer hears of names and attributes.
 */
import { BLOCK_BYTES } from '../../base/units.ts';
import type { ModelInode } from './model-inode.ts';
import type { ModelObserver } from './model-observer.ts';

type Observer = ModelObserver | undefined;

/** The bytes from `offsetBytes` to `endBytes` were written just now. */
export function tellWritten(
  observer: Observer,
  inode: number,
  offsetBytes: number,
  endBytes: number,
  writtenEndBytes: number,
): void {
  observer?.wrote(
    inode,
    Math.floor(offsetBytes / BLOCK_BYTES),
    Math.ceil(endBytes / BLOCK_BYTES),
    writtenEndBytes,
  );
}

export function resize(observer: Observer, file: ModelInode, sizeBytes: number): void {
  const old = file.bytes.lengthBytes;
  file.bytes.resize(sizeBytes);
  const cutsBlock = sizeBytes % BLOCK_BYTES !== 0 && file.bytes.hasBlock(Math.floor(sizeBytes / BLOCK_BYTES));
  if (sizeBytes < old) observer?.cut(file.inode, sizeBytes, cutsBlock);
  else observer?.grew(file.inode, sizeBytes);
}

/** Blocks that are covered whole become holes, those at the edges are written. */
export function zero(observer: Observer, file: ModelInode, offsetBytes: number, endBytes: number): void {
  if (offsetBytes >= endBytes) return;
  file.bytes.zero(offsetBytes, endBytes - offsetBytes);
  const firstWhole = Math.ceil(offsetBytes / BLOCK_BYTES);
  const endWhole = Math.floor(endBytes / BLOCK_BYTES);
  if (offsetBytes % BLOCK_BYTES !== 0) tellWritten(observer, file.inode, offsetBytes, offsetBytes + 1, 0);
  if (endBytes % BLOCK_BYTES !== 0 && endWhole >= firstWhole)
    tellWritten(observer, file.inode, endBytes - 1, endBytes, 0);
  if (firstWhole < endWhole) observer?.punched(file.inode, firstWhole, endWhole);
}
