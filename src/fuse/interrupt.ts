/**
 * INTERRUPT: the process that waits for a request got a signal.
 *
 * On local file systems only a signal that ends the process ends such a wait; programs with timers or children do not expect EINTR
 * from stat, open or fsync. The kernel sends one INTERRUPT for whichever signal came first, so we look whether the
 * process is being killed. If so, a waiting request that changes nothing is answered EINTR at once and its result dropped when it
 * comes. If not, the INTERRUPT is answered EAGAIN a little later, and the kernel sends it again: a kill that
 * follows is noticed then. Requests that change something always run to their end.
 */
import { readFileSync } from 'node:fs';
import { errnoNumbers } from '../base/errno.ts';
import type { PendingRequest } from './pending.ts';
import { Opcode } from './protocol.ts';
import type { Session } from './session.ts';

const ASK_AGAIN_MS = 50;
const SIGKILL_BIT = 1n << 8n;

const ABANDONABLE = new Set<number>([
  Opcode.LOOKUP,
  Opcode.GETATTR,
  Opcode.READLINK,
  Opcode.READ,
  Opcode.STATFS,
  Opcode.FSYNC,
  Opcode.FSYNCDIR,
  Opcode.SYNCFS,
  Opcode.FLUSH,
  Opcode.GETXATTR,
  Opcode.LISTXATTR,
  Opcode.READDIR,
  Opcode.READDIRPLUS,
  Opcode.LSEEK,
]);

export function answerInterrupt(session: Session): void {
  const { request } = session;
  request.fixedPart(8);
  const waiting = session.pending.find(request.word(0), request.word(4));
  // Unknown: it was answered while the INTERRUPT was on its way. An INTERRUPT needs no reply.
  if (waiting === undefined || waiting.isAnswered || !ABANDONABLE.has(waiting.opcode)) return;
  if (isBeingKilled(waiting)) {
    waiting.isAnswered = true;
    session.answerErrno(waiting.uniqueLow, waiting.uniqueHigh, errnoNumbers.EINTR);
    return;
  }
  const { uniqueLow, uniqueHigh } = request;
  session.timers.after(ASK_AGAIN_MS, () => {
    session.answerErrno(uniqueLow, uniqueHigh, errnoNumbers.EAGAIN);
  });
}

/** Fatal signals of every kind reach the threads of a process as SIGKILL. `pid` in requests is the thread's. */
function isBeingKilled(waiting: PendingRequest): boolean {
  let status: string;
  try {
    status = readFileSync(`/proc/${waiting.pid}/status`, 'latin1');
  } catch {
    // Gone, or in a namespace that we cannot see into: nobody to wait for.
    return true;
  }
  const pending = /^SigPnd:\s*([0-9a-f]+)$/m.exec(status)?.[1];
  return pending === undefined || (BigInt(`0x${pending}`) & SIGKILL_BIT) !== 0n;
}
