import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { withVolume } from './bench-volume.mjs';
import { failUsage, readOptions } from './options.mjs';

const usage = `usage: node scripts/rebuild-bench.mjs [--state DIRECTORY] [--size 4G] [--seconds 8] [--only rebuild|quiet|join]

What rebuilding a lost node and adding one cost users, and how fast they go, on a real volume of five nodes (4+1):
- the throughput of four loads before a node is lost, when it is lost and nothing is rebuilt yet, and while it is rebuilt on the others;
- how fast the rest is rebuilt without load, and what of the processor that takes; with --only quiet, all of it;
- the longest write while nothing happens, and while a sixth node joins and gets its share.

It makes a volume in a directory of its own, in --state (/var/tmp), and removes it. Prints JSON. Needs fio and root, which may drop the
kernel's caches. --size is that of the file that is there, --seconds how long each load runs.
`;
const PARTS = ['rebuild', 'quiet', 'join'];
const values = readOptions(usage, {
  state: { type: 'string', default: '/var/tmp' },
  size: { type: 'string', default: '4G' },
  seconds: { type: 'string', default: '8' },
  only: { type: 'string' },
});
const { only } = values;
if (only !== undefined && !PARTS.includes(only)) failUsage(usage, `there is no part '${only}'`);
const isAsked = (part) => (only === undefined ? part !== 'quiet' : part === only);
const seconds = Number(values.seconds);
const LOST_NODE = '5';
const DATA_FRAGMENTS = 4;
const GIB = 2 ** 30;

function dropCaches(volume) {
  execFileSync('sync', ['-f', volume.mountPoint]);
  writeFileSync('/proc/sys/vm/drop_caches', '3');
}

const NO_FALLOCATE = '--fallocate=none';
const timed = ['--time_based', `--runtime=${seconds}`];
const loads = {
  sequentialWrite: ['--rw=write', '--bs=1m', '--filename=scratch', '--size=512m', '--end_fsync=1', ...timed],
  randomWrite: [
    '--rw=randwrite',
    '--bs=64k',
    '--filename=scratch',
    '--size=512m',
    '--fsync=256',
    '--norandommap',
    ...timed,
  ],
  sequentialRead: ['--rw=read', '--bs=1m', '--filename=data', `--size=${values.size}`, ...timed],
  randomRead: [
    '--rw=randread',
    '--bs=64k',
    '--filename=data',
    `--size=${values.size}`,
    '--norandommap',
    ...timed,
  ],
};

/** MB/s of users, and whether rebuilding was under way from the beginning to the end. */
async function measure(volume, flags) {
  dropCaches(volume);
  const before = volume.json('heal', 'status');
  const { read, write } = await volume.fio(NO_FALLOCATE, ...flags);
  const after = volume.json('heal', 'status');
  return {
    rate: (read.bw_bytes + write.bw_bytes) / 1e6,
    healing: before.state === 'running' && after.state === 'running',
    rebuiltRate: (after.doneBytes - before.doneBytes) / seconds / 1e6,
  };
}

async function rebuild(volume) {
  const before = {};
  for (const [name, flags] of Object.entries(loads)) before[name] = (await measure(volume, flags)).rate;
  volume.run('heal', 'pause');
  volume.run('node', 'kill', LOST_NODE);
  const lost = {};
  for (const [name, flags] of Object.entries(loads)) lost[name] = (await measure(volume, flags)).rate;
  volume.run('heal', 'start');
  const during = {};
  for (const [name, flags] of Object.entries(loads)) {
    const { rate, healing, rebuiltRate } = await measure(volume, flags);
    during[name] = {
      ...{ rate, ofBefore: rate / before[name], ofLost: rate / lost[name] },
      ...{ rebuiltRate, healingThroughout: healing },
    };
  }
  // Users count as at work for a moment after they have stopped.
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  return { before, lost, during, withoutLoad: restOf(volume) };
}

/** The same without any load. */
function quiet(volume) {
  volume.run('heal', 'pause');
  volume.run('node', 'kill', LOST_NODE);
  dropCaches(volume);
  volume.run('heal', 'start');
  return restOf(volume);
}

/** Waits until everything is rebuilt. Rates in MB/s: of what the node held, and of the users' data that is safe again with it. */
function restOf(volume) {
  const { bytesToRepair: bytes } = volume.json('heal', 'status');
  const cpuBefore = volume.cpuSeconds();
  const startMs = performance.now();
  volume.run('wait', 'healed', '--timeout', '10m');
  const elapsedSeconds = (performance.now() - startMs) / 1000;
  const cpu = volume.cpuSeconds();
  const rate = bytes / elapsedSeconds / 1e6;
  const dataGib = (DATA_FRAGMENTS * bytes) / GIB;
  return {
    ...{ bytes, elapsedSeconds, rate, dataRate: DATA_FRAGMENTS * rate },
    cpuSecondsPerGibOfData: {
      mount: (cpu.mount - cpuBefore.mount) / dataGib,
      nodes: (cpu.nodes - cpuBefore.nodes) / dataGib,
    },
  };
}

/** Milliseconds that the longest write takes in a writer that never rests, and its rate. */
async function writer(volume, runtime) {
  const { write } = await volume.fio(
    ...[
      NO_FALLOCATE,
      '--rw=write',
      '--bs=128k',
      '--filename=steady',
      '--size=1g',
      '--time_based',
      `--runtime=${runtime}`,
    ],
  );
  return {
    longestMs: write.clat_ns.max / 1e6,
    p999Ms: write.clat_ns.percentile['99.900000'] / 1e6,
    rate: write.bw_bytes / 1e6,
  };
}

async function joining(volume) {
  const runtime = 3 * seconds;
  const alone = await writer(volume, runtime);
  const writing = writer(volume, runtime);
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  volume.run('node', 'add');
  volume.run('rebalance', 'start');
  const during = await writing;
  const { moved } = volume.json('rebalance', 'status');
  const { moved: inAll } = volume.json('wait', 'balanced', '--timeout', '10m');
  return { alone, during: { ...during, movedBytes: moved }, movedBytes: inAll };
}

async function everything(volume) {
  volume.up('--nodes', '5', '--parity', '1');
  const write = ['--rw=write', '--bs=1m', '--end_fsync=1', NO_FALLOCATE];
  await volume.fio(...write, '--filename=data', `--size=${values.size}`);
  if (!isAsked('quiet')) await volume.fio(...write, '--filename=scratch', '--size=512m');
  const result = {};
  if (isAsked('join')) result.join = await joining(volume);
  if (isAsked('join') && isAsked('rebuild')) {
    // The other part is about five nodes.
    volume.run('node', 'drain', '6');
    volume.run('wait', 'balanced', '--timeout', '10m');
    volume.run('node', 'remove', '6');
  }
  if (isAsked('rebuild')) result.rebuild = await rebuild(volume);
  if (isAsked('quiet')) result.quiet = quiet(volume);
  process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
}

await withVolume(values.state, everything);
