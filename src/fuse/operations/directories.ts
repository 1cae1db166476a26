/**
 * Listing directories. OPENDIR is left unanswered (ENOSYS): the kernel then opens directories by itself, keeps listings
 * until it changes them itself, and names handle 0 here.
 */
import type { MaybePromise } from '../../filesystem/file-system.ts';
import { done } from '../answer.ts';
import { DirectoryFill, directoryAnswer } from '../directory-fill.ts';
import type { Operations } from '../operations.ts';
import { Opcode } from '../protocol.ts';
import type { Session } from '../session.ts';

function list(session: Session, plus: boolean): void {
  const { request, fileSystem } = session;
  request.fixedPart(20);
  const fill = DirectoryFill.take(request.word(16), plus);
  let result: MaybePromise<void>;
  try {
    result = fileSystem.readDirectory(request.node, request.long(0), request.cookie(8), plus, fill.sink);
  } catch (error) {
    giveUp(session, fill, error);
  }
  if (result instanceof Promise)
    session.answer(
      result.then(
        () => fill,
        (error: unknown) => giveUp(session, fill, error),
      ),
      directoryAnswer,
    );
  else session.answer(fill, directoryAnswer);
}

/** Entries were accepted, maybe, and none of them reaches the kernel. */
function giveUp(session: Session, fill: DirectoryFill, error: unknown): never {
  fill.forgetAll(session.fileSystem);
  fill.release();
  throw error;
}

function fsync(session: Session): void {
  const { request, fileSystem } = session;
  request.fixedPart(16);
  session.answer(fileSystem.fsyncDirectory(request.node, request.long(0)), done);
}

export const directoryOperations: Operations = {
  [Opcode.READDIR]: (session) => list(session, false),
  [Opcode.READDIRPLUS]: (session) => list(session, true),
  [Opcode.FSYNCDIR]: fsync,
};
