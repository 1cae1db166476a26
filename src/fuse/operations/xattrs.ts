/** Operations on extended attributes. */
import { ErrnoError, posixOutcome } from '../../base/errno.ts';
import type { MaybePromise } from '../../filesystem/file-system.ts';
import { type Answer, bytes, done, length } from '../answer.ts';
import type { Operations } from '../operations.ts';
import { Opcode } from '../protocol.ts';
import type { Session } from '../session.ts';

/** Access control lists and the like: the kernel would not obey them. */
const UNSUPPORTED_PREFIX = 'system.';

function checkedName(session: Session): string {
  const name = session.request.name();
  if (name.startsWith(UNSUPPORTED_PREFIX)) throw posixOutcome('EOPNOTSUPP');
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
  session.answer(fileSystem.setXattr(request.node, name, value, flags), done);
}

function remove(session: Session): void {
  const { request, fileSystem } = session;
  request.fixedPart(0);
  session.answer(fileSystem.removeXattr(request.node, checkedName(session)), done);
}

export const xattrOperations: Operations = {
  [Opcode.GETXATTR]: get,
  [Opcode.SETXATTR]: set,
  [Opcode.LISTXATTR]: list,
  [Opcode.REMOVEXATTR]: remove,
};
