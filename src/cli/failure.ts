/**
 * How a command ends. A CommandFailure is an expected end with something to tell the user: one line that says what failed,
 * on what, and what to do. Anything else that is thrown is a bug and shows as such.
 */

/** From sysexits.h; scripts rely on them. */
export const exitCodes = {
  ok: 0,
  usage: 64,
  unavailable: 69,
  internal: 70,
  ioError: 74,
  permission: 77,
  configuration: 78,
} as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

export class CommandFailure extends Error {
  override readonly name = 'CommandFailure';
  readonly exitCode: ExitCode;
  constructor(exitCode: ExitCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.exitCode = exitCode;
  }
}

/** The code of a system error, such as ENOENT; undefined for other errors. */
export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** Turns a system error on `what` into the failure that a user can act on; other errors pass through. */
export function asFailure(error: unknown, what: string): unknown {
  if (error instanceof CommandFailure) return error;
  switch (systemCode(error)) {
    case undefined:
      return error;
    case 'EACCES':
    case 'EPERM':
      return new CommandFailure(
        exitCodes.permission,
        `${what}: permission denied; run as its owner or root`,
        error,
      );
    case 'ENOSPC':
    case 'EDQUOT':
      return new CommandFailure(
        exitCodes.ioError,
        `${what}: no space left on the disk; free some and try again`,
        error,
      );
    case 'EROFS':
      return new CommandFailure(
        exitCodes.ioError,
        `${what}: the disk is mounted read-only; choose another --dir`,
        error,
      );
    default:
      return new CommandFailure(exitCodes.ioError, `${what}: ${(error as Error).message}`, error);
  }
}
