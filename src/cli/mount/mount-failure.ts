/** What keeps a volume from being mounted, as the failure a user can act on. */
import { CoordinatorUnavailable } from '../../cluster/coordinator.ts';
import { MountError } from '../../fuse/mount-error.ts';
import { LogUnwritable } from '../../log/log.ts';
import { MetadataUnavailable } from '../../metadata/metadata.ts';
import { MachineError } from '../../platform/platform.ts';
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
  if (error instanceof MountError) {
    return new CommandFailure(exitCodeOf[error.failure], error.message, error);
  }
  if (error instanceof MetadataUnavailable || error instanceof LogUnwritable) {
    const message = `the volume cannot be opened: ${error.message}; see \`tartan status\``;
    return new CommandFailure(exitCodes.unavailable, message, error);
  }
  if (error instanceof CoordinatorUnavailable) {
    return new CommandFailure(exitCodes.unavailable, `${error.message}; run \`tartan up\` again`, error);
  }
  if (error instanceof MachineError && error.code === 'EBUSY') {
    return new CommandFailure(exitCodes.unavailable, 'the volume is being mounted already', error);
  }
  return error;
}
