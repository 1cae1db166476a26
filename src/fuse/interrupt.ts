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
/** Signals that end nobody by default: CHLD, CONT, STOP, TSTP, TTIN, TTOU, URG and WINCH. */
const HARMLESS_SIGNALS = [17, 18, 19, 20, 21, 22, 23, 28].reduce(
  (mask, n) => mask | (1n << BigInt(n - 1)),
  0n,
);

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

/** `pid` in requests is the thread's. */
function isBeingKilled(waiting: PendingRequest): boolean {
  let status: string;
  try {
    status = readFileSync(`/proc/${waiting.pid}/status`, 'latin1');
  } catch {
    // Gone, or in a namespace that we cannot see into: nobody to wait for.
    return true;
  }
  return hasFatalSignal(status);
}

/**
 * Whether a pending signal ends the process, from the text of /proc/PID/status. Mostly the kernel has turned that signal into SIGKILL
 * already; not so when another signal came before it.
 */
export function hasFatalSignal(status: string): boolean {
  const mask = (name: string) =>
    BigInt(`0x${new RegExp(`^${name}:\\s*([0-9a-f]+)$`, 'm').exec(status)?.[1] ?? '0'}`);
  const pending = mask('SigPnd') | mask('ShdPnd');
  return (pending & ~mask('SigBlk') & ~mask('SigIgn') & ~mask('SigCgt') & ~HARMLESS_SIGNALS) !== 0n;
}
