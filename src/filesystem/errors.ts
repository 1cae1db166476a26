/**
 * The one place where conditions of the log and of the metadata become the errno that a system call returns.
 *
 * What is not in the list is a bug and stays as it is: the front end logs it and answers EIO.
 */
import { ErrnoError } from '../base/errno.ts';
import { LogUnreadable, LogUnwritable } from '../log/log.ts';
import { MetadataUnavailable } from '../metadata/metadata.ts';

export function toErrno(error: unknown): unknown {
  if (error instanceof ErrnoError) return error;
  if (error instanceof LogUnwritable)
    return new ErrnoError(error.reason === 'full' ? 'ENOSPC' : 'EIO', error.message);
  if (error instanceof LogUnreadable || error instanceof MetadataUnavailable)
    return new ErrnoError('EIO', error.message);
  return error;
}

/** Runs `operation`; what it throws or rejects with is mapped. */
export function withErrno<T>(operation: () => T | Promise<T>): T | Promise<T> {
  try {
    const result = operation();
    return result instanceof Promise ? result.catch(rethrow) : result;
  } catch (error) {
    return rethrow(error);
  }
}

export function rethrow(error: unknown): never {
  throw toErrno(error);
}
