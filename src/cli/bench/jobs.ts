/**
 * What the benchmark measures. Every job runs with the same flags and the same sizes on every directory; the flags are printed
 * with the results. Order matters: later jobs use the file that `write-buffered` left.
 */
import { MIB } from '../../base/units.ts';

export interface Sizes {
  readonly streamBytes: number;
  readonly randomWriteBytes: number;
  readonly randomSeconds: number;
  readonly files: number;
}

export const fullSizes: Sizes = {
  streamBytes: 1024 * MIB,
  randomWriteBytes: 256 * MIB,
  randomSeconds: 4,
  files: 10_000,
};
/** Enough to see that everything works; too little to compare. */
export const quickSizes: Sizes = {
  streamBytes: 64 * MIB,
  randomWriteBytes: 16 * MIB,
  randomSeconds: 1,
  files: 500,
};

export interface FioJob {
  readonly kind: 'fio';
  readonly name: string;
  readonly title: string;
  readonly unit: 'MB/s' | 'IOPS';
  readonly direction: 'read' | 'write';
  /** Caches are dropped before. */
  readonly cold: boolean;
  /** The file starts out absent instead of being the one of the jobs before. */
  readonly newFile: boolean;
  /** A storage node of the volume is down meanwhile; the plain directory has none, so only volumes run it. */
  readonly degraded?: boolean;
  readonly flags: readonly string[];
}

/** The phases of the small-file program, in its order. */
export const filePhases = ['create', 'stat', 'read', 'unlink'] as const;
export type FilePhase = (typeof filePhases)[number];

export const filePhaseTitles: Readonly<Record<FilePhase, string>> = {
  create: 'create files of 4 KiB',
  stat: 'stat them, warm',
  read: 'read them, cold',
  unlink: 'unlink them',
};

export function fioJobs(sizes: Sizes): FioJob[] {
  const stream = ['--bs=1m', `--size=${sizes.streamBytes}`];
  const random = ['--bs=4k', `--size=${sizes.streamBytes}`];
  const timed = ['--time_based', `--runtime=${sizes.randomSeconds}`];
  const depth16 = ['--ioengine=libaio', '--iodepth=16'];
  const job = (
    name: string,
    title: string,
    unit: FioJob['unit'],
    direction: FioJob['direction'],
    flags: readonly string[],
    more: { cold?: boolean; newFile?: boolean; degraded?: boolean } = {},
  ): FioJob => ({ kind: 'fio', name, title, unit, direction, cold: false, newFile: false, ...more, flags });
  return [
    job(
      'write-direct',
      '1 MiB sequential write + fsync, direct',
      'MB/s',
      'write',
      ['--rw=write', ...stream, '--direct=1', '--end_fsync=1'],
      { newFile: true },
    ),
    job(
      'write-buffered',
      '1 MiB sequential write + fsync, buffered',
      'MB/s',
      'write',
      ['--rw=write', ...stream, '--end_fsync=1'],
      { newFile: true },
    ),
    job('read-cold', '1 MiB sequential read, cold', 'MB/s', 'read', ['--rw=read', ...stream], { cold: true }),
    job(
      'read-degraded',
      '1 MiB sequential read, cold, one node dead',
      'MB/s',
      'read',
      ['--rw=read', ...stream],
      { cold: true, degraded: true },
    ),
    job('random-read-1', '4 KiB random read, direct, depth 1', 'IOPS', 'read', [
      '--rw=randread',
      ...random,
      '--direct=1',
      ...timed,
    ]),
    job('random-read-16', '4 KiB random read, direct, depth 16', 'IOPS', 'read', [
      '--rw=randread',
      ...random,
      '--direct=1',
      ...depth16,
      ...timed,
    ]),
    job('random-write', '4 KiB random write + fsync, buffered', 'IOPS', 'write', [
      '--rw=randwrite',
      ...random,
      `--io_size=${sizes.randomWriteBytes}`,
      '--end_fsync=1',
    ]),
    job('random-write-direct', '4 KiB random write, direct, depth 1', 'IOPS', 'write', [
      '--rw=randwrite',
      ...random,
      '--direct=1',
      ...timed,
    ]),
    job('random-write-fsync', '4 KiB random write, fsync each', 'IOPS', 'write', [
      '--rw=randwrite',
      ...random,
      '--fsync=1',
      ...timed,
    ]),
  ];
}
