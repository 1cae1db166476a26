/**
 * A volume for a benchmark: made in a directory of its own, driven by the `tartan` of this checkout and by fio, and removed whatever happens.
 */
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { root as checkout } from './setup.mjs';

const tartan = join(checkout, 'bin', 'tartan.js');
/** Of /proc/PID/stat: fields behind the command's name, which is in brackets. Times are in hundredths of a second. */
const USER_TIME = 11;
const SYSTEM_TIME = 12;

/** Calls `work` with a volume that is not there yet: `up` makes it. */
export async function withVolume(stateDirectory, work) {
  const volume = new BenchVolume(mkdtempSync(join(stateDirectory, 'tartan-bench-')));
  try {
    await work(volume);
  } finally {
    volume.remove();
  }
}

class BenchVolume {
  #directory;
  #isUp = false;

  constructor(directory) {
    this.#directory = directory;
  }

  get mountPoint() {
    return join(this.#directory, 'mount');
  }

  up(...options) {
    this.#isUp = true;
    this.run('up', this.mountPoint, ...options);
  }

  /** What a command prints. */
  run(...words) {
    const directory = join(this.#directory, 'volume');
    return execFileSync(tartan, [...words, '--dir', directory], { encoding: 'utf8' });
  }

  json(...words) {
    return JSON.parse(this.run(...words, '--json'));
  }

  /** The result of fio's only job, when it has ended. */
  fio(...flags) {
    return this.startFio(...flags).result;
  }

  startFio(...flags) {
    const common = ['--name=load', `--directory=${this.mountPoint}`, '--output-format=json'];
    const child = spawn('fio', [...common, '--thread', '--ioengine=psync', '--randrepeat=0', ...flags], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text) => (output += text));
    const ended = new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('close', resolve);
    });
    return {
      /** Kills it: there is no result then. */
      async stop() {
        child.kill();
        await ended;
      },
      get result() {
        return ended.then((code) => {
          if (code !== 0) throw new Error(`fio ended with ${code}`);
          return JSON.parse(output.slice(output.indexOf('{'))).jobs[0];
        });
      },
    };
  }

  /** Of the processor, seconds that the mount's process and its nodes have used so far. */
  cpuSeconds() {
    const { mounts, nodes } = this.json('status');
    const sum = (processes) => processes.reduce((seconds, { pid }) => seconds + cpuSecondsOf(pid), 0);
    return { mount: sum(mounts), nodes: sum(nodes.filter(({ pid }) => pid > 0)) };
  }

  remove() {
    try {
      if (this.#isUp) this.run('down', '--force');
    } finally {
      rmSync(this.#directory, { recursive: true, force: true });
    }
  }
}

function cpuSecondsOf(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[USER_TIME]) + Number(fields[SYSTEM_TIME])) / 100;
}
