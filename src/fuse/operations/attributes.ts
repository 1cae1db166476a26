/** Operations on attributes, and on the file system as a whole. */
import type { AttributeChanges } from '../../filesystem/file-system.ts';
import { attributes, done, statistics } from '../answer.ts';
import { andThen } from '../maybe-promise.ts';
import type { Operations } from '../operations.ts';
import { modeAfterChown, modeAfterWrite } from '../privileges.ts';
import { Opcode, SetAttribute } from '../protocol.ts';
import type { Request } from '../request.ts';
import type { Session } from '../session.ts';

function getAttributes(session: Session): void {
  session.answer(session.fileSystem.getAttributes(session.request.node), attributes);
}

function changesIn(request: Request): AttributeChanges {
  const valid = request.word(0);
  const changes: AttributeChanges = {};
  if ((valid & SetAttribute.MODE) !== 0) changes.mode = request.word(68);
  if ((valid & SetAttribute.UID) !== 0) changes.uid = request.word(76);
  if ((valid & SetAttribute.GID) !== 0) changes.gid = request.word(80);
  if ((valid & SetAttribute.SIZE) !== 0) changes.sizeBytes = request.size(16);
  if ((valid & SetAttribute.ATIME_NOW) !== 0) changes.atime = 'now';
  else if ((valid & SetAttribute.ATIME) !== 0)
    changes.atime = { seconds: request.long(32), nanoseconds: request.word(56) };
  if ((valid & SetAttribute.MTIME_NOW) !== 0) changes.mtime = 'now';
  else if ((valid & SetAttribute.MTIME) !== 0)
    changes.mtime = { seconds: request.long(40), nanoseconds: request.word(60) };
  if ((valid & SetAttribute.CTIME) !== 0)
    changes.ctime = { seconds: request.long(48), nanoseconds: request.word(64) };
  return changes;
}

function setAttributes(session: Session): void {
  const { request, fileSystem } = session;
  request.fixedPart(88);
  const changes = changesIn(request);
  const { node } = request;
  const changesOwner = changes.uid !== undefined || changes.gid !== undefined;
  const dropsPrivileges = (request.word(0) & SetAttribute.KILL_SUIDGID) !== 0;
  if (changes.mode !== undefined) {
    const changed = fileSystem.setAttributes(node, changes, request.caller);
    session.answer(
      andThen(changed, (value) => session.accessControl.followMode(value)),
      attributes,
    );
    return;
  }
  if (!(changesOwner || dropsPrivileges)) {
    session.answer(fileSystem.setAttributes(node, changes, request.caller), attributes);
    return;
  }
  const caller = { ...request.caller };
  const apply = (mode: number) => {
    const changed = changesOwner ? modeAfterChown(mode) : modeAfterWrite(mode);
    return fileSystem.setAttributes(node, changed === mode ? changes : { ...changes, mode: changed }, caller);
  };
  session.answer(
    andThen(fileSystem.getAttributes(node), ({ mode }) => apply(mode)),
    attributes,
  );
}

function getStatistics(session: Session): void {
  session.answer(session.fileSystem.statistics(), statistics);
}

function syncFileSystem(session: Session): void {
  session.answer(session.fileSystem.syncAll(), done);
}

export const attributeOperations: Operations = {
  [Opcode.GETATTR]: getAttributes,
  [Opcode.SETATTR]: setAttributes,
  [Opcode.STATFS]: getStatistics,
  [Opcode.SYNCFS]: syncFileSystem,
};
