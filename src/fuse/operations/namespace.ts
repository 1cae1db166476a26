/** Operations on names: look-up, making, linking, renaming and removing. */
import type { Attributes, Caller, CreatedFile, MaybePromise } from '../../filesystem/file-system.ts';
import type { Requested } from '../access-control.ts';
import { bytes, createdFile, done, entry, entryOrAbsence } from '../answer.ts';
import type { Operations } from '../operations.ts';
import { Opcode } from '../protocol.ts';
import type { Session } from '../session.ts';

function lookup(session: Session): void {
  const { request, fileSystem } = session;
  request.fixedPart(0);
  session.answer(fileSystem.lookup(request.node, request.name(), request.caller), entryOrAbsence);
}

/** No reply is expected, so what fails here is reported by the session. */
function forget(session: Session): void {
  const { request, fileSystem } = session;
  request.fixedPart(8);
  fileSystem.forget(request.node, request.long(0));
}

function batchForget(session: Session): void {
  const { request, fileSystem } = session;
  request.fixedPart(8);
  const count = request.word(0);
  request.fixedPart(8 + count * 16);
  for (let at = 8; at < 8 + count * 16; at += 16) fileSystem.forget(request.long(at), request.long(at + 8));
}

function readLink(session: Session): void {
  session.answer(session.fileSystem.readLink(session.request.node), bytes);
}

function makeNode(session: Session): void {
  const { request, fileSystem } = session;
  request.fixedPart(16);
  const rdev = request.word(4);
  const requested = { mode: request.word(0), umask: request.word(8), isDirectory: false };
  const { node } = request;
  const name = request.name();
  const make = (mode: number, caller: Caller) => fileSystem.makeNode(node, name, mode, rdev, caller);
  session.answer(makeEntry(session, requested, make), entry);
}

function makeDirectory(session: Session): void {
  const { request, fileSystem } = session;
  request.fixedPart(8);
  const requested = { mode: request.word(0), umask: request.word(4), isDirectory: true };
  const { node } = request;
  const name = request.name();
  const make = (mode: number, caller: Caller) => fileSystem.makeDirectory(node, name, mode, caller);
  session.answer(makeEntry(session, requested, make), entry);
}

function makeEntry(
  session: Session,
  requested: Requested,
  make: (mode: number, caller: Caller) => MaybePromise<Attributes>,
): MaybePromise<Attributes> {
  const { accessControl, fileSystem, request } = session;
  const undo = (made: Attributes) => entry.undo?.(fileSystem, made, made.inode);
  return accessControl.create(request.node, requested, request.caller, make, (made) => made.inode, undo);
}

function symbolicLink(session: Session): void {
  const { request, fileSystem } = session;
  request.fixedPart(0);
  const name = request.name();
  // A copy: the file system keeps the target.
  const target = Uint8Array.from(request.string());
  session.answer(fileSystem.symbolicLink(request.node, name, target, request.caller), entry);
}

function link(session: Session): void {
  const { request, fileSystem } = session;
  request.fixedPart(8);
  session.answer(fileSystem.link(request.long(0), request.node, request.name(), request.caller), entry);
}

function unlink(session: Session): void {
  const { request, fileSystem } = session;
  request.fixedPart(0);
  session.answer(fileSystem.unlink(request.node, request.name(), request.caller), done);
}

function removeDirectory(session: Session): void {
  const { request, fileSystem } = session;
  request.fixedPart(0);
  session.answer(fileSystem.removeDirectory(request.node, request.name(), request.caller), done);
}

function rename(session: Session): void {
  session.request.fixedPart(8);
  renameWith(session, 0);
}

function rename2(session: Session): void {
  session.request.fixedPart(16);
  renameWith(session, session.request.word(8));
}

function renameWith(session: Session, flags: number): void {
  const { request, fileSystem } = session;
  const newParent = request.long(0);
  const oldName = request.name();
  const newName = request.name();
  session.answer(fileSystem.rename(request.node, oldName, newParent, newName, flags, request.caller), done);
}

function create(session: Session): void {
  const { accessControl, request, fileSystem } = session;
  request.fixedPart(16);
  const flags = request.word(0);
  const requested = { mode: request.word(4), umask: request.word(8), isDirectory: false };
  const { node } = request;
  const name = request.name();
  const make = (mode: number, caller: Caller) => fileSystem.create(node, name, mode, flags, caller);
  const inodeOf = (made: CreatedFile) => made.attributes.inode;
  const undo = (made: CreatedFile) => createdFile.undo?.(fileSystem, made, node);
  session.answer(accessControl.create(node, requested, request.caller, make, inodeOf, undo), createdFile);
}

export const namespaceOperations: Operations = {
  [Opcode.LOOKUP]: lookup,
  [Opcode.FORGET]: forget,
  [Opcode.BATCH_FORGET]: batchForget,
  [Opcode.READLINK]: readLink,
  [Opcode.MKNOD]: makeNode,
  [Opcode.MKDIR]: makeDirectory,
  [Opcode.SYMLINK]: symbolicLink,
  [Opcode.LINK]: link,
  [Opcode.UNLINK]: unlink,
  [Opcode.RMDIR]: removeDirectory,
  [Opcode.RENAME]: rename,
  [Opcode.RENAME2]: rename2,
  [Opcode.CREATE]: create,
};
