// What cleaning costs users, on a real volume: the rate of random overwrites when the volume is empty and when it is 85 % full, for as long as asked, and the
// latency of a 4 KiB fsync alone, beside such overwrites, and beside them with the cleaner at full work.
//
//   node scripts/cleaning-bench.mjs [--state DIRECTORY] [--capacity 512M] [--nodes 5] [--seconds 30] [--block 4k]
//
// It makes a volume in a directory of its own and removes it. Prints JSON. Needs fio and root (or fusermount3).
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    state: { type: 'string', default: '/var/tmp' },
    capacity: { type: 'string', default: '512M' },
    nodes: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '30' },
    block: { type: 'string', default: '4k' },
  },
});
const FULL = 0.85;
const seconds = Number(values.seconds);
const root = mkdtempSync(join(values.state, 'tartan-cleaning-'));
const tartan = join(fileURLToPath(new URL('..', import.meta.url)), 'bin', 'tartan.js');
const mountPoint = join(root, 'mount');

function run(command, ...more) {
  return execFileSync(tartan, [command, '--dir', join(root, 'volume'), ...more], { encoding: 'utf8' });
}

function fio(name, ...flags) {
  const output = execFileSync(
    'fio',
    [
      `--name=${name}`,
      `--directory=${mountPoint}`,
      '--output-format=json',
      '--thread',
      '--randrepeat=0',
      ...flags,
    ],
    { encoding: 'utf8', maxBuffer: 64 * 2 ** 20 },
  );
  return JSON.parse(output.slice(output.indexOf('{'))).jobs[0];
}

const overwrite = (bytes, filename) => [
  `--filename=${filename}`,
  '--rw=randwrite',
  `--bs=${values.block}`,
  `--size=${bytes}`,
  '--ioengine=psync',
  '--numjobs=1',
  '--time_based',
  `--runtime=${seconds}`,
  '--fsync=256',
  '--norandommap',
];

/** p99 of fsync in milliseconds. */
function syncLatency(name) {
  const job = fio(
    name,
    '--filename=small',
    '--rw=randwrite',
    '--bs=4k',
    '--size=4m',
    '--ioengine=psync',
    '--fsync=1',
    '--time_based',
    `--runtime=${Math.min(seconds, 15)}`,
  );
  return job.sync.lat_ns.percentile['99.000000'] / 1e6;
}

/** The same while a file is overwritten at random as fast as it goes. */
async function syncLatencyUnder(filename, bytes) {
  const busy = spawn(
    'fio',
    [
      '--name=busy',
      `--directory=${mountPoint}`,
      '--thread',
      ...overwrite(bytes, filename),
      `--runtime=${seconds + 30}`,
    ],
    { stdio: 'ignore' },
  );
  await new Promise((resolve) => setTimeout(resolve, 5_000));
  const p99Ms = syncLatency(`sync-beside-${filename}`);
  busy.kill();
  await new Promise((resolve) => busy.once('close', resolve));
  return p99Ms;
}

function residentMiB() {
  const { mounts } = JSON.parse(run('status', '--json'));
  const status = readFileSync(`/proc/${mounts[0].pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+)/.exec(status)[1]) / 1024;
}

try {
  run('up', mountPoint, '--nodes', values.nodes, '--capacity', values.capacity);
  const space = statfsSync(mountPoint);
  const totalBytes = space.blocks * space.bsize;
  const smallBytes = Math.floor(totalBytes / 10 / 2 ** 20) * 2 ** 20;
  fio('prepare', '--filename=few', '--rw=write', '--bs=1m', `--size=${smallBytes}`, '--end_fsync=1');
  const empty = fio('empty', ...overwrite(smallBytes, 'few')).write.iops;
  const aloneMs = syncLatency('sync-alone');
  // The same load as later, and nothing to clean.
  const loadMs = await syncLatencyUnder('few', smallBytes);
  const bigBytes = Math.floor((totalBytes * FULL - smallBytes) / 2 ** 20) * 2 ** 20;
  fio('fill', '--filename=many', '--rw=write', '--bs=1m', `--size=${bigBytes}`, '--end_fsync=1');
  const before = residentMiB();
  const rounds = [];
  for (let round = 0; round < 3; round++) rounds.push(fio('full', ...overwrite(bigBytes, 'many')).write.iops);
  const after = residentMiB();
  const workMs = await syncLatencyUnder('many', bigBytes);
  const { cleaning } = JSON.parse(run('status', '--json'));
  const result = {
    ...{ totalBytes, emptyIops: empty, fullIops: rounds, ratio: Math.min(...rounds) / empty },
    ...{
      syncP99Ms: { alone: aloneMs, besideOverwrites: loadMs, besideOverwritesAndCleaner: workMs },
      residentMiB: [before, after],
      cleaning,
    },
  };
  process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
} finally {
  try {
    run('down', '--force');
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}
