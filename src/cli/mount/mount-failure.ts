/** What keeps the front end from mounting, as the failure a user can act on. */
import { MountError } from '../../fuse/mount-error.ts';
import { CommandFailure, type ExitCode, exitCodes } from '../failure.ts';

const exitCodeOf: { readonly [Failure in MountError['failure']]: ExitCode } = {
  'already-mounted': exitCodes.configuration,
  'no-such-directory': exitCodes.configuration,
  'not-a-directory': exitCodes.configuration,
  'no-device': exitCodes.configuration,
  'no-permission': exitCodes.permission,
  'no-helper': exitCodes.configuration,
  'helper-refused': exitCodes.permission,
  'kernel-too-old': exitCodes.configuration,
  'in-use': exitCodes.unavailable,
  'no-front-end': exitCodes.configuration,
  failed: exitCodes.ioError,
};

/** Other errors pass through. */
export function mountFailure(error: unknown): unknown {
  if (!(error instanceof MountError)) return error;
  return new CommandFailure(exitCodeOf[error.failure], error.message, error);
}
