/** The one place where what the file system throws becomes an errno number. */
import { AssertionError } from '../base/assert.ts';
import { ErrnoError, errnoNumbers } from '../base/errno.ts';
import { UNEXPECTED_ERROR } from '../filesystem/file-system.ts';
import type { LogFields, Logger } from '../platform/platform.ts';

/** Positive. What is not an outcome that POSIX knows is logged. */
export function errnoOf(error: unknown, log: Logger, fields: LogFields): number {
  if (error instanceof ErrnoError) return error.errno;
  reportUnexpected(error, log, fields);
  return errnoNumbers[UNEXPECTED_ERROR];
}

/** A bug ends the process, in a turn of its own, so that the reply is still sent. */
export function reportUnexpected(error: unknown, log: Logger, fields: LogFields): void {
  const cause = error instanceof Error ? (error.stack ?? error.message) : String(error);
  log.error('fuse-request-failed', { ...fields, cause });
  if (error instanceof AssertionError)
    setImmediate(() => {
      throw error;
    });
}
