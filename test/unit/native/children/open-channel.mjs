/** A process, or a thread of it, that ends with a listener and connections open and bytes queued. */
import { existsSync } from 'node:fs';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { addon } from './addon.mjs';

const [path, mode] = isMainThread ? process.argv.slice(2) : workerData;

function start() {
  const accepted = [];
  const open = (fd) =>
    addon.channelOpen(
      fd,
      Buffer.alloc(65536),
      64 << 20,
      0,
      () => {},
      () => {},
    );
  const listener = addon.listenerOpen(path, 0o600, (fd) => accepted.push(open(fd)));
  const channel = open(addon.connectUnix(path));
  const queued = addon.channelSend(channel, Buffer.alloc(8 << 20));
  if (typeof listener === 'number' || queued <= 0) throw new Error(`queued ${queued}`);
}

if (mode === 'exit') {
  start();
  process.exit(0);
} else if (isMainThread) {
  const worker = new Worker(new URL(import.meta.url), { workerData: [path, mode] });
  worker.on('message', () => worker.terminate());
  worker.on('exit', () => console.log(existsSync(path) ? 'socket left' : 'ended'));
} else {
  start();
  parentPort.postMessage('open');
}
