// What rebuilding a lost node and adding one cost users, and how fast they go, on a real volume of five nodes (4+1):
// - the throughput of four loads before a node is lost, when it is lost and nothing is rebuilt yet, and while it is rebuilt on the others;
// - how fast the rest is rebuilt without load;
// - the longest write while nothing happens, and while a sixth node joins and gets its share.
//
//   node scripts/rebuild-bench.mjs [--state DIRECTORY] [--size 4G] [--seconds 8] [--only rebuild|join]
//
// It makes a volume in a directory of its own and removes it. Prints JSON. Needs fio and root, which may drop the kernel's caches.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    state: { type: 'string', default: '/var/tmp' },
    size: { type: 'string', default: '4G' },
    seconds: { type: 'string', default: '8' },
    only: { type: 'string' },
  },
});
const seconds = Number(values.seconds);
const root = mkdtempSync(join(values.state, 'tartan-rebuild-'));
const tartan = join(fileURLToPath(new URL('..', import.meta.url)), 'bin', 'tartan.js');
const mountPoint = join(root, 'mount');
const LOST_NODE = '5';

function run(...args) {
  return execFileSync(tartan, [...args, '--dir', join(root, 'volume')], { encoding: 'utf8' });
}

const json = (...args) => JSON.parse(run(...args, '--json'));

/** The result of its only job, when it has ended. */
function fio(...flags) {
  const common = [
    `--directory=${mountPoint}`,
    '--name=load',
    '--output-format=json',
    '--thread',
    '--randrepeat=0',
  ];
  const child = spawn('fio', [...common, '--ioengine=psync', '--fallocate=none', ...flags], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text) => (output += text));
  return new Promise((resolve, reject) => {
    child.on('close', (code) => {
      if (code === 0) resolve(JSON.parse(output.slice(output.indexOf('{'))).jobs[0]);
      else reject(new Error(`fio ended with ${code}`));
    });
  });
}

function dropCaches() {
  execFileSync('sync', ['-f', mountPoint]);
  writeFileSync('/proc/sys/vm/drop_caches', '3');
}

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
async function measure(flags) {
  dropCaches();
  const before = json('heal', 'status');
  const { read, write } = await fio(...flags);
  const after = json('heal', 'status');
  return {
    rate: (read.bw_bytes + write.bw_bytes) / 1e6,
    healing: before.state === 'running' && after.state === 'running',
    rebuiltRate: (after.doneBytes - before.doneBytes) / seconds / 1e6,
  };
}

async function rebuild() {
  const before = {};
  for (const [name, flags] of Object.entries(loads)) before[name] = (await measure(flags)).rate;
  run('heal', 'pause');
  run('node', 'kill', LOST_NODE);
  const lost = {};
  for (const [name, flags] of Object.entries(loads)) lost[name] = (await measure(flags)).rate;
  run('heal', 'start');
  const during = {};
  for (const [name, flags] of Object.entries(loads)) {
    const { rate, healing, rebuiltRate } = await measure(flags);
    during[name] = {
      ...{ rate, ofBefore: rate / before[name], ofLost: rate / lost[name] },
      ...{ rebuiltRate, healingThroughout: healing },
    };
  }
  // Users count as at work for a moment after they have stopped.
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  const from = json('heal', 'status');
  const startMs = performance.now();
  run('wait', 'healed', '--timeout', '10m');
  const elapsedSeconds = (performance.now() - startMs) / 1000;
  const rate = from.bytesToRepair / elapsedSeconds / 1e6;
  return { before, lost, during, withoutLoad: { bytes: from.bytesToRepair, elapsedSeconds, rate } };
}

/** Milliseconds that the longest write takes in a writer that never rests, and its rate. */
async function writer(runtime) {
  const { write } = await fio(
    ...['--rw=write', '--bs=128k', '--filename=steady', '--size=1g', '--time_based', `--runtime=${runtime}`],
  );
  return {
    longestMs: write.clat_ns.max / 1e6,
    p999Ms: write.clat_ns.percentile['99.900000'] / 1e6,
    rate: write.bw_bytes / 1e6,
  };
}

async function joining() {
  const runtime = 3 * seconds;
  const alone = await writer(runtime);
  const writing = writer(runtime);
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  run('node', 'add');
  run('rebalance', 'start');
  const during = await writing;
  const { moved } = json('rebalance', 'status');
  const { moved: inAll } = json('wait', 'balanced', '--timeout', '10m');
  return { alone, during: { ...during, movedBytes: moved }, movedBytes: inAll };
}

try {
  run('up', mountPoint, '--nodes', '5', '--parity', '1');
  await fio('--rw=write', '--bs=1m', '--filename=data', `--size=${values.size}`, '--end_fsync=1');
  await fio('--rw=write', '--bs=1m', '--filename=scratch', '--size=512m', '--end_fsync=1');
  const result = {};
  if (values.only !== 'rebuild') result.join = await joining();
  // The other part is about five nodes.
  if (values.only === undefined) run('node', 'drain', '6');
  if (values.only === undefined) run('wait', 'balanced', '--timeout', '10m');
  if (values.only === undefined) run('node', 'remove', '6');
  if (values.only !== 'join') result.rebuild = await rebuild();
  process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
} finally {
  try {
    run('down', '--force');
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}
