/**
 * What the long-running processes of a volume have in common: they report their start, end on signals in an orderly way, keep their log
 * bounded, and die with a logged reason when something unexpected is thrown.
 */
import type { Logger } from '../../platform/platform.ts';
import { CommandFailure, exitCodes } from '../failure.ts';
import { keepLogBounded } from './log-files.ts';
import { type StartupReporter, startupReporter } from './startup-report.ts';

/** A process that cannot finish in this time after a signal is ended all the same. */
const CLOSE_TIMEOUT_MS = 30_000;

export interface LongRunning {
  /** Of the volume: shown beside the name by ps(1). */
  readonly directory: string;
  readonly log: Logger;
  /** The file that standard error goes to, if it was started by a supervisor. */
  readonly logFile: string | undefined;
  /** Starts everything. Returns what closes it again. */
  start(reporter: StartupReporter): Promise<() => Promise<void>>;
}

/** Resolves when the process is up; it then lives until a signal. */
export async function runLongLived(name: string, running: LongRunning): Promise<void> {
  const { log, logFile } = running;
  process.title = `tartan ${name} ${running.directory}`;
  const reporter = startupReporter(logFile !== undefined);
  if (logFile !== undefined) keepLogBounded(logFile);
  const die = (event: string, error: unknown): never => {
    log.error(event, { process: name, error: error instanceof Error ? error.stack : String(error) });
    process.exit(exitCodes.internal);
  };
  process.on('uncaughtException', (error) => die('uncaught-exception', error));
  process.on('unhandledRejection', (error) => die('unhandled-rejection', error));
  log.info('starting', { process: name, pid: process.pid });
  let close: () => Promise<void>;
  try {
    close = await running.start(reporter);
  } catch (error) {
    log.error('start-failed', { process: name, error: error instanceof Error ? error.stack : String(error) });
    reporter.failed(error);
    // Half of it may be open: nothing but an end closes all of that.
    process.exit(error instanceof CommandFailure ? error.exitCode : exitCodes.internal);
  }
  let ending = false;
  const end = (signal: string): void => {
    if (ending) return;
    ending = true;
    log.info('stopping', { process: name, signal });
    setTimeout(() => die('stopping-takes-too-long', signal), CLOSE_TIMEOUT_MS).unref();
    close().then(
      () => {
        log.info('stopped', { process: name });
        process.exit(exitCodes.ok);
      },
      (error: unknown) => die('stop-failed', error),
    );
  };
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
  // A terminal that goes away is no reason to stop.
  process.on('SIGHUP', () => {});
  reporter.ready();
  log.info('ready', { process: name });
}
