/** Failures of system calls as MachineError; everything else stays what it is. */
import { getSystemErrorName } from 'node:util';
import { MachineError } from '../platform.ts';

/** A negative errno number, as native code returns it. */
export function machineErrorOf(negativeErrno: number, what: string): MachineError {
  const code = getSystemErrorName(negativeErrno);
  return new MachineError(code, `${what}: ${code}`);
}

/** Turns an error of Node's file or socket functions into a MachineError. */
export function toMachineError(error: unknown, what: string): unknown {
  if (error instanceof MachineError) return error;
  if (error instanceof Error && 'code' in error && typeof error.code === 'string' && 'syscall' in error) {
    return new MachineError(error.code, `${what}: ${error.code}`);
  }
  return error;
}

export async function withMachineErrors<T>(what: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw toMachineError(error, what);
  }
}
