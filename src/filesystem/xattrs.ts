/** Bounds of extended attributes, as Linux has them. */
import { posixOutcome } from '../base/errno.ts';
import { MAX_NAME_BYTES, MAX_XATTR_BYTES } from '../base/limits.ts';

export function checkXattr(name: string, value: Uint8Array): void {
  if (name.length > MAX_NAME_BYTES) throw posixOutcome('ERANGE');
  if (value.length > MAX_XATTR_BYTES) throw posixOutcome('E2BIG');
}
