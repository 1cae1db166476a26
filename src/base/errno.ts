/** POSIX outcomes as typed errors. Numbers are those of Linux on every architecture Node runs on. */
export const errnoNumbers = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  E2BIG: 7,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  EFBIG: 27,
  ENOSPC: 28,
  EROFS: 30,
  EMLINK: 31,
  ERANGE: 34,
  ENAMETOOLONG: 36,
  ENOSYS: 38,
  ENOTEMPTY: 39,
  ENODATA: 61,
  EOPNOTSUPP: 95,
  ENOTCONN: 107,
  ETIMEDOUT: 110,
  ESTALE: 116,
  EDQUOT: 122,
} as const;

export type ErrnoCode = keyof typeof errnoNumbers;

/** An operation's defined POSIX failure: what the caller of the system call sees. */
export class ErrnoError extends Error {
  override readonly name = 'ErrnoError';
  readonly code: ErrnoCode;
  /** Positive errno number. */
  readonly errno: number;

  constructor(code: ErrnoCode, message: string = code) {
    super(message);
    this.code = code;
    this.errno = errnoNumbers[code];
  }
}

/**
 * One preallocated error a code, for outcomes that are ordinary on the hot path (a lookup that finds
 * nothing): no stack trace is taken.
 */
const outcomes = new Map<ErrnoCode, ErrnoError>();
export function posixOutcome(code: ErrnoCode): ErrnoError {
  let error = outcomes.get(code);
  if (error === undefined) {
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    error = new ErrnoError(code);
    Error.stackTraceLimit = limit;
    outcomes.set(code, error);
  }
  return error;
}
