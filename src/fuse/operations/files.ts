/** Operations on open files. Under write-back the kernel may name any handle of the inode: handles are hints. */
import { posixOutcome } from '../../base/errno.ts';
import { MAX_REQUEST_BYTES } from '../../base/limits.ts';
import { type Answer, data, done, length, openFile } from '../answer.ts';
import { andThen } from '../maybe-promise.ts';
import type { Operations } from '../operations.ts';
import { dropPrivileges } from '../privileges.ts';
import {
  FSYNC_DATA_ONLY,
  OPEN_KILL_SUIDGID,
  Opcode,
  WRITE_IN_BYTES,
  WRITE_KILL_SUIDGID,
} from '../protocol.ts';
import type { Session } from '../session.ts';

function open(session: Session): void {
  const { request, fileSystem } = session;
  request.fixedPart(8);
  const { node } = request;
  const opened = fileSystem.open(node, request.word(0), request.caller);
  if ((request.word(4) & OPEN_KILL_SUIDGID) === 0) {
    session.answer(opened, openFile);
    return;
  }
  const dropped = andThen(opened, (handle) => andThen(dropPrivileges(fileSystem, node), () => handle));
  session.answer(dropped, openFile);
}

function release(session: Session): void {
  const { request, fileSystem } = session;
  request.fixedPart(24);
  session.answer(fileSystem.release(request.node, request.long(0)), done);
}

function read(session: Session): void {
  const { request, fileSystem } = session;
  request.fixedPart(20);
  const lengthBytes = Math.min(request.word(16), MAX_REQUEST_BYTES);
  session.answer(fileSystem.read(request.node, request.long(0), request.size(8), lengthBytes), data);
}

/** What WRITE replies when the file system has taken everything, by size: there are few, and they are asked for often. */
const writtenAnswers = new Map<number, Answer<void>>();
function written(lengthBytes: number): Answer<void> {
  let answer = writtenAnswers.get(lengthBytes);
  if (answer === undefined) {
    answer = { encode: (reply) => length.encode(reply, lengthBytes) };
    // At most MAX_REQUEST_BYTES / 512 sizes are usual; odd ones are not kept.
    if (lengthBytes % 512 === 0) writtenAnswers.set(lengthBytes, answer);
  }
  return answer;
}

/** The payload's views, where it landed. */
function payload(landing: readonly Uint8Array[], lengthBytes: number): readonly Uint8Array[] {
  const first = landing[0];
  if (first !== undefined && lengthBytes <= first.length) return [first.subarray(0, lengthBytes)];
  const parts: Uint8Array[] = [];
  let left = lengthBytes;
  for (const part of landing) {
    if (left === 0) break;
    const taken = Math.min(left, part.length);
    parts.push(part.subarray(0, taken));
    left -= taken;
  }
  if (left > 0) throw posixOutcome('EIO');
  return parts;
}

function write(session: Session): void {
  const { request, fileSystem } = session;
  request.fixedPart(WRITE_IN_BYTES);
  const lengthBytes = request.word(16);
  if (lengthBytes !== request.payloadBytes) throw posixOutcome('EINVAL');
  const { node } = request;
  const parts = payload(session.landing, lengthBytes);
  const dropsPrivileges = (request.word(20) & WRITE_KILL_SUIDGID) !== 0;
  let result = fileSystem.write(node, request.long(0), request.size(8), parts, true);
  if (dropsPrivileges) result = andThen(result, () => dropPrivileges(fileSystem, node));
  session.answer(result, written(lengthBytes));
}

function fsync(session: Session): void {
  const { request, fileSystem } = session;
  request.fixedPart(16);
  const dataOnly = (request.word(8) & FSYNC_DATA_ONLY) !== 0;
  session.answer(fileSystem.fsync(request.node, request.long(0), dataOnly), done);
}

function flush(session: Session): void {
  const { request, fileSystem } = session;
  request.fixedPart(24);
  session.answer(fileSystem.flush(request.node, request.long(0)), done);
}

function fallocate(session: Session): void {
  const { request, fileSystem } = session;
  request.fixedPart(32);
  const { node } = request;
  const handle = request.long(0);
  session.answer(
    fileSystem.fallocate(node, handle, request.word(24), request.size(8), request.size(16)),
    done,
  );
}

function seek(session: Session): void {
  const { request, fileSystem } = session;
  request.fixedPart(24);
  // A negative offset is behind nothing: ENXIO, as other file systems say.
  const offsetBytes = request.long(8);
  if (offsetBytes < 0) throw posixOutcome('ENXIO');
  session.answer(fileSystem.seek(request.node, request.long(0), offsetBytes, request.word(16)), length);
}

export const fileOperations: Operations = {
  [Opcode.OPEN]: open,
  [Opcode.RELEASE]: release,
  [Opcode.READ]: read,
  [Opcode.WRITE]: write,
  [Opcode.FSYNC]: fsync,
  [Opcode.FLUSH]: flush,
  [Opcode.FALLOCATE]: fallocate,
  [Opcode.LSEEK]: seek,
};
