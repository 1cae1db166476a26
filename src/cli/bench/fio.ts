/** Runs one fio job in a directory and reads its result. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { CommandFailure, exitCodes, systemCode } from '../failure.ts';
import type { FioJob } from './jobs.ts';

const run = promisify(execFile);
const MEGABYTE = 1e6;
const MAX_OUTPUT_BYTES = 16 * 1024 * 1024;
export const FIO_FILE = 'stream.dat';
/** What every job has in common: one process, random data, no invalidation of caches (that is done for cold jobs). */
export const COMMON_FLAGS = ['--ioengine=psync', '--thread', '--invalidate=0', '--randrepeat=0'];

interface FioDirection {
  readonly bw_bytes: number;
  readonly iops: number;
}

export async function runFio(job: FioJob, directory: string): Promise<number> {
  const args = [
    `--name=${job.name}`,
    `--directory=${directory}`,
    `--filename=${FIO_FILE}`,
    '--output-format=json',
    ...COMMON_FLAGS,
    ...job.flags,
  ];
  let output: string;
  try {
    ({ stdout: output } = await run('fio', args, { maxBuffer: MAX_OUTPUT_BYTES }));
  } catch (error) {
    if (systemCode(error) === 'ENOENT') {
      throw new CommandFailure(
        exitCodes.configuration,
        'fio is missing: install it with `apt-get install fio`',
      );
    }
    throw new CommandFailure(
      exitCodes.ioError,
      `fio ${job.name} in ${directory} failed: ${String(error)}`,
      error,
    );
  }
  // Warnings of fio may stand before its JSON.
  const parsed = JSON.parse(output.slice(output.indexOf('{'))) as {
    jobs: { error: number; read: FioDirection; write: FioDirection }[];
  };
  const [result] = parsed.jobs;
  if (result === undefined || result.error !== 0) {
    throw new CommandFailure(
      exitCodes.ioError,
      `fio ${job.name} in ${directory} reports error ${result?.error}`,
    );
  }
  const direction = result[job.direction];
  return job.unit === 'MB/s' ? direction.bw_bytes / MEGABYTE : direction.iops;
}
