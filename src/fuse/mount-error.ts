/** What keeps a file system from being mounted or unmounted, told apart so that commands can say what to do. */
export type MountFailure =
  /** Something live is mounted there already. */
  | 'already-mounted'
  | 'no-such-directory'
  | 'not-a-directory'
  /** /dev/fuse cannot be opened. */
  | 'no-device'
  | 'no-permission'
  /** fusermount3 is not installed. */
  | 'no-helper'
  /** fusermount3 refused. */
  | 'helper-refused'
  | 'kernel-too-old'
  /** Unmounting: files in use. */
  | 'in-use'
  /** The package fuse-native or libfuse 2 is missing. */
  | 'no-front-end'
  | 'failed';

export class MountError extends Error {
  override readonly name = 'MountError';
  readonly failure: MountFailure;
  constructor(failure: MountFailure, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.failure = failure;
  }
}
