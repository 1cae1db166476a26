/**
 * Which function handles which opcode. Opcodes that are not here are answered ENOSYS, and the kernel does without: it opens
 * directories itself (OPENDIR), copies by reading and writing (COPY_FILE_RANGE), checks permission itself (ACCESS), uses GETATTR for
 * STATX, and tells programs that there is no such thing (IOCTL, BMAP, TMPFILE; every file is ready at once for POLL).
 */
import { answerInterrupt } from './interrupt.ts';
import { attributeOperations } from './operations/attributes.ts';
import { directoryOperations } from './operations/directories.ts';
import { fileOperations } from './operations/files.ts';
import { namespaceOperations } from './operations/namespace.ts';
import { xattrOperations } from './operations/xattrs.ts';
import { Opcode } from './protocol.ts';
import type { Session } from './session.ts';

/** Takes its arguments from session.request and ends in exactly one answer, unless the kernel expects none. */
export type Operation = (session: Session) => void;
/** By opcode. */
export type Operations = Readonly<Record<number, Operation>>;

const sessionOperations: Operations = {
  [Opcode.INTERRUPT]: answerInterrupt,
  [Opcode.INIT]: (session) => session.initialize(),
  [Opcode.DESTROY]: (session) =>
    session.answerErrno(session.request.uniqueLow, session.request.uniqueHigh, 0),
};

const table: (Operation | undefined)[] = [];
for (const group of [
  sessionOperations,
  namespaceOperations,
  attributeOperations,
  fileOperations,
  directoryOperations,
  xattrOperations,
])
  for (const [opcode, operation] of Object.entries(group)) table[Number(opcode)] = operation;

export function operationOf(opcode: number): Operation | undefined {
  return table[opcode];
}
