/**
 * `node scripts/golden-volume.mjs FILE.tar.gz`: makes a small volume through a real mount, kills everything with something left in the journal, and packs
 * its directory. The result is what later versions have to open (test/unit/filesystem/golden-volume.test.ts knows what is in it).
 * It is made once for each version of the format, and never again.
 */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { root } from './setup.mjs';

const target = process.argv[2];
if (target === undefined || existsSync(target)) {
  console.error('usage: node scripts/golden-volume.mjs FILE.tar.gz (which must not exist)');
  process.exit(64);
}

const base = mkdtempSync('/var/tmp/tartan-golden-');
const state = join(base, 'volume');
const mountPoint = join(base, 'mnt');
const tartan = (...words) =>
  execFileSync(process.execPath, [join(root, 'bin', 'tartan.js'), ...words], { stdio: 'inherit' });
const sleep = (delayMs) => new Promise((done) => setTimeout(done, delayMs));

/** Bytes that the test can make again, and that compress well. */
function pattern(lengthBytes, salt) {
  const bytes = Buffer.alloc(lengthBytes);
  for (let at = 0; at + 4 <= lengthBytes; at += 4) bytes.writeUInt32LE(salt * 2 ** 20 + (at >> 9), at);
  return bytes;
}

function writeDurably(path, bytes, offsetBytes = 0) {
  const file = openSync(path, existsSync(path) ? 'r+' : 'w');
  writeSync(file, bytes, 0, bytes.length, offsetBytes);
  fsyncSync(file);
  closeSync(file);
}

function killEverything() {
  const run = join(state, 'run');
  for (const name of readdirSync(run).filter((each) => each.endsWith('.pid'))) {
    const pid = Number.parseInt(readFileSync(join(run, name), 'utf8'), 10);
    if (pid > 1) process.kill(pid, 'SIGKILL');
  }
}

tartan('up', mountPoint, '--volume', 'golden', '--dir', state, '--nodes', '3');
const at = (name) => join(mountPoint, name);
mkdirSync(at('directory'));
for (let i = 0; i < 100; i++) writeFileSync(join(at('directory'), `file ${i}`), `content ${i}\n`);
writeDurably(at('large'), pattern(600_000, 1));
writeDurably(at('sparse'), pattern(5_000, 2), 1_000_000);
truncateSync(at('sparse'), 3_000_000);
symlinkSync('directory/file 7', at('symbolic link'));
linkSync(at('large'), at('hard link'));
execFileSync('setfattr', ['-n', 'user.colour', '-v', 'tartan', at('large')]);
execFileSync('sync', ['-f', mountPoint]);
// A checkpoint takes what is there into the replicas; what follows stays in the journal.
await sleep(7_000);
writeDurably(at('large'), pattern(4_096, 3), 8_192);
writeDurably(at('late'), Buffer.from('only in the journal\n'));
killEverything();
await sleep(500);
execFileSync('umount', ['-l', mountPoint]);
for (const name of ['run', 'logs']) rmSync(join(state, name), { recursive: true, force: true });
execFileSync('tar', [
  '--sparse',
  '--hole-detection=raw',
  '--sort=name',
  '-czf',
  resolve(target),
  '-C',
  base,
  'volume',
]);
rmSync(base, { recursive: true, force: true });
