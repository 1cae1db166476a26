/**
 * What a starting process tells its parent: JSON lines on descriptor 3, closed once it is ready or has failed. A parent that
 * died meanwhile is no reason to fail.
 */
import { closeSync, writeSync } from 'node:fs';
import { CommandFailure, type ExitCode, exitCodes, systemCode } from '../failure.ts';

export const REPORT_DESCRIPTOR = 3;

export type StartupReport =
  | { readonly kind: 'phase'; readonly phase: string }
  | { readonly kind: 'ready' }
  | { readonly kind: 'failed'; readonly exitCode: ExitCode; readonly message: string };

export interface StartupReporter {
  phase(text: string): void;
  ready(): void;
  failed(error: unknown): void;
}

/** `attached` is false for a process that a user started by hand: it has no parent that listens. */
export function startupReporter(attached: boolean): StartupReporter {
  let open = attached;
  const send = (report: StartupReport): void => {
    if (!open) return;
    try {
      writeSync(REPORT_DESCRIPTOR, `${JSON.stringify(report)}\n`);
    } catch (error) {
      if (systemCode(error) !== 'EPIPE') throw error;
      open = false;
    }
  };
  const finish = (report: StartupReport): void => {
    send(report);
    if (attached) closeSync(REPORT_DESCRIPTOR);
    open = false;
    attached = false;
  };
  return {
    phase: (text) => send({ kind: 'phase', phase: text }),
    ready: () => finish({ kind: 'ready' }),
    failed: (error) =>
      finish({
        kind: 'failed',
        exitCode: error instanceof CommandFailure ? error.exitCode : exitCodes.internal,
        message: error instanceof Error ? error.message : String(error),
      }),
  };
}

/** Whole lines are parsed; the rest is returned to be completed. */
export function parseReports(text: string): { reports: StartupReport[]; rest: string } {
  const lines = text.split('\n');
  const rest = lines.pop() ?? '';
  return { reports: lines.filter((line) => line !== '').map((line) => JSON.parse(line)), rest };
}
