/**
 * Why a storage or journal request was refused: the internal conditions of this layer, mapped to RPC statuses in node-service.ts and nowhere
 * else. Thrown, because each ends the request; none of them is a bug.
 */
import type { UnknownVersion } from '../format/fields.ts';
import { MachineError } from '../platform/platform.ts';

export type StorageRefusal =
  | { readonly reason: 'missing' }
  | { readonly reason: 'corrupt'; readonly blockIndex: number }
  | { readonly reason: 'full' }
  | { readonly reason: 'fenced'; readonly term: number }
  | { readonly reason: 'ioError' }
  | { readonly reason: 'invalid' }
  | { readonly reason: 'conflict' }
  /** The promised terms were lost; `challenge` is what a primary that reigns has to answer with. */
  | { readonly reason: 'forgotten'; readonly challenge: number }
  | { readonly reason: 'busy' };

export class StorageError extends Error {
  override readonly name = 'StorageError';
  readonly refusal: StorageRefusal;
  constructor(refusal: StorageRefusal, message: string) {
    super(message);
    this.refusal = refusal;
  }
}

const noSpaceCodes = new Set(['ENOSPC', 'EDQUOT']);

export function isNoSpace(error: unknown): boolean {
  return error instanceof MachineError && noSpaceCodes.has(error.code);
}

/** The disk cannot read what lies there. */
export function isUnreadable(error: unknown): boolean {
  return error instanceof MachineError && error.code === 'EIO';
}

/** An expected failure of the machine as a refusal; anything else is a bug and goes on as it is. */
export function refusalOf(error: unknown, doing: string): unknown {
  if (!(error instanceof MachineError)) return error;
  return new StorageError({ reason: isNoSpace(error) ? 'full' : 'ioError' }, `${doing}: ${error.message}`);
}

/** The data directory holds what this node must not touch or cannot understand. The node does not start. */
export class StorageUnusable extends Error {
  override readonly name = 'StorageUnusable';
}

/** So much of a store is damaged that its owner has to say whether what is left of it may go. */
export class StorageLost extends StorageUnusable {
  /** What is in it is to be removed; the node is filled again from the others then. */
  readonly directory: string;
  constructor(directory: string, message: string) {
    super(message);
    this.directory = directory;
  }
}

export function laterVersion(path: string, error: UnknownVersion): StorageUnusable {
  return new StorageUnusable(
    `${path} was written by another version of tartanfs (${error.message}): start the node with that one`,
  );
}
