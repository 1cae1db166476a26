/**
 * Bounds the log files. A process writes to its standard error, which is the file, so that a crash's last words land there,
 * too; when the file has grown over the bound its contents move to `.1` and it is emptied. At most twice the bound in all.
 */
import { copyFileSync, fstatSync, ftruncateSync, renameSync, statSync } from 'node:fs';
import { MIB } from '../../base/units.ts';
import { systemCode } from '../failure.ts';

const MAX_LOG_BYTES = 8 * MIB;
const CHECK_INTERVAL_MS = 60_000;
const STANDARD_ERROR = 2;

/** Before a process starts. */
export function rotateLog(path: string): void {
  try {
    if (statSync(path).size > MAX_LOG_BYTES) renameSync(path, `${path}.1`);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
  }
}

/** Within the process whose standard error is `path`, opened for appending. */
export function keepLogBounded(path: string): void {
  const timer = setInterval(() => {
    const stat = fstatSync(STANDARD_ERROR);
    if (!stat.isFile() || stat.size <= MAX_LOG_BYTES) return;
    copyFileSync(path, `${path}.1`);
    ftruncateSync(STANDARD_ERROR);
  }, CHECK_INTERVAL_MS);
  timer.unref();
}
