import { readFileSync, statfsSync } from 'node:fs';
import { withVolume } from './bench-volume.mjs';
import { readOptions } from './options.mjs';

const usage = `usage: node scripts/cleaning-bench.mjs [--state DIRECTORY] [--capacity 512M] [--nodes 5] [--seconds 30] [--block 4k]

What cleaning costs users, on a real volume: the rate of random overwrites when the volume is empty and when it is 85 % full, for as long as asked,
and the latency of a 4 KiB fsync alone, beside such overwrites, and beside them with the cleaner at full work.

It makes a volume in a directory of its own, in --state (/var/tmp), and removes it. Prints JSON. Needs fio and root (or fusermount3).
--capacity is that of a node, --seconds how long each load runs, --block how much is overwritten at a time.
`;
const values = readOptions(usage, {
  state: { type: 'string', default: '/var/tmp' },
  capacity: { type: 'string', default: '512M' },
  nodes: { type: 'string', default: '5' },
  seconds: { type: 'string', default: '30' },
  block: { type: 'string', default: '4k' },
});
const FULL = 0.85;
const seconds = Number(values.seconds);

const overwrite = (bytes, filename) => [
  `--filename=${filename}`,
  '--rw=randwrite',
  `--bs=${values.block}`,
  `--size=${bytes}`,
  '--time_based',
  `--runtime=${seconds}`,
  '--fsync=256',
  '--norandommap',
];

/** p99 of fsync in milliseconds. */
async function syncLatency(volume) {
  const job = await volume.fio(
    '--filename=small',
    '--rw=randwrite',
    '--bs=4k',
    '--size=4m',
    '--fsync=1',
    '--time_based',
    `--runtime=${Math.min(seconds, 15)}`,
  );
  return job.sync.lat_ns.percentile['99.000000'] / 1e6;
}

/** The same while a file is overwritten at random as fast as it goes. */
async function syncLatencyUnder(volume, filename, bytes) {
  const busy = volume.startFio(...overwrite(bytes, filename), `--runtime=${seconds + 30}`);
  await new Promise((resolve) => setTimeout(resolve, 5_000));
  const p99Ms = await syncLatency(volume);
  await busy.stop();
  return p99Ms;
}

function residentMiB(volume) {
  const { mounts } = volume.json('status');
  const status = readFileSync(`/proc/${mounts[0].pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+)/.exec(status)[1]) / 1024;
}

async function everything(volume) {
  const write = (filename, bytes) =>
    volume.fio(`--filename=${filename}`, '--rw=write', '--bs=1m', `--size=${bytes}`, '--end_fsync=1');
  const overwriteRate = async (bytes, filename) =>
    (await volume.fio(...overwrite(bytes, filename))).write.iops;
  volume.up('--nodes', values.nodes, '--capacity', values.capacity);
  const space = statfsSync(volume.mountPoint);
  const totalBytes = space.blocks * space.bsize;
  const smallBytes = Math.floor(totalBytes / 10 / 2 ** 20) * 2 ** 20;
  await write('few', smallBytes);
  const empty = await overwriteRate(smallBytes, 'few');
  const aloneMs = await syncLatency(volume);
  // The same load as later, and nothing to clean.
  const loadMs = await syncLatencyUnder(volume, 'few', smallBytes);
  const bigBytes = Math.floor((totalBytes * FULL - smallBytes) / 2 ** 20) * 2 ** 20;
  await write('many', bigBytes);
  const before = residentMiB(volume);
  const rounds = [];
  for (let round = 0; round < 3; round++) rounds.push(await overwriteRate(bigBytes, 'many'));
  const after = residentMiB(volume);
  const workMs = await syncLatencyUnder(volume, 'many', bigBytes);
  const { cleaning } = volume.json('status');
  const result = {
    ...{ totalBytes, emptyIops: empty, fullIops: rounds, ratio: Math.min(...rounds) / empty },
    ...{
      syncP99Ms: { alone: aloneMs, besideOverwrites: loadMs, besideOverwritesAndCleaner: workMs },
      residentMiB: [before, after],
      cleaning,
    },
  };
  process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
}

await withVolume(values.state, everything);
