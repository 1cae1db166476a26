/** Operations on extended attributes. */
import { ErrnoError, posixOutcome } from '../../base/errno.ts';
import type { MaybePromise } from '../../filesystem/file-system.ts';
import { ACCESS_ACL, DEFAULT_ACL } from '../acl.ts';
import { type Answer, bytes, done, length } from '../answer.ts';
import type { Operations } from '../operations.ts';
import { Opcode, SETXATTR_ACL_KILL_SGID } from '../protocol.ts';
import type { Session } from '../session.ts';

/** Names with a meaning of their own, of which access control lists are known here. */
const SYSTEM_PREFIX = 'system.';

function isAcl(name: string): boolean {
  return name === ACCESS_ACL || name === DEFAULT_ACL;
}

function checkedName(session: Session): string {
  const name = session.request.name();
  if (name.startsWith(SYSTEM_PREFIX) && !isAcl(name)) throw posixOutcome('EOPNOTSUPP');
  return name;
}

/** The value, or with no room asked for its length. */
function answerSized(session: Session, value: MaybePromise<Uint8Array>, roomBytes: number): void {
  const sized: Answer<Uint8Array> = {
    encode(reply, found) {
      if (roomBytes === 0) length.encode(reply, found.length);
      else if (found.length > roomBytes) throw new ErrnoError('ERANGE');
      else bytes.encode(reply, found);
    },
  };
  session.answer(value, sized);
}

function get(session: Session): void {
  const { request, fileSystem } = session;
  request.fixedPart(8);
  const roomBytes = request.word(0);
  answerSized(session, fileSystem.getXattr(request.node, checkedName(session)), roomBytes);
}

function joined(names: readonly string[]): Uint8Array {
  return Buffer.from(names.map((name) => `${name}\0`).join(''), 'latin1');
}

function list(session: Session): void {
  const { request, fileSystem } = session;
  request.fixedPart(8);
  const names = fileSystem.listXattrs(request.node);
  answerSized(session, names instanceof Promise ? names.then(joined) : joined(names), request.word(0));
}

function set(session: Session): void {
  const { request, fileSystem } = session;
  request.fixedPart(16);
  const sizeBytes = request.word(0);
  const flags = request.word(4);
  const name = checkedName(session);
  // A copy: the file system keeps the value.
  const value = Uint8Array.from(request.bytes(sizeBytes));
  if (!isAcl(name)) {
    session.answer(fileSystem.setXattr(request.node, name, value, flags), done);
    return;
  }
  const dropsGroupId = (request.word(8) & SETXATTR_ACL_KILL_SGID) !== 0;
  session.answer(session.accessControl.set(request.node, name, value, flags, dropsGroupId), done);
}

function remove(session: Session): void {
  const { request, fileSystem } = session;
  request.fixedPart(0);
  const name = checkedName(session);
  if (isAcl(name)) session.answer(session.accessControl.remove(request.node, name), done);
  else session.answer(fileSystem.removeXattr(request.node, name), done);
}

export const xattrOperations: Operations = {
  [Opcode.GETXATTR]: get,
  [Opcode.SETXATTR]: set,
  [Opcode.LISTXATTR]: list,
  [Opcode.REMOVEXATTR]: remove,
};
