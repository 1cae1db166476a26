/**
 * POSIX access control lists in the form that extended attributes have them, and the three rules that tie them to mode bits:
 * setting one sets the mode, changing the mode changes it, and new inodes inherit their directory's default. The kernel checks access by
 * them; these rules it leaves to us. The form is the kernel's (include/uapi/linux/posix_acl_xattr.h).
 */
import { posixOutcome } from '../base/errno.ts';

export const ACCESS_ACL = 'system.posix_acl_access';
export const DEFAULT_ACL = 'system.posix_acl_default';

const VERSION = 2;
const HEADER_BYTES = 4;
const ENTRY_BYTES = 8;

const Tag = { USER_OBJ: 1, USER: 2, GROUP_OBJ: 4, GROUP: 8, MASK: 16, OTHER: 32 } as const;

export interface AclEntry {
  readonly tag: number;
  readonly permissions: number;
  readonly id: number;
}

export type Acl = readonly AclEntry[];

export function decodeAcl(bytes: Uint8Array): Acl {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < HEADER_BYTES || (bytes.length - HEADER_BYTES) % ENTRY_BYTES !== 0)
    throw posixOutcome('EINVAL');
  if (view.getUint32(0, true) !== VERSION) throw posixOutcome('EOPNOTSUPP');
  const entries: AclEntry[] = [];
  for (let at = HEADER_BYTES; at < bytes.length; at += ENTRY_BYTES)
    entries.push({
      tag: view.getUint16(at, true),
      permissions: view.getUint16(at + 2, true),
      id: view.getUint32(at + 4, true),
    });
  return entries;
}

export function encodeAcl(acl: Acl): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + acl.length * ENTRY_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, VERSION, true);
  acl.forEach((entry, index) => {
    const at = HEADER_BYTES + index * ENTRY_BYTES;
    view.setUint16(at, entry.tag, true);
    view.setUint16(at + 2, entry.permissions, true);
    view.setUint32(at + 4, entry.id, true);
  });
  return bytes;
}

/** Says no more than mode bits can. */
export function isMinimal(acl: Acl): boolean {
  return acl.every(({ tag }) => tag === Tag.USER_OBJ || tag === Tag.GROUP_OBJ || tag === Tag.OTHER);
}

/** The mode with the permission bits that stand for the list: the group's are the mask, where there is one. */
export function modeOf(acl: Acl, mode: number): number {
  return (mode & ~0o777) | permissionBits(acl);
}

/** The list after chmod. */
export function withMode(acl: Acl, mode: number): Acl {
  return mapClasses(acl, (_present, shift) => (mode >> shift) & 7);
}

/** What an inode made with `mode` in a directory with this default list gets. */
export function inherited(defaultAcl: Acl, mode: number): { mode: number; access: Acl } {
  const access = mapClasses(defaultAcl, (present, shift) => present & (mode >> shift) & 7);
  return { mode: modeOf(access, mode), access };
}

/** Changes the three entries that stand for the mode's bits, given their permissions and where their bits are. */
function mapClasses(acl: Acl, change: (permissions: number, shift: number) => number): Acl {
  const groupTag = groupClassTag(acl);
  return acl.map((entry) => {
    const shift = shiftOf(entry.tag, groupTag);
    return shift === undefined ? entry : { ...entry, permissions: change(entry.permissions, shift) };
  });
}

function permissionBits(acl: Acl): number {
  const groupTag = groupClassTag(acl);
  let bits = 0;
  for (const { tag, permissions } of acl) {
    const shift = shiftOf(tag, groupTag);
    if (shift !== undefined) bits |= (permissions & 7) << shift;
  }
  return bits;
}

function groupClassTag(acl: Acl): number {
  return acl.some(({ tag }) => tag === Tag.MASK) ? Tag.MASK : Tag.GROUP_OBJ;
}

function shiftOf(tag: number, groupTag: number): number | undefined {
  if (tag === Tag.USER_OBJ) return 6;
  if (tag === groupTag) return 3;
  return tag === Tag.OTHER ? 0 : undefined;
}
